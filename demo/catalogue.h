#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "content.h"
#include "database.h"

namespace cache_sync::demo {

// Something the shop caches: the card of one product or the page of one category, both made of tables, or
// what the two materialized views have of a product and of a category.
struct Item {
    enum class Kind { kCard, kPage, kProductView, kTop };
    Kind kind = Kind::kCard;
    std::int64_t id = 0;

    std::string key() const;
};

// How a kind is cached, and where its documents come from: column `body` of the source.
struct KindOfItem {
    std::string prefix;
    std::string source;
    std::string id_column;
};
const KindOfItem &describe(Item::Kind kind);

// Draws from 1..size so that few come often: rank r with a weight of 1/r, as the traffic of a shop has it.
class Popularity {
 public:
    explicit Popularity(std::int64_t size);
    std::int64_t draw(std::mt19937_64 &random) const;
    std::int64_t size() const { return static_cast<std::int64_t>(summed_.size()); }

 private:
    std::vector<double> summed_;
};

// The shop all threads work on; read-only once made.
struct Catalogue {
    Popularity products;
    Popularity categories;
};

Catalogue measure_catalogue(Database &database);

// The database as the source of the cached documents. Each read is one statement in its own new snapshot.
class Source {
 public:
    explicit Source(const std::string &conninfo);
    Body read(const Item &item);

 private:
    Database database_;
};

}  // namespace cache_sync::demo
