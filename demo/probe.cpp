#include "probe.h"

#include <chrono>
#include <thread>

namespace cache_sync::demo {
namespace {

constexpr std::string_view kKey = "probe:1";
constexpr int kLongestGapUs = 20000;

}  // namespace

Probe::Probe(const Settings &settings, Histogram &lag)
    : database_(settings.conninfo),
      redis_(settings.redis_host, settings.redis_port),
      lag_(lag),
      random_(std::random_device()()) {
    database_.prepare("beat", "UPDATE probe SET beats = beats + 1 WHERE probe_id = 1");
}

void Probe::run(std::stop_token stop) {
    while (!stop.stop_requested()) {
        measure(stop);
        const auto gap = std::uniform_int_distribution(0, kLongestGapUs)(random_);
        std::this_thread::sleep_for(std::chrono::microseconds(gap));
    }
}

void Probe::measure(std::stop_token stop) {
    redis_.run({"SET", kKey, "1"});
    database_.run_prepared("beat", {});
    const auto committed = std::chrono::steady_clock::now();
    while (redis_.run({"EXISTS", kKey})->integer == 1) {
        if (stop.stop_requested()) {
            return;
        }
    }
    lag_.add(std::chrono::steady_clock::now() - committed);
}

}  // namespace cache_sync::demo
