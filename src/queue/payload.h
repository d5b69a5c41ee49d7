// The payload of a queue row: what one transaction touched, as a run of records.
//
//   record := kind (1 byte) length (LEB128) bytes
//
// A transaction's log (capture/touched_set.h) is kept in this very format, so that a commit writes slices of
// it without another copy. On disk: do not change, add kinds instead.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace cache_sync {

enum class TouchKind : unsigned char {
    key = 'K',      // a cache key, without the target's prefix
    tag = 'T',      // a tag
    pattern = 'P',  // a Redis glob over keys (without prefix): every key that matches is invalid
    flush = 'F',    // the named target (empty: every target) is flushed as a whole
    // For the refreshing of views; no target is told. The text is an oid in decimal.
    relation = 'R',  // the contents of this relation changed: views over it are stale
    view = 'V',      // this registered view is to be refreshed, however its inputs are
};

// The word for it in views.
const char *kind_name(TouchKind kind);

// A row of the queue holds at most this many bytes of records, so that it never needs TOAST.
inline constexpr std::size_t kMaxRowPayload = 7900;

// The longest key or tag that is queued as it is; capture widens longer ones (see capture/transaction_pg.h).
inline constexpr std::size_t kMaxTouchLength = 4096;

// Bytes that a record over text of this length takes.
constexpr std::size_t record_size(std::size_t length) {
    std::size_t size = 2 + length;
    for (std::size_t rest = length >> 7; rest != 0; rest >>= 7)
        ++size;
    return size;
}

// Writes a record at `to`, which has room for record_size(text.size()) bytes. Returns the end of it.
inline char *write_record(char *to, TouchKind kind, std::string_view text) {
    *to++ = static_cast<char>(kind);
    std::size_t rest = text.size();
    for (; rest > 0x7f; rest >>= 7)
        *to++ = static_cast<char>(0x80 | (rest & 0x7f));
    *to++ = static_cast<char>(rest);
    std::memcpy(to, text.data(), text.size());
    return to + text.size();
}

struct Record {
    TouchKind kind;
    std::string_view text;
};

// Takes the first record off `payload`. Nothing when it is empty or damaged (then payload is left as it was).
inline std::optional<Record> take_record(std::string_view &payload) {
    std::size_t at = 1, length = 0;
    for (int shift = 0;; shift += 7) {
        if (at >= payload.size() || shift > 28)
            return std::nullopt;
        const auto byte = static_cast<unsigned char>(payload[at++]);
        length |= static_cast<std::size_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            break;
    }
    if (length > payload.size() - at)
        return std::nullopt;
    const Record record{static_cast<TouchKind>(payload[0]), payload.substr(at, length)};
    payload.remove_prefix(at + length);
    return record;
}

// The longest run of whole records at the start of `log` that fits a row. `log` is well formed and not empty.
std::string_view first_row(std::string_view log);

}  // namespace cache_sync
