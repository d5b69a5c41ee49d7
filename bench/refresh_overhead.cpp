// What managing adds to a REFRESH: bare, by the same statement on a registered view, and by a refresh
// process.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>

#include "managed_view.h"
#include "redis.h"
#include "refresh.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr int kTurns = 5;  // of each contender in one round
// Asking takes a core that the refresh may want, and nobody asks while a statement runs.
constexpr double kPoll = 0.01;

struct Contender {
    const char *name;
    const char *database;
    bool is_process;
    bool concurrently;
};

const std::vector<Contender> kConcurrent = {{"bare", "bare", false, true},
                                            {"bare2", "bare2", false, true},
                                            {"statement", "managed", false, true},
                                            {"process", "managed", true, true}};
const std::vector<Contender> kPlain = {
    {"bare", "bare", false, false}, {"bare2", "bare2", false, false}, {"statement", "managed", false, false}};

// Of each contender and metric one number a round, in milliseconds.
using Rounds = std::map<std::string, std::vector<double>>;

void drain(demo::Database &database) {
    if (database.run("SELECT cache_sync.drain('2 minutes')").text(0, 0) != "t")
        throw std::runtime_error("cache_sync has not published everything in two minutes");
}

// The contenders take turns, one refresh each: what else the machine does hits all alike. Of each the median
// of its turns is kept. A refresh by cache_sync has two times: what its history says, and the clock of the
// one who asked.
void measure_round(const Options &options, const std::vector<Contender> &contenders, int round,
                   const std::string &cell, Rounds &rounds, Tsv &tsv) {
    static std::mt19937 random(std::random_device{}());
    static int times = 0;
    std::vector<std::pair<Contender, std::shared_ptr<demo::Database>>> order;
    for (const Contender &contender : contenders) {
        order.emplace_back(contender,
                           std::make_shared<demo::Database>(conninfo(options, contender.database)));
        order.back().second->run("VACUUM item");
        order.back().second->run("VACUUM item_view");
    }
    std::map<std::string, std::vector<double>> took;
    for (int turn = 0; turn < kTurns; ++turn) {
        std::shuffle(order.begin(), order.end(), random);
        for (const auto &[contender, database] : order) {
            const std::string name = contender.name;
            change_rows(*database, kLargeView, times++);
            const RefreshTook one = contender.is_process
                                        ? refresh_by_process(*database, kLargeView, kChangedRows, kPoll)
                                        : refresh_by_statement(*database, kLargeView, contender.concurrently);
            took[contender.is_process ? name + ", asked" : name].push_back(one.wall_seconds * 1000);
            if (one.duration_seconds)
                took[name].push_back(*one.duration_seconds * 1000);
            took[name + " CPU"].push_back(one.cpu_seconds * 1000);
            if (std::string(contender.database) == "managed")
                drain(*database);
        }
    }
    for (const auto &[metric, values] : took) {
        rounds[metric].push_back(median(values));
        for (const double value : values)
            tsv.add(cell, round, metric, "ms", value);
    }
}

// A refresh that publishes nothing would look fast.
void expect_published(const Options &options) {
    demo::Database database(conninfo(options, "managed"));
    demo::Redis redis("127.0.0.1", options.redis_port);
    for (const bool concurrently : {true, false}) {
        redis.run({"SET", "item_view:7", "1"});
        database.run("UPDATE item SET price = price + 1 WHERE item_id = 7");
        refresh_by_statement(database, kLargeView, concurrently);
        drain(database);
        if (redis.run({"EXISTS", "item_view:7"})->integer != 0)
            throw std::runtime_error(
                "a refresh of a registered view did not publish the row that it changed");
    }
}

void print(const std::string &title, const std::vector<std::pair<std::string, std::string>> &lines,
           const Rounds &rounds) {
    Table table({"contender", "ms", "time : bare", "CPU ms", "CPU : bare"});
    const auto against_bare = [&](const std::string &metric, const std::string &suffix) {
        std::vector<double> ratios;
        const auto &bare = rounds.at("bare" + suffix), &again = rounds.at("bare2" + suffix);
        const auto &own = rounds.at(metric);
        for (std::size_t n = 0; n < own.size(); ++n)
            ratios.push_back(own[n] / ((bare[n] + again[n]) / 2));
        return spread(ratios, 3);
    };
    for (const auto &[metric, label] : lines) {
        const std::string cpu = metric + " CPU";
        const bool has_cpu = rounds.count(cpu) != 0;
        table.add({label, spread(rounds.at(metric), 0), against_bare(metric, ""),
                   has_cpu ? spread(rounds.at(cpu), 0) : "-", has_cpu ? against_bare(cpu, " CPU") : "-"});
    }
    table.print(title);
}

}  // namespace

void measure_refresh_overhead(const Options &options, Tsv &tsv) {
    Rounds concurrent, plain, warm_up;
    expect_published(options);
    for (int round = 0; round <= options.rounds; ++round) {
        progress(round == 0 ? "refresh, overhead, warm-up"
                            : "refresh, overhead, round " + std::to_string(round) + " of " +
                                  std::to_string(options.rounds));
        demo::Database(conninfo(options, "postgres")).run("CHECKPOINT");
        measure_round(options, kConcurrent, round, "concurrently", round == 0 ? warm_up : concurrent, tsv);
        measure_round(options, kPlain, round, "plain", round == 0 ? warm_up : plain, tsv);
    }
    print("REFRESH ... CONCURRENTLY, 100,000 rows of which 100 changed (min / median / max of the rounds)",
          {{"bare", "bare"},
           {"bare2", "bare2"},
           {"statement", "registered view, by statement"},
           {"process", "cache_sync.refresh(), duration"},
           {"process, asked", "cache_sync.refresh(), asked -> finished"}},
          concurrent);
    print("Plain REFRESH of the same, with the comparison of old and new contents",
          {{"bare", "bare"}, {"bare2", "bare2"}, {"statement", "registered view, by statement"}}, plain);
}

}  // namespace cache_sync::bench
