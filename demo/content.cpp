#include "content.h"

#include <algorithm>
#include <charconv>
#include <map>

namespace cache_sync::demo {
namespace {

constexpr std::string_view kId = "\"product_id\"";

// The parts of a document that are about one product each.
std::vector<std::string_view> products_in(std::string_view body) {
    std::vector<std::string_view> parts;
    std::size_t at = body.find(kId);
    while (at != std::string_view::npos) {
        const std::size_t next = body.find(kId, at + kId.size());
        parts.push_back(body.substr(at, next - at));
        at = next;
    }
    return parts;
}

// What stands after `"field" : `, up to the next comma or brace; empty if the field is not there.
std::string_view field_of(std::string_view part, std::string_view field) {
    std::size_t at = part.find(field);
    if (at == std::string_view::npos) {
        return {};
    }
    at = part.find_first_not_of(" :", at + field.size());
    return at == std::string_view::npos ? std::string_view()
                                        : part.substr(at, part.find_first_of(",}", at) - at);
}

std::int64_t number_of(std::string_view part, std::string_view field) {
    const std::string_view text = field_of(part, field);
    std::int64_t number = 0;
    std::from_chars(text.data(), text.data() + text.size(), number);
    return number;
}

Stamp stamp_of(std::string_view part) {
    return {number_of(part, kId), number_of(part, "\"version\""), number_of(part, "\"reviews\"")};
}

using Facts = std::map<std::int64_t, std::string>;

Facts facts_of(const Body &body) {
    Facts facts;
    for (const std::string_view part : body ? products_in(*body) : std::vector<std::string_view>()) {
        const Stamp stamp = stamp_of(part);
        std::string fact =
            "version " + std::to_string(stamp.version) + " at " + std::string(field_of(part, "\"price\""));
        if (part.find("\"reviews\"") != std::string_view::npos) {
            fact += " with " + std::to_string(stamp.reviews) + " reviews";
        }
        facts.emplace(stamp.product_id, std::move(fact));
    }
    return facts;
}

std::string fact_or_absence(const Facts &facts, std::int64_t product_id) {
    const auto found = facts.find(product_id);
    return found == facts.end() ? "not there" : found->second;
}

}  // namespace

std::vector<Stamp> stamps_of(std::string_view body) {
    std::vector<Stamp> stamps;
    for (const std::string_view part : products_in(body)) {
        stamps.push_back(stamp_of(part));
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

std::string describe_difference(const Body &cached, const Body &source) {
    const Facts in_cache = facts_of(cached);
    const Facts in_table = facts_of(source);
    Facts all = in_cache;
    all.insert(in_table.begin(), in_table.end());
    for (const auto &[product_id, unused] : all) {
        const std::string then = fact_or_absence(in_cache, product_id);
        const std::string now = fact_or_absence(in_table, product_id);
        if (then != now) {
            const std::string product = "product " + std::to_string(product_id) + ": ";
            return "cache  " + product + then + "\ntable  " + product + now;
        }
    }
    return "the documents differ in another field";
}

}  // namespace cache_sync::demo
