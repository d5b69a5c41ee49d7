// What refreshes do to the lag of keys of another table: beside refreshes by cache_sync, beside the same
// statements run by a client, and beside nothing.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>

#include "lag_probe.h"
#include "managed_view.h"
#include "refresh.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr double kPatience = 20;
constexpr int kWarmUp = 30;
constexpr double kPoll = 0.02;

const std::vector<std::string> kArms{"idle", "client", "cache_sync"};

// Refreshes a view of 100,000 rows without pause, 100 rows changed each time, from the constructor to stop().
class RefreshLoop {
 public:
    RefreshLoop(const std::string &conninfo, bool by_cache_sync)
        : thread_([this, conninfo, by_cache_sync](std::stop_token stop) {
              try {
                  work(conninfo, by_cache_sync, stop);
              } catch (const std::exception &error) {
                  failure_ = error.what();
              }
          }) {}

    // Ends with the refresh that is under way, and throws what it died of. Returns the refreshes a minute.
    double stop() {
        thread_.request_stop();
        thread_.join();
        if (!failure_.empty())
            throw std::runtime_error("the refreshes failed: " + failure_);
        return refreshes_ / seconds_since(start_) * 60;
    }

 private:
    void work(const std::string &conninfo, bool by_cache_sync, const std::stop_token &stop) {
        demo::Database database(conninfo);
        for (int time = 0; !stop.stop_requested(); ++time, ++refreshes_) {
            change_rows(database, by_cache_sync ? kLargeView : kUnmanagedView, time);
            if (by_cache_sync)
                refresh_by_process(database, kLargeView, kChangedRows, kPoll);
            else
                refresh_by_statement(database, kUnmanagedView, true);
        }
    }

    const SteadyClock::time_point start_ = SteadyClock::now();
    int refreshes_ = 0;  // of the thread, until it has ended
    std::string failure_;
    std::jthread thread_;
};

struct Results {
    std::vector<double> p50, p95, p99, p50_against_client, p99_against_client, refreshes_per_minute;
    std::vector<double> all;
    int lost = 0;
};
using Arms = std::map<std::string, Results>;

void measure(const Options &options, const std::string &arm, int round, Results &results, Tsv &tsv) {
    const std::string target = conninfo(options, "managed");
    {
        demo::Database database(target);
        for (const char *table : {"product", "item", "item_view", "unmanaged_view"})
            database.run(std::string("VACUUM ") + table);
        // Both begin with a view that is up to date.
        database.run("REFRESH MATERIALIZED VIEW CONCURRENTLY item_view");
        database.run("REFRESH MATERIALIZED VIEW CONCURRENTLY unmanaged_view");
        database.run("SELECT cache_sync.drain()");
    }
    LagProbe probe(target, options.redis_port);
    std::unique_ptr<RefreshLoop> loop;
    if (arm != "idle")
        loop = std::make_unique<RefreshLoop>(target, arm == "cache_sync");
    probe.sample(kWarmUp, false, kPatience);
    const std::vector<double> lags = probe.sample(options.samples, false, kPatience);
    const double rate = loop ? loop->stop() : 0;

    for (const double lag : lags)
        tsv.add("lag_beside_refreshes", round, arm, "lag_ms", lag);
    tsv.add("lag_beside_refreshes", round, arm, "refreshes_per_minute", rate);
    results.p50.push_back(percentile(lags, 0.5));
    results.p95.push_back(percentile(lags, 0.95));
    results.p99.push_back(percentile(lags, 0.99));
    results.refreshes_per_minute.push_back(rate);
    results.all.insert(results.all.end(), lags.begin(), lags.end());
    results.lost += probe.lost();
}

void print(Arms &arms) {
    const double client_p99 = percentile(arms["client"].all, 0.99);
    Table table({"refreshes by", "p50 ms", "p95 ms", "p99 ms", "p50 : client", "p99 : client",
                 "p99 of all rounds", ": client", "refreshes/min", "lost"});
    for (const std::string &arm : kArms) {
        const Results &own = arms[arm];
        const double p99 = percentile(own.all, 0.99);
        table.add({arm == "idle" ? "nobody" : arm, spread(own.p50, 3), spread(own.p95, 3), spread(own.p99, 3),
                   spread(own.p50_against_client, 2), spread(own.p99_against_client, 2), fixed(p99, 3),
                   fixed(p99 / client_p99, 2), spread(own.refreshes_per_minute, 0),
                   std::to_string(own.lost)});
    }
    table.print(
        "Commit -> key gone of another table while a view of 100,000 rows is refreshed without pause");
}

}  // namespace

void measure_lag_beside_refreshes(const Options &options, Tsv &tsv) {
    static std::mt19937 random(std::random_device{}());
    Arms arms;
    for (int round = 1; round <= options.rounds; ++round) {
        std::vector<std::string> order = kArms;
        std::shuffle(order.begin(), order.end(), random);
        demo::Database(conninfo(options, "postgres")).run("CHECKPOINT");
        for (const std::string &arm : order) {
            progress("refresh, lag beside refreshes, round " + std::to_string(round) + " of " +
                     std::to_string(options.rounds) + ": " + arm);
            measure(options, arm, round, arms[arm], tsv);
        }
        for (const std::string &arm : order) {
            arms[arm].p50_against_client.push_back(arms[arm].p50.back() / arms["client"].p50.back());
            arms[arm].p99_against_client.push_back(arms[arm].p99.back() / arms["client"].p99.back());
        }
    }
    print(arms);
}

}  // namespace cache_sync::bench
