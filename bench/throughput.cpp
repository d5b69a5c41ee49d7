// How many row changes a second reach Redis, and how long one large statement takes until the last of its
// keys is gone.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>

#include "database.h"
#include "lag_probe.h"
#include "load.h"
#include "notify_daemon.h"
#include "options.h"
#include "redis.h"
#include "report.h"
#include "statistics.h"
#include "workloads.h"

namespace cache_sync::bench {
namespace {

constexpr int kRowsAStatement = 100;
constexpr int kKeysACommand = 1000;
constexpr double kPatience = 120;

struct Sustained {
    std::vector<double> written, against_none, drain, published;
};
struct Bulk {
    std::vector<double> statement, gone, rate;
    std::int64_t wrongly_gone = 0;
};

std::unique_ptr<NotifyDaemon> daemon_of(const Options &options, const std::string &contender) {
    if (contender != "notify")
        return nullptr;
    return std::make_unique<NotifyDaemon>(conninfo(options, contender), options.redis_port);
}

// Waits until everything that was committed is in Redis.
void wait_until_published(const Options &options, const std::string &contender) {
    if (contender == "cache_sync") {
        demo::Database database(conninfo(options, contender));
        if (database.run("SELECT cache_sync.drain('2 minutes')").text(0, 0) != "t")
            throw std::runtime_error("cache_sync has not published everything in two minutes");
    } else if (contender == "notify") {
        // Notifications arrive in the order of the commits, so the probe's is the last.
        LagProbe probe(conninfo(options, contender), options.redis_port);
        probe.sample_once(false, kPatience);
        if (probe.lost() != 0)
            throw std::runtime_error("the notify daemon has not caught up in two minutes");
    }
}

void sustain(const Options &options, const std::string &contender, int round, Sustained &results, Tsv &tsv) {
    tidy_up(options, contender);
    const auto daemon = daemon_of(options, contender);
    const auto start = SteadyClock::now();
    Load load({.conninfo = conninfo(options, contender),
               .clients = 2,
               .rows = kRowsAStatement,
               .is_synchronous = false});
    std::this_thread::sleep_for(std::chrono::duration<double>(options.seconds));
    load.stop();
    const double writing = seconds_since(start);
    wait_until_published(options, contender);
    const double whole = seconds_since(start);
    const double rows = static_cast<double>(load.transactions()) * kRowsAStatement;
    results.written.push_back(rows / writing);
    results.drain.push_back(whole - writing);
    results.published.push_back(rows / whole);
    tsv.add("sustained", round, contender, "rows_written_per_s", rows / writing);
    tsv.add("sustained", round, contender, "drain_s", whole - writing);
    tsv.add("sustained", round, contender, "invalidations_per_s", rows / whole);
}

void fill(demo::Redis &redis, int keys) {
    redis.run({"FLUSHDB"});
    std::vector<std::string> names;
    for (int id = 1; id <= keys; ++id)
        names.push_back("product:" + std::to_string(id));
    for (int first = 0; first < keys; first += kKeysACommand) {
        std::vector<std::string_view> command{"MSET"};
        for (int n = first; n < first + kKeysACommand; ++n) {
            command.push_back(names[static_cast<std::size_t>(n)]);
            command.push_back("a cached product");
        }
        redis.run(command);
    }
}

// How many of the keys product:first .. product:last there are.
std::int64_t present(demo::Redis &redis, int first, int last) {
    std::vector<std::string> names;
    for (int id = first; id <= last; ++id)
        names.push_back("product:" + std::to_string(id));
    std::vector<std::string_view> command{"EXISTS"};
    command.insert(command.end(), names.begin(), names.end());
    return redis.run(command)->integer;
}

// A key that is gone stays gone, so one pass over the keys, waiting at each thousand, sees when the last one
// went.
void wait_until_gone(demo::Redis &redis) {
    const auto start = SteadyClock::now();
    for (int first = 1; first <= kBulkRows; first += kKeysACommand)
        while (present(redis, first, first + kKeysACommand - 1) != 0)
            if (seconds_since(start) > kPatience)
                throw std::runtime_error("keys are still there after two minutes");
}

void bulk(const Options &options, const std::string &contender, int round, Bulk &results, Tsv &tsv) {
    tidy_up(options, contender);
    const auto daemon = daemon_of(options, contender);
    demo::Redis redis("127.0.0.1", options.redis_port);
    fill(redis, 2 * kBulkRows);
    demo::Database database(conninfo(options, contender));
    database.run("SELECT count(*) FROM product");
    const auto start = SteadyClock::now();
    database.run(kBulkUpdate);
    const double statement = seconds_since(start);
    wait_until_gone(redis);
    const double whole = seconds_since(start);
    for (int first = kBulkRows + 1; first <= 2 * kBulkRows; first += kKeysACommand)
        results.wrongly_gone += kKeysACommand - present(redis, first, first + kKeysACommand - 1);
    if (round == 0)
        return;  // warm-up
    results.statement.push_back(statement);
    results.gone.push_back(whole - statement);
    results.rate.push_back(kBulkRows / whole);
    tsv.add("bulk", round, contender, "statement_s", statement);
    tsv.add("bulk", round, contender, "commit_to_gone_s", whole - statement);
    tsv.add("bulk", round, contender, "invalidations_per_s", kBulkRows / whole);
}

std::vector<std::string> shuffled(std::vector<std::string> list) {
    static std::mt19937 random(std::random_device{}());
    std::shuffle(list.begin(), list.end(), random);
    return list;
}

}  // namespace

void run_throughput(const Options &options) {
    Tsv tsv(options.tsv, options.command);
    std::map<std::string, Sustained> sustained;
    std::map<std::string, Bulk> bulks;
    for (int round = 0; round <= options.rounds; ++round) {
        demo::Database(conninfo(options, "postgres")).run("CHECKPOINT");
        for (const std::string &contender : shuffled({"none", "cache_sync", "notify"})) {
            progress("throughput, round " + std::to_string(round) + " of " + std::to_string(options.rounds) +
                     ": " + contender + (round == 0 ? " (warm-up)" : ""));
            if (round != 0)
                sustain(options, contender, round, sustained[contender], tsv);
            if (contender != "none")
                bulk(options, contender, round, bulks[contender], tsv);
        }
        if (round != 0)
            for (auto &[contender, results] : sustained)
                results.against_none.push_back(results.written.back() / sustained["none"].written.back());
    }
    Table first(
        {"contender", "rows written/s", "against none", "then drain s", "invalidations/s until empty"});
    Table second({"contender", "statement s", "commit -> all gone s", "invalidations/s", "others gone"});
    for (const char *contender : {"none", "cache_sync", "notify"}) {
        const Sustained &own = sustained[contender];
        const bool is_none = contender == std::string("none");
        first.add({contender, spread(own.written, 0), spread(own.against_none, 2),
                   is_none ? "-" : spread(own.drain, 3), is_none ? "-" : spread(own.published, 0)});
        if (!is_none)
            second.add({contender, spread(bulks[contender].statement, 3), spread(bulks[contender].gone, 3),
                        spread(bulks[contender].rate, 0), std::to_string(bulks[contender].wrongly_gone)});
    }
    first.print("Sustained: statements of 100 rows, 2 clients, synchronous_commit off");
    second.print("One UPDATE of 50,000 rows, all 50,000 keys cached");
}

}  // namespace cache_sync::bench
