#include "publish/library.h"

#include <charconv>

#include "cache_sync_lua.h"

namespace cache_sync {

std::string_view shipped_library() {
    return {kCacheSyncLua, sizeof(kCacheSyncLua) - 1};
}

std::optional<unsigned> library_version(std::string_view code) {
    constexpr std::string_view kMark = "\n-- version: ";
    constexpr std::size_t kHead = 1024;
    const std::string_view head = code.substr(0, kHead);
    const std::size_t at = head.find(kMark);
    if (at == std::string_view::npos)
        return std::nullopt;
    unsigned version = 0;
    const char *from = head.data() + at + kMark.size();
    if (std::from_chars(from, head.data() + head.size(), version).ec != std::errc())
        return std::nullopt;
    return version;
}

}  // namespace cache_sync
