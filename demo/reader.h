#pragma once

#include <stop_token>

#include "cache.h"
#include "settings.h"
#include "suspects.h"

namespace cache_sync::demo {

// What a reader asks for: documents made of tables, or of materialized views.
enum class Shelf { kTables, kViews };

// A customer of the shop: reads popular things through one of the caches, and compares some hits with the
// source.
class Reader {
 public:
    Reader(const Settings &settings, const Catalogue &catalogue, Shelf shelf, Cache &cache,
           SideCounters &counters, Suspects &suspects);
    void run(std::stop_token stop);

 private:
    Item choose();
    void check(const Item &item, const Body &cached);

    const Catalogue &catalogue_;
    Shelf shelf_;
    Cache &cache_;
    Source source_;
    SideCounters &counters_;
    Suspects &suspects_;
    std::mt19937_64 random_;
};

}  // namespace cache_sync::demo
