#include "capture/glob.h"

namespace cache_sync {
namespace {

bool is_special(char c) {
    return c == '*' || c == '?' || c == '[' || c == ']' || c == '\\';
}
bool continues_character(char c) {
    return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

}  // namespace

std::size_t escape_glob_prefix(std::string_view text, char *to, std::size_t room) {
    constexpr std::size_t kReserve = 1 + 8;  // the star, and the longest character escaped byte by byte
    std::size_t used = 0;
    for (const char c : text) {
        if (used + kReserve > room && !continues_character(c))
            break;
        if (used + 3 > room)  // not UTF-8 at all
            break;
        if (is_special(c))
            to[used++] = '\\';
        to[used++] = c;
    }
    to[used++] = '*';
    return used;
}

}  // namespace cache_sync
