#pragma once

#include <atomic>
#include <cstdint>

namespace cache_sync::demo {

// Counted by many threads, read by the screen; a reading need not be of one moment.
using Counter = std::atomic<std::uint64_t>;

inline void count(Counter &counter, std::uint64_t by = 1) {
    counter.fetch_add(by, std::memory_order_relaxed);
}

// One kind of readers: on cache_sync's side those of tables and those of views, and the naive application's.
struct SideCounters {
    Counter reads{0};
    Counter hits{0};
    Counter fills{0};
    Counter refused{0};  // fills the cache did not take
    Counter bypassed{0};
    Counter checked{0};  // hits compared with the source
    Counter stale{0};    // of those, proven stale
};

struct WriteCounters {
    Counter committed{0};
    Counter rolled_back{0};
    Counter savepoints{0};
    Counter bulk{0};
    Counter rows{0};  // changed by committed transactions
};

}  // namespace cache_sync::demo
