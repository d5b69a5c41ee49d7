#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "histogram.h"

namespace cache_sync::demo {

struct SideSample {
    std::uint64_t reads = 0, hits = 0, fills = 0, refused = 0, bypassed = 0, checked = 0, stale = 0;
};

// A registered view, as cache_sync shows it.
struct ViewSample {
    std::string name;
    std::string state;
    std::uint64_t refreshes = 0, keys = 0;
    // Of the last refresh.
    std::uint64_t rows_added = 0, rows_removed = 0;
    double duration_ms = 0;
    // How long the oldest change that is not in the view has been waiting; nothing: there is none.
    std::optional<double> behind_s;
};

// All counters at about one moment.
struct Sample {
    std::chrono::steady_clock::time_point taken;
    std::uint64_t committed = 0, rolled_back = 0, savepoints = 0, bulk = 0, rows = 0;
    std::uint64_t published = 0;
    SideSample synced, viewed, naive;
    std::vector<ViewSample> views;
    Histogram::Counts lag{};
};

}  // namespace cache_sync::demo
