#pragma once

#include <random>
#include <string>
#include <vector>

#include "database.h"
#include "redis.h"

namespace cache_sync::bench {

// Measures commit returned -> key gone on product 0, which nobody else touches.
class LagProbe {
 public:
    LagProbe(const std::string &conninfo, int redis_port);

    // Lags in milliseconds, with random gaps of 0 to 20 ms between the samples. With is_dual the probe itself
    // removes the key after the commit. A key that stays for `patience` seconds is counted as lost.
    std::vector<double> sample(int count, bool is_dual, double patience);
    double sample_once(bool is_dual, double patience);
    void wait_a_random_gap();
    int lost() const { return lost_; }

 private:
    demo::Database database_;
    demo::Redis redis_;
    std::mt19937_64 random_;
    int lost_ = 0;
};

}  // namespace cache_sync::bench
