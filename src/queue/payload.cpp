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
