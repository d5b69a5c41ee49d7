#include "content.h"

#include <algorithm>
#include <charconv>

namespace cache_sync::demo {
namespace {

// The number after `"field" : ` at or after `from`; nothing if the field is not there before `until`.
std::optional<std::int64_t> number_after(std::string_view body, std::string_view field, std::size_t from,
                                         std::size_t until) {
    std::size_t at = body.find(field, from);
    if (at == std::string_view::npos || at >= until) {
        return std::nullopt;
    }
    at = body.find_first_not_of(" :", at + field.size());
    if (at == std::string_view::npos) {
        return std::nullopt;
    }
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(body.data() + at, body.data() + body.size(), number);
    return error == std::errc() ? std::optional(number) : std::nullopt;
}

}  // namespace

std::vector<Stamp> stamps_of(std::string_view body) {
    constexpr std::string_view kId = "\"product_id\"";
    std::vector<Stamp> stamps;
    std::size_t at = body.find(kId);
    while (at != std::string_view::npos) {
        const std::size_t next = body.find(kId, at + kId.size());
        const auto id = number_after(body, kId, at, next);
        const auto version = number_after(body, "\"version\"", at, next);
        const auto reviews = number_after(body, "\"reviews\"", at, next);
        stamps.push_back({id.value_or(0), version.value_or(0), reviews.value_or(0)});
        at = next;
    }
    std::sort(stamps.begin(), stamps.end());
    return stamps;
}

bool is_outdated(const Body &cached, const Body &source) {
    if (!cached || cached == source) {
        return false;
    }
    const std::vector<Stamp> now = source ? stamps_of(*source) : std::vector<Stamp>();
    for (const Stamp &then : stamps_of(*cached)) {
        const auto same = std::lower_bound(now.begin(), now.end(), Stamp{then.product_id, 0, 0});
        if (same == now.end() || same->product_id != then.product_id || *same > then) {
            return true;
        }
    }
    return false;
}

}  // namespace cache_sync::demo
