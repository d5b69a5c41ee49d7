#pragma once

#include <array>
#include <chrono>
#include <cstdint>

#include "histogram.h"

namespace cache_sync::demo {

struct SideSample {
    std::uint64_t reads = 0, hits = 0, fills = 0, refused = 0, bypassed = 0, checked = 0, stale = 0;
};

// All counters at about one moment.
struct Sample {
    std::chrono::steady_clock::time_point taken;
    std::uint64_t committed = 0, rolled_back = 0, savepoints = 0, bulk = 0, rows = 0;
    std::uint64_t published = 0;
    SideSample synced, naive;
    Histogram::Counts lag{};
};

}  // namespace cache_sync::demo
