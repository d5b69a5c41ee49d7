#pragma once

#include <stop_token>
#include <vector>

#include "catalogue.h"
#include "counters.h"
#include "naive_cache.h"
#include "settings.h"

namespace cache_sync::demo {

// The back office of the shop: one transaction after the other, each of a kind drawn at random. It knows
// nothing of cache_sync; for the naive side it deletes the keys it touched, before COMMIT.
class Writer {
 public:
    Writer(const Settings &settings, const Catalogue &catalogue, WriteCounters &counters);
    void run(std::stop_token stop);

 private:
    enum class End { kCommit, kRollback };
    struct Retired {
        std::int64_t product_id, version;
    };

    void write_once();
    End change_price();
    End try_price();
    End move_product();
    End add_review();
    End change_with_savepoint();
    End change_category();
    End retire_product();
    End bring_back_product();

    Rows update_price(std::int64_t product_id);
    void forget(const Rows &products_and_categories);
    void finish(End end);
    std::int64_t some_product();
    int draw(int from, int to) { return std::uniform_int_distribution(from, to)(random_); }

    const Catalogue &catalogue_;
    Database database_;
    NaiveInvalidation naive_;
    WriteCounters &counters_;
    std::mt19937_64 random_;
    std::vector<Retired> retired_;
    // Of the transaction that is open.
    std::uint64_t rows_ = 0;
    std::vector<Retired> retiring_;
    bool is_bringing_back_ = false;
};

}  // namespace cache_sync::demo
