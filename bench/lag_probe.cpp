#include "lag_probe.h"

#include <chrono>
#include <thread>

#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr std::string_view kKey = "product:0";
constexpr int kLongestGapUs = 20000;

}  // namespace

LagProbe::LagProbe(const std::string &conninfo, int redis_port)
    : database_(conninfo), redis_("127.0.0.1", redis_port), random_(std::random_device()()) {
    database_.prepare("beat", "UPDATE product SET price = price + 1 WHERE product_id = 0");
}

double LagProbe::sample_once(bool is_dual, double patience) {
    redis_.run({"SET", kKey, "1"});
    database_.run_prepared("beat", {});
    const auto committed = SteadyClock::now();
    if (is_dual)
        redis_.run({"UNLINK", kKey});
    while (redis_.run({"EXISTS", kKey})->integer != 0) {
        if (seconds_since(committed) > patience) {
            ++lost_;
            break;
        }
    }
    return seconds_since(committed) * 1000;
}

void LagProbe::wait_a_random_gap() {
    const auto gap = std::uniform_int_distribution(0, kLongestGapUs)(random_);
    std::this_thread::sleep_for(std::chrono::microseconds(gap));
}

std::vector<double> LagProbe::sample(int count, bool is_dual, double patience) {
    std::vector<double> lags;
    for (int n = 0; n < count; ++n) {
        lags.push_back(sample_once(is_dual, patience));
        wait_a_random_gap();
    }
    return lags;
}

}  // namespace cache_sync::bench
