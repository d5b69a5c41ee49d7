// What the queue holds that a target did not confirm yet.
#pragma once

#include <cstdint>

namespace cache_sync {

struct Unpublished {
    std::uint64_t transactions;  // one that wrote several rows between those of others counts several times
    std::uint64_t bytes;
};

// Of the target at this place, as the active snapshot sees it. Reads the queue tables; may raise.
Unpublished count_unpublished(int place);

}  // namespace cache_sync
