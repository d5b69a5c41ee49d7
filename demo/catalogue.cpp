#include "catalogue.h"

#include <algorithm>
#include <array>

namespace cache_sync::demo {

const KindOfItem &describe(Item::Kind kind) {
    static const std::array<KindOfItem, 4> kinds{{{"product:", "product_card", "product_id"},
                                                  {"page:", "category_page", "category_id"},
                                                  {"product_view:", "product_view_entry", "product_id"},
                                                  {"top:", "top_entry", "category_id"}}};
    return kinds[static_cast<std::size_t>(kind)];
}

std::string Item::key() const {
    return describe(kind).prefix + std::to_string(id);
}

Popularity::Popularity(std::int64_t size) {
    double sum = 0;
    for (std::int64_t rank = 1; rank <= size; ++rank) {
        sum += 1.0 / static_cast<double>(rank);
        summed_.push_back(sum);
    }
}

std::int64_t Popularity::draw(std::mt19937_64 &random) const {
    const double at = std::uniform_real_distribution(0.0, summed_.back())(random);
    const auto found = std::upper_bound(summed_.begin(), summed_.end() - 1, at);
    return 1 + (found - summed_.begin());
}

Catalogue measure_catalogue(Database &database) {
    const Rows rows =
        database.run("SELECT (SELECT max(product_id) FROM product), (SELECT count(*) FROM category)");
    return {Popularity(rows.number(0, 0)), Popularity(rows.number(0, 1))};
}

Source::Source(const std::string &conninfo) : database_(conninfo) {
    for (const Item::Kind kind :
         {Item::Kind::kCard, Item::Kind::kPage, Item::Kind::kProductView, Item::Kind::kTop}) {
        const KindOfItem &described = describe(kind);
        database_.prepare(described.source, "SELECT body FROM " + described.source + " WHERE " +
                                                described.id_column + " = $1::bigint");
    }
}

Body Source::read(const Item &item) {
    const Rows rows = database_.run_prepared(describe(item.kind).source, {std::to_string(item.id)});
    return rows.size() == 0 ? std::nullopt : Body(rows.text(0, 0));
}

}  // namespace cache_sync::demo
