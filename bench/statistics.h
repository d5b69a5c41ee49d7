#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace cache_sync::bench {

using SteadyClock = std::chrono::steady_clock;

inline double seconds_since(SteadyClock::time_point start) {
    return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// The value that `share` (0..1) of the values do not exceed; 0 if there are none.
double percentile(std::vector<double> values, double share);

double median(const std::vector<double> &values);

// "min / median / max" with that many decimals.
std::string spread(const std::vector<double> &values, int decimals);

std::string fixed(double value, int decimals);

}  // namespace cache_sync::bench
