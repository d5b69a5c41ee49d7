#include "load.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>
#include <stdexcept>

#include "database.h"

namespace cache_sync::bench {
namespace {

using demo::Database;

constexpr int kProducts = 100000;

// Summed weights of the ranks of a zipfian distribution, made once.
const std::vector<double> &summed_weights() {
    static const std::vector<double> weights = [] {
        std::vector<double> summed;
        double sum = 0;
        for (int rank = 1; rank <= kProducts; ++rank)
            summed.push_back(sum += std::pow(rank, -1.05));
        return summed;
    }();
    return weights;
}

class Choice {
 public:
    Choice(const LoadOptions &options, unsigned seed) : options_(options), random_(seed) {}

    std::int64_t draw() {
        if (options_.rows > 1) {
            const int blocks = kProducts / options_.rows;
            return 1 + options_.rows * std::uniform_int_distribution<std::int64_t>(0, blocks - 1)(random_);
        }
        if (!options_.is_skewed)
            return std::uniform_int_distribution<std::int64_t>(1, kProducts)(random_);
        const auto &weights = summed_weights();
        const double at = std::uniform_real_distribution(0.0, weights.back())(random_);
        return 1 + (std::upper_bound(weights.begin(), weights.end() - 1, at) - weights.begin());
    }

    // Until the next transaction of one of many independent clients.
    std::chrono::nanoseconds pause() {
        const double each = options_.rate / options_.clients;
        return std::chrono::nanoseconds(
            static_cast<std::int64_t>(std::exponential_distribution(each)(random_) * 1e9));
    }

 private:
    const LoadOptions &options_;
    std::mt19937_64 random_;
};

}  // namespace

Load::Load(const LoadOptions &options) : options_(options) {
    summed_weights();
    for (int client = 0; client < options_.clients; ++client)
        threads_.emplace_back([this, client](std::stop_token stop) {
            try {
                write(client, stop);
            } catch (const std::exception &error) {
                if (!failed_.exchange(true))
                    failure_ = error.what();
            }
        });
}

void Load::write(int client, std::stop_token stop) {
    Choice choice(options_, static_cast<unsigned>(client) + std::random_device()());
    Database database(options_.conninfo);
    database.run(options_.is_synchronous ? "SET synchronous_commit = on" : "SET synchronous_commit = off");
    database.prepare("write",
                     options_.rows == 1
                         ? "UPDATE product SET price = price + 1 WHERE product_id = $1::bigint"
                         : "UPDATE product SET price = price + 1 WHERE product_id BETWEEN $1::bigint "
                           "AND $2::bigint");
    auto due = std::chrono::steady_clock::now();
    while (!stop.stop_requested()) {
        if (options_.rate > 0) {
            due += choice.pause();
            std::this_thread::sleep_until(due);
        }
        const std::int64_t first = choice.draw();
        std::vector<std::string> parameters{std::to_string(first)};
        if (options_.rows > 1)
            parameters.push_back(std::to_string(first + options_.rows - 1));
        database.run_prepared("write", parameters);
        ++transactions_;
    }
}

void Load::stop() {
    for (std::jthread &thread : threads_)
        thread.request_stop();
    threads_.clear();
    if (failed_.exchange(false))
        throw std::runtime_error("a writer failed: " + failure_);
}

}  // namespace cache_sync::bench
