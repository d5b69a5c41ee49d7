#pragma once

#include <cstdint>
#include <string>

#include "redis.h"
#include "settings.h"

namespace cache_sync::demo {

// The outcome of holding every entry of one side against the database.
struct Verdict {
    std::uint64_t entries = 0;
    std::uint64_t stale = 0;
    std::string example;  // of a stale entry; empty if there is none
};

// All compare byte by byte, so they are only right while nobody writes and all is published.
// Of the fill protocol's entries those count that a reader would be served.
Verdict compare_protocol_entries(const Settings &settings);
Verdict compare_view_entries(const Settings &settings);
Verdict compare_naive_entries(const Settings &settings);

}  // namespace cache_sync::demo
