#include "writer.h"

#include <algorithm>
#include <thread>

namespace cache_sync::demo {
namespace {

constexpr std::chrono::microseconds kPause{500};
constexpr std::int64_t kFrontPages = 5000;

// Two writers on the same rows, or a review of a product that is deleted meanwhile: every application meets
// these.
bool is_ordinary(const DatabaseError &error) {
    return error.sqlstate() == "40P01" || error.sqlstate() == "23503" || error.sqlstate() == "23505";
}

}  // namespace

Writer::Writer(const Settings &settings, const Catalogue &catalogue, WriteCounters &counters)
    : catalogue_(catalogue),
      database_(settings.conninfo),
      naive_(settings),
      counters_(counters),
      random_(std::random_device()()) {
    const std::string change =
        "UPDATE product SET price = round(1 + random()::numeric * 998, 2), version = version + 1,"
        " changed_at = now() ";
    const std::string touched = " RETURNING product_id, category_id";
    database_.prepare("price", change + "WHERE product_id = $1::bigint" + touched);
    // Rows are locked in one order, so that two bulk changes do not deadlock.
    database_.prepare("bulk",
                      change +
                          "WHERE product_id IN (SELECT product_id FROM product WHERE category_id = $1::bigint"
                          " ORDER BY product_id FOR UPDATE)" +
                          touched);
    database_.prepare("lock",
                      "SELECT product_id, category_id FROM product WHERE product_id = $1::bigint FOR UPDATE");
    database_.prepare("move",
                      "UPDATE product SET category_id = $2::bigint, version = version + 1, changed_at = now()"
                      " WHERE product_id = $1::bigint" +
                          touched);
    database_.prepare(
        "review",
        "INSERT INTO review (product_id, rating, author, body) SELECT product_id, $2::smallint, 'Demo',"
        " 'Written while you watch.' FROM product WHERE product_id = $1::bigint");
    database_.prepare("retire", "DELETE FROM product WHERE product_id = $1::bigint" + touched + ", version");
    database_.prepare("bring back",
                      "INSERT INTO product (product_id, category_id, name, price, featured, version)"
                      " VALUES ($1::bigint, $2::bigint, 'Back in stock', 9.99, $1::bigint % 8 = 0,"
                      " $3::bigint)" +
                          touched);
}

void Writer::run(std::stop_token stop) {
    while (!stop.stop_requested()) {
        write_once();
        std::this_thread::sleep_for(kPause);
    }
}

void Writer::write_once() {
    static constexpr struct {
        int percent;
        End (Writer::*write)();
    } kKinds[] = {{51, &Writer::change_price},          {12, &Writer::try_price},
                  {8, &Writer::move_product},           {12, &Writer::add_review},
                  {10, &Writer::change_with_savepoint}, {1, &Writer::change_category},
                  {3, &Writer::retire_product},         {3, &Writer::bring_back_product}};
    int ticket = draw(1, 100);
    const auto *kind = std::begin(kKinds);
    while (ticket > kind->percent) {
        ticket -= kind->percent;
        ++kind;
    }
    rows_ = 0;
    retiring_.clear();
    is_bringing_back_ = false;
    try {
        database_.run("BEGIN");
        finish((this->*kind->write)());
    } catch (const DatabaseError &error) {
        if (!is_ordinary(error)) {
            throw;
        }
        finish(End::kRollback);
    }
}

void Writer::finish(End end) {
    application_work(random_);
    database_.run(end == End::kCommit ? "COMMIT" : "ROLLBACK");
    if (end == End::kRollback) {
        count(counters_.rolled_back);
        return;
    }
    count(counters_.committed);
    count(counters_.rows, rows_);
    if (is_bringing_back_) {
        retired_.pop_back();
    }
    retired_.insert(retired_.end(), retiring_.begin(), retiring_.end());
}

void Writer::forget(const Rows &rows) {
    std::vector<Item> items;
    for (int row = 0; row < rows.size(); ++row) {
        items.push_back({Item::Kind::kCard, rows.number(row, 0)});
        items.push_back({Item::Kind::kPage, rows.number(row, 1)});
    }
    naive_.forget(items);
}

// Any product of the front pages, so what is read most is not written most: a stale copy of it would stay for
// seconds.
std::int64_t Writer::some_product() {
    return draw(1, static_cast<int>(std::min(kFrontPages, catalogue_.products.size())));
}

Rows Writer::update_price(std::int64_t product_id) {
    Rows rows = database_.run_prepared("price", {std::to_string(product_id)});
    forget(rows);
    return rows;
}

Writer::End Writer::change_price() {
    rows_ += update_price(some_product()).size();
    return End::kCommit;
}

Writer::End Writer::try_price() {
    update_price(some_product());
    return End::kRollback;
}

Writer::End Writer::move_product() {
    const std::string product = std::to_string(some_product());
    forget(database_.run_prepared("lock", {product}));
    const Rows moved =
        database_.run_prepared("move", {product, std::to_string(catalogue_.categories.draw(random_))});
    forget(moved);
    rows_ += moved.size();
    return End::kCommit;
}

Writer::End Writer::add_review() {
    const std::int64_t product = some_product();
    const Rows added =
        database_.run_prepared("review", {std::to_string(product), std::to_string(draw(1, 5))});
    naive_.forget({{Item::Kind::kCard, product}});
    rows_ += added.affected();
    return End::kCommit;
}

// Three products in order of their ids, the second of which the transaction takes back.
Writer::End Writer::change_with_savepoint() {
    std::int64_t products[] = {some_product(), some_product(), some_product()};
    std::sort(std::begin(products), std::end(products));
    rows_ += update_price(products[0]).size();
    database_.run("SAVEPOINT attempt");
    update_price(products[1]);
    database_.run("ROLLBACK TO attempt");
    rows_ += update_price(products[2]).size();
    count(counters_.savepoints);
    return End::kCommit;
}

Writer::End Writer::change_category() {
    const Rows changed = database_.run_prepared(
        "bulk", {std::to_string(draw(1, static_cast<int>(catalogue_.categories.size())))});
    forget(changed);
    rows_ += changed.size();
    count(counters_.bulk);
    return End::kCommit;
}

Writer::End Writer::retire_product() {
    const Rows gone = database_.run_prepared("retire", {std::to_string(some_product())});
    forget(gone);
    rows_ += gone.size();
    if (gone.size() == 1) {
        retiring_.push_back({gone.number(0, 0), gone.number(0, 2)});
    }
    return End::kCommit;
}

// Versions go on where the deleted row stopped, or a copy from before could pass for a new one.
Writer::End Writer::bring_back_product() {
    if (retired_.empty()) {
        return End::kRollback;
    }
    const Retired product = retired_.back();
    const Rows back =
        database_.run_prepared("bring back", {std::to_string(product.product_id),
                                              std::to_string(catalogue_.categories.draw(random_)),
                                              std::to_string(product.version + 1)});
    forget(back);
    rows_ += back.size();
    is_bringing_back_ = true;
    return End::kCommit;
}

}  // namespace cache_sync::demo
