#include "views.h"

#include <thread>

namespace cache_sync::demo {
namespace {

constexpr std::chrono::seconds kPatience{120};
constexpr std::chrono::seconds kLookEvery{1};

std::uint64_t count_at(const Rows &rows, int row, int column) {
    return rows.is_null(row, column) ? 0 : static_cast<std::uint64_t>(rows.number(row, column));
}

}  // namespace

std::vector<ViewSample> sample_views(Database &database) {
    const Rows rows = database.run(
        "SELECT v.view, v.state, s.refreshes, s.keys, v.last_rows_inserted, v.last_rows_removed,"
        "       coalesce(v.last_duration, 0), extract(epoch FROM clock_timestamp() - v.dirty_since)"
        "  FROM cache_sync.views v JOIN cache_sync.stat_views s USING (view) ORDER BY v.view::text");
    std::vector<ViewSample> views;
    for (int row = 0; row < rows.size(); ++row) {
        ViewSample view{rows.text(row, 0),
                        rows.text(row, 1),
                        count_at(rows, row, 2),
                        count_at(rows, row, 3),
                        count_at(rows, row, 4),
                        count_at(rows, row, 5),
                        std::stod(rows.text(row, 6)),
                        std::nullopt};
        if (!rows.is_null(row, 7)) {
            view.behind_s = std::stod(rows.text(row, 7));
        }
        views.push_back(std::move(view));
    }
    return views;
}

const std::vector<ViewSample> &ViewWatch::look() {
    const auto now = std::chrono::steady_clock::now();
    if (now >= next_look_) {
        next_look_ = now + kLookEvery;
        views_ = sample_views(database_);
    }
    return views_;
}

bool wait_until_clean(Database &database, const std::function<bool()> &is_interrupted) {
    const auto give_up = std::chrono::steady_clock::now() + kPatience;
    // What is published is known to the views, too: after this no change is on its way.
    bool is_drained = database.run("SELECT cache_sync.drain()").text(0, 0) == "t";
    const char *const busy =
        "SELECT count(*) FROM cache_sync.views WHERE state <> 'clean' OR dirty_since IS NOT NULL";
    while (database.run(busy).number(0, 0) != 0) {
        if (is_interrupted() || std::chrono::steady_clock::now() > give_up) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    // The keys of the last refreshes.
    is_drained = database.run("SELECT cache_sync.drain()").text(0, 0) == "t" && is_drained;
    return is_drained;
}

std::vector<ViewVerdict> compare_views(Database &database) {
    const Rows views = database.run(
        "SELECT view, rtrim(pg_get_viewdef(view), ';') FROM cache_sync.views ORDER BY view::text");
    std::vector<ViewVerdict> verdicts;
    for (int row = 0; row < views.size(); ++row) {
        const std::string name = views.text(row, 0);
        const std::string stored = "SELECT * FROM " + name;
        const std::string query = views.text(row, 1);
        const Rows counts =
            database.run("SELECT (SELECT count(*) FROM " + name + "), (SELECT count(*) FROM ((" + stored +
                         " EXCEPT ALL (" + query + ")) UNION ALL ((" + query + ") EXCEPT ALL " + stored +
                         ")) AS different)");
        verdicts.push_back({name, count_at(counts, 0, 0), count_at(counts, 0, 1)});
    }
    return verdicts;
}

}  // namespace cache_sync::demo
