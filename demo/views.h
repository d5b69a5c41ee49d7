#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "database.h"
#include "sample.h"

namespace cache_sync::demo {

// How the registered views are right now.
std::vector<ViewSample> sample_views(Database &database);

// The same, asked at most once a second: it costs the server more than counters do.
class ViewWatch {
 public:
    explicit ViewWatch(Database &database) : database_(database) {}
    const std::vector<ViewSample> &look();

 private:
    Database &database_;
    std::chrono::steady_clock::time_point next_look_;
    std::vector<ViewSample> views_;
};

// Waits until no view is dirty or refreshed and all is published; for when nobody writes any more. False if
// that took too long, or `is_interrupted` said so.
bool wait_until_clean(Database &database, const std::function<bool()> &is_interrupted);

// A view held against its query.
struct ViewVerdict {
    std::string name;
    std::uint64_t rows = 0;
    std::uint64_t wrong = 0;  // rows too many and rows missing
};
std::vector<ViewVerdict> compare_views(Database &database);

}  // namespace cache_sync::demo
