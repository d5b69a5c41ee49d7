// Redis glob patterns over keys.
#pragma once

#include <cstddef>
#include <string_view>

namespace cache_sync {

// Writes a glob that matches every text that starts as `text` does, as far as it fits `room` (at least 16)
// bytes: the start of text with * ? [ ] \ escaped, then *. Returns its length. Never cuts a UTF-8 character
// in two.
std::size_t escape_glob_prefix(std::string_view text, char *to, std::size_t room);

}  // namespace cache_sync
