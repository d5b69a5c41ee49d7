// The library of functions that is loaded into the targets, and how its versions compare.
#pragma once

#include <optional>
#include <string_view>

namespace cache_sync {

// The text of cache_sync.lua as it was built in.
std::string_view shipped_library();

// The number in the line "-- version: N" among the first lines of a library; nothing if there is none.
std::optional<unsigned> library_version(std::string_view code);

}  // namespace cache_sync
