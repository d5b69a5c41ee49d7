#include "queue/payload.h"

namespace cache_sync {

const char *kind_name(TouchKind kind) {
    switch (kind) {
        case TouchKind::key:
            return "key";
        case TouchKind::tag:
            return "tag";
        case TouchKind::pattern:
            return "pattern";
        case TouchKind::flush:
            return "flush";
        case TouchKind::relation:
            return "relation";
        case TouchKind::view:
            return "view";
    }
    return "unknown";
}

std::optional<Record> take_record(std::string_view &payload) {
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

std::string_view first_row(std::string_view log) {
    if (log.size() <= kMaxRowPayload)
        return log;
    std::string_view rest = log;
    std::size_t end = 0;
    while (take_record(rest)) {
        const std::size_t next = log.size() - rest.size();
        if (next > kMaxRowPayload && end != 0)
            break;
        end = next;
    }
    return log.substr(0, end);
}

}  // namespace cache_sync
