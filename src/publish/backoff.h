// How long to wait before the next attempt: twice as long after each failure in a row, with jitter, so that
// many publishers do not come back to a restarted server in step.
#pragma once

#include <cstdint>
#include <random>

#include "clock.h"

namespace cache_sync {

class Backoff {
 public:
    static constexpr Milliseconds kShortest{50};
    static constexpr int kFailuresToOpen = 10;

    Backoff(Milliseconds longest, std::uint64_t seed) : longest_(longest), random_(seed) {}

    // Notes a failure. Returns how long to wait: between half and all of kShortest * 2^(failures before),
    // which is never more than `longest`.
    Milliseconds next();
    // All is well: the next failure is the first again.
    void reset() { failures_ = 0; }
    int failures() const { return failures_; }
    // So many failures in a row that only rare attempts are made.
    bool is_open() const { return failures_ >= kFailuresToOpen; }

 private:
    Milliseconds longest_;
    int failures_ = 0;
    std::mt19937_64 random_;
};

}  // namespace cache_sync
