#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cache_sync::demo {

// A cached document; none: "there is no such thing", which can be cached too.
using Body = std::optional<std::string>;

// How far a product had come when a document was made of it. It never comes back to an earlier stamp.
struct Stamp {
    std::int64_t product_id = 0;
    std::int64_t version = 0;
    std::int64_t reviews = 0;
    auto operator<=>(const Stamp &) const = default;
};

// The stamps in a document of product_card or category_page, by product_id.
std::vector<Stamp> stamps_of(std::string_view body);

// True if the source, read after the cached document, proves that the document can never be right again: one
// of its products has a later stamp or is gone. A product the document lacks proves nothing, it may be
// deleted again.
bool is_outdated(const Body &cached, const Body &source);

// Two lines on the first product in which two documents differ, one about each.
std::string describe_difference(const Body &cached, const Body &source);

}  // namespace cache_sync::demo
