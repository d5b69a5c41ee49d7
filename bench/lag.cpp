// Commit returned -> key gone: cache_sync beside an application that removes its keys itself and a NOTIFY
// daemon.
#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>

#include "lag_probe.h"
#include "load.h"
#include "notify_daemon.h"
#include "options.h"
#include "report.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr double kPatience = 20;
constexpr int kWarmUp = 30;

struct Cell {
    std::string name;
    std::string title;
    std::optional<double> rate;  // of the load: nothing is none, 0 is flat out
};

const std::vector<Cell> kCells = {
    {"idle", "Idle: only the probe writes", {}},
    {"paced", "Under 1,000 transactions a second (4 clients)", 1000},
    {"flat_out", "Flat out (4 clients, as fast as they can)", 0},
};

// What the rounds of one contender in one cell gave.
struct Results {
    std::vector<double> p50, p95, p99, max, against_dual, tps;
    int lost = 0;
};
using Cells = std::map<std::string, std::map<std::string, Results>>;

void measure(const Options &options, const Cell &cell, const std::string &contender, int round,
             Results &results, Tsv &tsv) {
    const std::string target = conninfo(options, contender);
    demo::Database(target).run("VACUUM product");
    std::unique_ptr<NotifyDaemon> daemon;
    if (contender == "notify")
        daemon = std::make_unique<NotifyDaemon>(target, options.redis_port);
    LagProbe probe(target, options.redis_port);
    std::unique_ptr<Load> load;
    if (cell.rate)
        load = std::make_unique<Load>(LoadOptions{.conninfo = target, .rate = *cell.rate});
    const bool is_dual = contender == "dual";
    probe.sample(kWarmUp, is_dual, kPatience);

    const auto start = SteadyClock::now();
    const std::uint64_t before = load ? load->transactions() : 0;
    const std::vector<double> lags = probe.sample(options.samples, is_dual, kPatience);
    const double tps = load ? static_cast<double>(load->transactions() - before) / seconds_since(start) : 0;
    if (load)
        load->stop();

    for (const double lag : lags)
        tsv.add(cell.name, round, contender, "lag_ms", lag);
    tsv.add(cell.name, round, contender, "writer_tps", tps);
    results.p50.push_back(percentile(lags, 0.5));
    results.p95.push_back(percentile(lags, 0.95));
    results.p99.push_back(percentile(lags, 0.99));
    results.max.push_back(percentile(lags, 1));
    results.tps.push_back(tps);
    results.lost += probe.lost();
}

void measure_round(const Options &options, const Cell &cell, int round, Cells &cells, Tsv &tsv) {
    static std::mt19937 random(std::random_device{}());
    std::vector<std::string> order{"dual", "cache_sync", "notify"};
    std::shuffle(order.begin(), order.end(), random);
    auto &results = cells[cell.name];
    demo::Database(conninfo(options, "postgres")).run("CHECKPOINT");
    for (const std::string &contender : order) {
        progress("lag, " + cell.name + ", round " + std::to_string(round) + " of " +
                 std::to_string(options.rounds) + ": " + contender);
        measure(options, cell, contender, round, results[contender], tsv);
    }
    for (const std::string &contender : order)
        results[contender].against_dual.push_back(results[contender].p50.back() / results["dual"].p50.back());
}

std::vector<std::string> row_of(const std::string &contender, const Results &own, const Results &dual) {
    std::vector<double> speed;
    for (std::size_t n = 0; n < own.tps.size(); ++n)
        if (dual.tps[n] > 0)
            speed.push_back(own.tps[n] / dual.tps[n]);
    return {contender,          spread(own.p50, 3), spread(own.p95, 3),
            spread(own.p99, 3), spread(own.max, 2), spread(own.against_dual, 2),
            spread(own.tps, 0), spread(speed, 2),   std::to_string(own.lost)};
}

}  // namespace

void run_lag(const Options &options) {
    Tsv tsv(options.tsv, options.command);
    Cells cells;
    for (int round = 1; round <= options.rounds; ++round)
        for (const Cell &cell : kCells)
            measure_round(options, cell, round, cells, tsv);
    for (const Cell &cell : kCells) {
        Table table({"contender", "p50 ms", "p95 ms", "p99 ms", "max ms", "p50 : dual", "writer tps",
                     "tps : dual", "lost"});
        auto &results = cells[cell.name];
        for (const char *contender : {"dual", "cache_sync", "notify"})
            table.add(row_of(contender, results[contender], results["dual"]));
        table.print(cell.title);
    }
}

}  // namespace cache_sync::bench
