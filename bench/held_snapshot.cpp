// Does somebody's long transaction make cache_sync slow or large? 2,000 writes a second without and with one.
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "database.h"
#include "lag_probe.h"
#include "load.h"
#include "options.h"
#include "report.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr double kRate = 2000;
constexpr double kPatience = 20;
constexpr double kPatienceForDisk = 30;
constexpr const char *kDatabase = "cache_sync";

// Updates rows of a table that has no trigger and measures how long that takes.
class Bystander {
 public:
    explicit Bystander(const std::string &conninfo)
        : thread_([this, conninfo](std::stop_token stop) { work(conninfo, stop); }) {}

    // Latencies in milliseconds since the last call.
    std::vector<double> take() {
        const std::lock_guard guard(mutex_);
        return std::exchange(latencies_, {});
    }

 private:
    void work(const std::string &conninfo, const std::stop_token &stop) {
        demo::Database database(conninfo);
        database.prepare("work", "UPDATE bystander SET value = value + 1 WHERE id = $1::bigint");
        for (int n = 0; !stop.stop_requested(); ++n) {
            const auto start = SteadyClock::now();
            database.run_prepared("work", {std::to_string(1 + n % 1000)});
            const double took = seconds_since(start) * 1000;
            {
                const std::lock_guard guard(mutex_);
                latencies_.push_back(took);
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
    }

    std::mutex mutex_;
    std::vector<double> latencies_;
    std::jthread thread_;
};

struct Size {
    double bytes = 0;
    double dead_rows = 0;
};

// Every table of cache_sync, with its TOAST table and indexes.
std::map<std::string, Size> sizes(demo::Database &database) {
    std::map<std::string, Size> found;
    const demo::Rows rows = database.run(
        "SELECT c.relname, pg_total_relation_size(c.oid), coalesce(s.n_dead_tup, 0)"
        "  FROM pg_class c LEFT JOIN pg_stat_all_tables s ON s.relid = c.oid"
        " WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind = 'r'");
    for (int n = 0; n < rows.size(); ++n)
        found[rows.text(n, 0)] = {static_cast<double>(rows.number(n, 1)),
                                  static_cast<double>(rows.number(n, 2))};
    return found;
}

Size total(const std::map<std::string, Size> &sizes) {
    Size sum;
    for (const auto &[table, size] : sizes) {
        sum.bytes += size.bytes;
        sum.dead_rows += size.dead_rows;
    }
    return sum;
}

Table new_table() {
    return Table({"minute", "writes/s", "lag p50 ms", "p95", "p99", "max", "bystander p50 ms", "p99",
                  "cache_sync tables kB", "dead rows"});
}

struct Observer {
    demo::Database database;
    Load load;
    Bystander bystander;
    LagProbe probe;

    Observer(const Options &options, const std::string &target)
        : database(target),
          load({.conninfo = target, .rate = kRate, .is_skewed = false}),
          bystander(target),
          probe(target, options.redis_port) {}
};

// One interval of an arm: a line of its table.
void observe(Observer &observer, const std::string &arm, int interval, double seconds, Table &table,
             Tsv &tsv) {
    const auto start = SteadyClock::now();
    const std::uint64_t before = observer.load.transactions();
    observer.bystander.take();
    std::vector<double> lags;
    while (seconds_since(start) < seconds) {
        lags.push_back(observer.probe.sample_once(false, kPatience));
        observer.probe.wait_a_random_gap();
    }
    const double tps = static_cast<double>(observer.load.transactions() - before) / seconds_since(start);
    const std::vector<double> others = observer.bystander.take();
    const auto tables = sizes(observer.database);
    const Size all = total(tables);
    table.add({fixed(interval * seconds / 60, 2), fixed(tps, 0), fixed(percentile(lags, 0.5), 3),
               fixed(percentile(lags, 0.95), 3), fixed(percentile(lags, 0.99), 3),
               fixed(percentile(lags, 1), 2), fixed(percentile(others, 0.5), 3),
               fixed(percentile(others, 0.99), 3), fixed(all.bytes / 1024, 0), fixed(all.dead_rows, 0)});
    tsv.add(arm, interval, kDatabase, "writes_per_s", tps);
    for (const double share : {0.5, 0.95, 0.99, 1.0}) {
        tsv.add(arm, interval, kDatabase, "lag_ms_p" + fixed(share * 100, 0), percentile(lags, share));
        tsv.add(arm, interval, kDatabase, "bystander_ms_p" + fixed(share * 100, 0),
                percentile(others, share));
    }
    for (const auto &[name, size] : tables) {
        tsv.add(arm, interval, name, "bytes", size.bytes);
        tsv.add(arm, interval, name, "dead_rows", size.dead_rows);
    }
}

// Watches the disk after the end of the writers: first while the snapshot is still there, then without it.
void watch_disk(demo::Database &database, std::unique_ptr<demo::Database> snapshot, const std::string &arm,
                Tsv &tsv) {
    const auto report = [&](const char *when, const std::string &metric, double seconds) {
        const Size all = total(sizes(database));
        std::printf(
            "%s: %.0f kB, %.0f dead rows; queue empty after %s\n", when, all.bytes / 1024, all.dead_rows,
            seconds < kPatienceForDisk ? (fixed(seconds, 1) + " s").c_str() : "more than half a minute");
        tsv.add(arm, 0, kDatabase, "bytes_" + metric, all.bytes);
        tsv.add(arm, 0, kDatabase, "dead_rows_" + metric, all.dead_rows);
        tsv.add(arm, 0, kDatabase, "queue_empty_s_" + metric, seconds);
    };
    const auto wait_until_empty = [&] {
        const auto start = SteadyClock::now();
        const char *const bytes =
            "SELECT sum(pg_relation_size(c.oid)) FROM pg_class c"
            " WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relname ~ '^queue_[0-9]$'";
        while (database.run(bytes).number(0, 0) != 0 && seconds_since(start) < kPatienceForDisk)
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return seconds_since(start);
    };
    std::printf("\nLargest: %.0f kB. ", total(sizes(database)).bytes / 1024);
    report(snapshot ? "Writers ended, snapshot still held" : "Writers ended", "writers_ended",
           wait_until_empty());
    if (!snapshot)
        return;
    snapshot.reset();
    report("Snapshot released", "released", wait_until_empty());
}

void run_arm(const Options &options, bool with_snapshot, Tsv &tsv) {
    const std::string arm = with_snapshot ? "snapshot_held" : "no_snapshot";
    const std::string target = conninfo(options, kDatabase);
    demo::Database control(target);
    control.run("VACUUM product");
    control.run("VACUUM bystander");
    std::unique_ptr<demo::Database> snapshot;
    if (with_snapshot) {
        snapshot = std::make_unique<demo::Database>(target);
        snapshot->run("BEGIN ISOLATION LEVEL REPEATABLE READ");
        snapshot->run("SELECT count(*) FROM product");
    }
    const int intervals = 10;
    const double seconds = options.minutes * 60 / intervals;
    Table table = new_table();
    {
        Observer observer(options, target);
        observer.probe.sample(30, false, kPatience);
        for (int interval = 1; interval <= intervals; ++interval) {
            progress("held-snapshot, " + arm + ": " + std::to_string(interval) + " of " +
                     std::to_string(intervals));
            observe(observer, arm, interval, seconds, table, tsv);
        }
        observer.load.stop();
        if (observer.probe.lost() != 0)
            throw std::runtime_error("keys of the probe were not invalidated");
    }
    table.print(with_snapshot ? "Up to 2,000 writes a second while a REPEATABLE READ transaction stays open"
                              : "Up to 2,000 writes a second");
    watch_disk(control, std::move(snapshot), arm, tsv);
}

}  // namespace

void run_held_snapshot(const Options &options) {
    Tsv tsv(options.tsv, options.command);
    run_arm(options, false, tsv);
    run_arm(options, true, tsv);
}

}  // namespace cache_sync::bench
