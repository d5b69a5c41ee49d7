// What the queue holds that is not published everywhere.
#pragma once

#include <cstdint>

namespace cache_sync {

struct Unpublished {
    std::uint64_t transactions;  // one that wrote several rows between those of others counts several times
    std::uint64_t bytes;
};

// As the active snapshot sees it. Reads the queue tables; may raise.
Unpublished count_unpublished();

}  // namespace cache_sync
