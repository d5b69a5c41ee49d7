#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "cache.h"

namespace cache_sync::demo {

// Hits that were behind the source when they were read. That alone proves nothing, the invalidation may have
// been on its way. Each is looked at again one second later: the same old document still served is a stale
// read, unless the source has come back to it: a product can return to a list of a view.
class Suspects {
 public:
    // Notes a hit that was behind at the moment `seen`. True if its document is already proven stale.
    bool add(const Item &item, const std::string &body, std::chrono::steady_clock::time_point seen);
    // Judges suspects as they fall due, until asked to stop.
    void judge(std::stop_token stop, Cache &cache, Source &source, SideCounters &counters);

 private:
    struct Suspect {
        Item item;
        std::string body;
        std::chrono::steady_clock::time_point due;
    };
    std::optional<Suspect> take_due();
    void settle(const Suspect &suspect, bool is_stale);

    // Without a bound a cache that is wrong altogether would fill the memory.
    static constexpr std::size_t kMost = 10000;
    std::mutex mutex_;
    std::deque<Suspect> waiting_;
    std::map<std::string, bool> is_proven_;  // of the waiting ones and of the proven ones
};

}  // namespace cache_sync::demo
