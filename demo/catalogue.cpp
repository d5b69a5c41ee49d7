#include "catalogue.h"

#include <algorithm>

namespace cache_sync::demo {

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
    database_.prepare("card", "SELECT body FROM product_card WHERE product_id = $1::bigint");
    database_.prepare("page", "SELECT body FROM category_page WHERE category_id = $1::bigint");
}

Body Source::read(const Item &item) {
    const Rows rows =
        database_.run_prepared(item.kind == Item::Kind::kCard ? "card" : "page", {std::to_string(item.id)});
    return rows.size() == 0 ? std::nullopt : Body(rows.text(0, 0));
}

}  // namespace cache_sync::demo
