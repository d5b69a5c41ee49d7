// The load program of script/demo: writers, readers of two caches, a probe, one screen, and the comparison at
// the end. Exit code: 0 cache_sync's side had no stale entry, 1 it had, 2 something failed, 130 interrupted.

#include <csignal>
#include <cstdio>
#include <exception>
#include <sstream>
#include <string>
#include <thread>

#include "catalogue.h"
#include "comparison.h"
#include "crew.h"
#include "naive_cache.h"
#include "probe.h"
#include "protocol_cache.h"
#include "reader.h"
#include "screen.h"
#include "settings.h"
#include "suspects.h"
#include "views.h"
#include "writer.h"

namespace cache_sync::demo {
namespace {

volatile std::sig_atomic_t is_interrupted = 0;

constexpr std::size_t kViews = 2;

// Everything the threads share.
struct Run {
    Settings settings;
    Catalogue catalogue;
    WriteCounters writes;
    SideCounters synced, viewed, naive;
    Suspects synced_suspects, viewed_suspects, naive_suspects;
    Histogram lag;
};

template <typename SomeCache>
void start_side(Run &run, Crew &crew, Shelf shelf, SideCounters &counters, Suspects &suspects) {
    const int readers = shelf == Shelf::kTables ? run.settings.readers : run.settings.view_readers;
    for (int i = 0; i < readers; ++i) {
        crew.start([&run, shelf, &counters, &suspects](std::stop_token stop) {
            SomeCache cache(run.settings, counters);
            Reader(run.settings, run.catalogue, shelf, cache, counters, suspects).run(stop);
        });
    }
    crew.start([&run, &counters, &suspects](std::stop_token stop) {
        SomeCache cache(run.settings, counters);
        Source source(run.settings.conninfo);
        suspects.judge(stop, cache, source, counters);
    });
}

void start(Run &run, Crew &crew) {
    for (int i = 0; i < run.settings.writers; ++i) {
        crew.start(
            [&run](std::stop_token stop) { Writer(run.settings, run.catalogue, run.writes).run(stop); });
    }
    start_side<ProtocolCache>(run, crew, Shelf::kTables, run.synced, run.synced_suspects);
    start_side<ProtocolCache>(run, crew, Shelf::kViews, run.viewed, run.viewed_suspects);
    start_side<NaiveCache>(run, crew, Shelf::kTables, run.naive, run.naive_suspects);
    crew.start([&run](std::stop_token stop) { Probe(run.settings, run.lag).run(stop); });
}

SideSample sample_side(const SideCounters &side) {
    return {side.reads, side.hits, side.fills, side.refused, side.bypassed, side.checked, side.stale};
}

Sample take_sample(const Run &run, Database &database, ViewWatch &views) {
    Sample sample;
    const Rows told = database.run(
        "SELECT coalesce(sum(published_keys + published_tags), 0)::bigint"
        " FROM cache_sync.stat_targets");
    sample.published = static_cast<std::uint64_t>(told.number(0, 0));
    sample.taken = std::chrono::steady_clock::now();
    sample.committed = run.writes.committed;
    sample.rolled_back = run.writes.rolled_back;
    sample.savepoints = run.writes.savepoints;
    sample.bulk = run.writes.bulk;
    sample.rows = run.writes.rows;
    sample.synced = sample_side(run.synced);
    sample.viewed = sample_side(run.viewed);
    sample.naive = sample_side(run.naive);
    sample.views = views.look();
    sample.lag = run.lag.counts();
    return sample;
}

// Before the publisher has armed the node every read would go past the cache.
void wait_until_armed(Run &run) {
    ProtocolCache cache(run.settings, run.synced);
    const auto give_up = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (!cache.is_armed()) {
        if (is_interrupted != 0) {
            return;
        }
        if (std::chrono::steady_clock::now() > give_up) {
            throw std::runtime_error("the publisher did not arm " + run.settings.cache_name +
                                     " within 30 s: see cache_sync.targets and the server's log");
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
}

void play(Run &run, Database &database, const Titles &titles) {
    Crew crew;
    ViewWatch views(database);
    Screen screen(look_of_stdout(), titles, run.settings.duration);
    const auto end = std::chrono::steady_clock::now() + run.settings.duration;
    start(run, crew);
    while (std::chrono::steady_clock::now() < end && is_interrupted == 0 && !crew.has_failed()) {
        screen.show(take_sample(run, database, views));
        std::this_thread::sleep_for(std::chrono::milliseconds(250));
    }
    crew.stop();
    screen.show(take_sample(run, database, views));
    if (crew.has_failed()) {
        throw std::runtime_error(crew.failure());
    }
}

Titles titles_of(const Run &run, Database &database) {
    const std::string reviews = database.run("SELECT count(*) FROM review").text(0, 0);
    Redis redis(run.settings.redis_host, run.settings.redis_port);
    const Reply info = redis.run({"INFO", "server"});
    const std::string_view text = text_of(*info);
    // Valkey also answers redis_version, for clients that know no other.
    const std::string field =
        text.find("valkey_version:") == std::string_view::npos ? "redis_version:" : "valkey_version:";
    const std::size_t at = text.find(field) + field.size();
    const std::string version(text.substr(at, text.find('\r', at) - at));
    return {"PostgreSQL " + database.run("SELECT split_part(version(), ' ', 2)").text(0, 0) + ", " +
                run.settings.cache_name + " " + version,
            with_commas(run.catalogue.products.size()) + " products, " +
                with_commas(run.catalogue.categories.size()) + " categories, " +
                with_commas(std::stoull(reviews)) + " reviews"};
}

void print_verdict(const char *side, const Verdict &verdict) {
    std::printf("   %-25s %9s entries compared, %s stale\n", side, with_commas(verdict.entries).c_str(),
                with_commas(verdict.stale).c_str());
}

void print_example(const char *title, const Verdict &verdict) {
    std::istringstream lines(verdict.example);
    std::string line;
    for (int i = 0; std::getline(lines, line); ++i) {
        std::printf("   %s %s\n", i == 0 ? title : "  ", line.c_str());
    }
}

// Holds each view against its query; true if all are right, and were refreshed while there were writers.
bool judge_views(Database &database, const std::vector<ViewSample> &at_start) {
    bool are_right = true;
    const std::vector<ViewSample> at_end = sample_views(database);
    const std::vector<ViewVerdict> verdicts = compare_views(database);
    for (std::size_t i = 0; i < verdicts.size(); ++i) {
        const ViewVerdict &verdict = verdicts[i];
        std::printf("   %-25s %9s rows compared with its query, %s wrong\n", verdict.name.c_str(),
                    with_commas(verdict.rows).c_str(), with_commas(verdict.wrong).c_str());
        const bool has_worked = at_end[i].refreshes > at_start[i].refreshes && at_end[i].keys > 0;
        if (!has_worked) {
            std::printf(
                "   %s was not refreshed or nothing of it changed, so this run proves nothing of it\n",
                verdict.name.c_str());
        }
        are_right = are_right && verdict.wrong == 0 && has_worked;
    }
    return are_right && verdicts.size() == kViews;
}

// Without a hit and an entry no staleness could have shown.
bool has_served(const SideCounters &side, const Verdict &verdict) {
    return side.hits > 0 && verdict.entries > 0;
}

// Prints the outcome of the run; true if cache_sync kept its promises.
bool judge(const Run &run, Database &database, const std::vector<ViewSample> &views_at_start) {
    std::printf(
        "\n Writers and readers stopped. Comparing views and the whole cache with the database ...\n");
    std::fflush(stdout);
    const bool is_settled = wait_until_clean(database, [] { return is_interrupted != 0; });
    const bool are_views_right = judge_views(database, views_at_start);
    const Verdict synced = compare_protocol_entries(run.settings);
    const Verdict viewed = compare_view_entries(run.settings);
    const Verdict naive = compare_naive_entries(run.settings);
    print_verdict("cache_sync, tables", synced);
    print_verdict("cache_sync, views", viewed);
    print_verdict("naive application", naive);
    print_example("for example", naive);
    print_example("STALE under cache_sync:", synced);
    print_example("STALE under cache_sync, of a view:", viewed);
    const bool has_worked =
        has_served(run.synced, synced) && has_served(run.viewed, viewed) && total(run.lag.counts()) > 0;
    if (!is_settled) {
        std::printf("   gave up waiting: not everything is refreshed and published\n");
    }
    if (!has_worked) {
        std::printf("   cache_sync's side served or published nothing, so this run proves nothing\n");
    }
    const std::uint64_t reads = run.synced.stale + run.viewed.stale, entries = synced.stale + viewed.stale;
    const bool is_right = is_settled && has_worked && are_views_right && reads == 0 && entries == 0;
    std::printf("\n %s: cache_sync %s stale reads and %s stale entries, the naive application %s and %s.\n",
                is_right ? "OK" : "FAILED", with_commas(reads).c_str(), with_commas(entries).c_str(),
                with_commas(run.naive.stale).c_str(), with_commas(naive.stale).c_str());
    return is_right;
}

int run_demo(int argc, char **argv) {
    const Settings settings = parse_settings(argc, argv);
    Database database(settings.conninfo);
    Run run{settings, measure_catalogue(database), {}, {}, {}, {}, {}, {}, {}, {}};
    wait_until_armed(run);
    // Registering a view has it refreshed once.
    if (!wait_until_clean(database, [] { return is_interrupted != 0; }) && is_interrupted == 0) {
        throw std::runtime_error("the views were not refreshed: see cache_sync.views and the server's log");
    }
    const std::vector<ViewSample> views = sample_views(database);
    play(run, database, titles_of(run, database));
    if (is_interrupted != 0) {
        return 130;
    }
    const bool is_right = judge(run, database, views);
    return is_interrupted != 0 ? 130 : is_right ? 0 : 1;
}

}  // namespace
}  // namespace cache_sync::demo

int main(int argc, char **argv) {
    for (const int signal : {SIGINT, SIGTERM}) {
        std::signal(signal, [](int) { cache_sync::demo::is_interrupted = 1; });
    }
    try {
        return cache_sync::demo::run_demo(argc, argv);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "\nerror: %s\n", error.what());
        return 2;
    }
}
