// Base change committed -> the keys of the view's rows gone, with min_interval 0.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>

#include "managed_view.h"
#include "redis.h"
#include "refresh.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr double kPatience = 60;
constexpr int kWarmUp = 3;
constexpr int kMostGapUs = 20000;
constexpr int kMostBare = 15;

struct Results {
    std::vector<double> p50, p95, p99, duration, bare, cold, against_bare, against_cold;
};

class ViewProbe {
 public:
    ViewProbe(const Options &options, const BenchView &view)
        : view_(view),
          database_(conninfo(options, "managed")),
          redis_("127.0.0.1", options.redis_port),
          random_(std::random_device()()) {}

    double sample_ms() {
        wait_until_clean(database_, view_);
        std::this_thread::sleep_for(
            std::chrono::microseconds(std::uniform_int_distribution(0, kMostGapUs)(random_)));
        const std::string id = std::to_string(std::uniform_int_distribution(1, view_.rows)(random_));
        const std::string key = std::string(view_.view) + ":" + id;
        redis_.run({"SET", key, "1"});
        change_one(database_, view_, id);
        const auto committed = SteadyClock::now();
        while (redis_.run({"EXISTS", key})->integer != 0) {
            if (seconds_since(committed) > kPatience)
                throw std::runtime_error("key " + key + " was not invalidated");
            // Asking takes a core that the refresh may want.
            std::this_thread::sleep_for(std::chrono::milliseconds(view_.rows > 1000 ? 5 : 1));
        }
        return seconds_since(committed) * 1000;
    }

    static void change_one(demo::Database &database, const BenchView &view, const std::string &id) {
        database.run(std::string("UPDATE ") + view.table + " SET price = price + 1 WHERE item_id = " + id);
    }

 private:
    const BenchView &view_;
    demo::Database database_;
    demo::Redis redis_;
    std::mt19937_64 random_;
};

// The median of bare refreshes after one changed row: in one session, whose caches are warm by then, or each
// in a new one, as a refresh process is.
double bare_refresh_ms(const Options &options, const BenchView &view, int count, bool in_new_session) {
    const std::string target = conninfo(options, "bare");
    auto database = std::make_unique<demo::Database>(target);
    database->run(std::string("VACUUM ") + view.view);
    std::vector<double> took;
    for (int n = 1; n <= count; ++n) {
        ViewProbe::change_one(*database, view, std::to_string(n));
        if (in_new_session)
            database = std::make_unique<demo::Database>(target);
        took.push_back(refresh_by_statement(*database, view, true).wall_seconds * 1000);
    }
    return median(took);
}

// The median of the last refreshes, as refresh_history has them (100 by default).
double latest_durations_ms(demo::Database &database, const BenchView &view, int count) {
    return std::stod(database
                         .run("SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY duration) FROM"
                              " (SELECT duration FROM cache_sync.refresh_history WHERE view = $1::regclass"
                              " ORDER BY id DESC LIMIT $2::integer) AS latest",
                              {view.view, std::to_string(count)})
                         .text(0, 0));
}

void measure(const Options &options, const BenchView &view, int round, Results &results, Tsv &tsv) {
    const int samples = std::max(5, view.rows > 1000 ? options.samples / 10 : options.samples);
    const std::string cell = std::string("lag_") + view.view;
    const double bare = bare_refresh_ms(options, view, std::min(samples, kMostBare), false);
    const double cold = bare_refresh_ms(options, view, std::min(samples, kMostBare), true);
    demo::Database database(conninfo(options, "managed"));
    database.run(std::string("VACUUM ") + view.table);
    database.run(std::string("VACUUM ") + view.view);
    manage_view(database, view, true);
    std::vector<double> lags;
    {
        ViewProbe probe(options, view);
        for (int n = 0; n < kWarmUp; ++n)
            probe.sample_ms();
        for (int n = 0; n < samples; ++n)
            lags.push_back(probe.sample_ms());
    }
    wait_until_clean(database, view);
    const double duration = latest_durations_ms(database, view, samples);
    manage_view(database, view, false);
    for (const double lag : lags)
        tsv.add(cell, round, "cache_sync", "lag_ms", lag);
    tsv.add(cell, round, "bare", "refresh_ms", bare);
    tsv.add(cell, round, "bare_new_session", "refresh_ms", cold);
    tsv.add(cell, round, "cache_sync", "refresh_ms", duration);
    results.p50.push_back(percentile(lags, 0.5));
    results.p95.push_back(percentile(lags, 0.95));
    results.p99.push_back(percentile(lags, 0.99));
    results.duration.push_back(duration);
    results.bare.push_back(bare);
    results.cold.push_back(cold);
    results.against_cold.push_back(results.p50.back() / cold);
    results.against_bare.push_back(results.p50.back() / bare);
}

}  // namespace

void measure_view_lag(const Options &options, Tsv &tsv) {
    const std::vector<std::pair<const BenchView *, std::string>> views{{&kSmallView, "1,000"},
                                                                       {&kLargeView, "100,000"}};
    std::map<const BenchView *, Results> results;
    for (int round = 1; round <= options.rounds; ++round)
        for (const auto &[view, rows] : views) {
            progress("refresh, change -> keys of a view of " + rows + " rows, round " +
                     std::to_string(round) + " of " + std::to_string(options.rounds));
            measure(options, *view, round, results[view], tsv);
        }
    Table table({"rows of the view", "p50 ms", "p95 ms", "p99 ms", "refresh_history p50", "bare REFRESH",
                 "bare, new session", "p50 : bare", "p50 : new session"});
    for (const auto &[view, rows] : views) {
        const Results &own = results[view];
        table.add({rows, spread(own.p50, 1), spread(own.p95, 1), spread(own.p99, 1), spread(own.duration, 1),
                   spread(own.bare, 1), spread(own.cold, 1), spread(own.against_bare, 2),
                   spread(own.against_cold, 2)});
    }
    table.print("Base row changed and committed -> key of its row in the view gone, min_interval 0");
}

}  // namespace cache_sync::bench
