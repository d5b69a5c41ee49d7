// What capture costs the writer: time per unit of work, relative to no capture in the same round.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>

#include "database.h"
#include "options.h"
#include "process.h"
#include "report.h"
#include "statistics.h"
#include "workloads.h"

namespace cache_sync::bench {
namespace {

// cs_writer and cs_live share a database: the one with the publisher held, so that only the writer's part is
// measured, the other with the publisher and Redis at work on the same cores.
std::string database_of(const std::string &contender) {
    return contender == "cs_writer" || contender == "cs_live" ? "cache_sync" : contender;
}

class Surroundings {
 public:
    Surroundings(const Options &options, const std::string &contender)
        : connection_(conninfo(options, database_of(contender))),
          is_ours_(database_of(contender) == "cache_sync" || contender == "views") {
        if (contender == "cs_writer")
            publisher_ = std::make_unique<StoppedProcess>(publisher());
        if (contender == "wal2json")
            consumer_ = std::make_unique<BackgroundProgram>(std::vector<std::string>{
                options.bindir + "/pg_recvlogical", "-d", conninfo(options, contender), "--slot", "bench",
                "--start", "-f", "/dev/null", "-F", "0"});
    }

    // Ends what is left to do, so that it is not charged to the next one.
    void settle() {
        publisher_.reset();
        consumer_.reset();
        if (is_ours_ && connection_.run("SELECT cache_sync.drain('2 minutes')").text(0, 0) != "t")
            throw std::runtime_error("cache_sync has not published everything in two minutes");
    }

 private:
    pid_t publisher() {
        const demo::Rows rows = connection_.run(
            "SELECT pid FROM cache_sync.workers WHERE role = 'publisher' AND datname = current_database()");
        if (rows.size() != 1)
            throw std::runtime_error("cache_sync has no publisher");
        return static_cast<pid_t>(rows.number(0, 0));
    }

    demo::Database connection_;
    bool is_ours_;
    std::unique_ptr<StoppedProcess> publisher_;
    std::unique_ptr<BackgroundProgram> consumer_;
};

// Of one workload: seconds of each round by contender.
using Seconds = std::map<std::string, std::vector<double>>;
struct Cell {
    Seconds clock, cpu;
};
using Cells = std::map<std::string, Cell>;  // by workload

Took measure(const Options &options, const Workload &workload, const std::string &contender) {
    tidy_up(options, database_of(contender));
    Surroundings surroundings(options, contender);
    const Took took = run_workload(options, workload, database_of(contender), options.seconds);
    surroundings.settle();
    return took;
}

std::vector<std::string> shuffled(std::vector<std::string> list) {
    static std::mt19937 random(std::random_device{}());
    std::shuffle(list.begin(), list.end(), random);
    return list;
}

void measure_cell(const Options &options, const Workload &workload, Cell &cell, Tsv &tsv) {
    progress("write, " + workload.name + ": warm-up");
    for (const std::string &contender : shuffled(options.contenders))
        if (workload.kind != Workload::Kind::pgbench)
            measure(options, workload, contender);
    if (workload.kind == Workload::Kind::pgbench)
        run_workload(options, workload, "none", 1);
    for (int round = 1; round <= options.rounds; ++round) {
        progress("write, " + workload.name + ": round " + std::to_string(round) + " of " +
                 std::to_string(options.rounds));
        demo::Database(conninfo(options, "postgres")).run("CHECKPOINT");
        for (const std::string &contender : shuffled(options.contenders)) {
            const Took took = measure(options, workload, contender);
            cell.clock[contender].push_back(took.seconds);
            tsv.add(workload.name, round, contender, "seconds_per_unit", took.seconds);
            if (took.cpu_seconds == 0)
                continue;
            cell.cpu[contender].push_back(took.cpu_seconds);
            tsv.add(workload.name, round, contender, "backend_cpu_seconds", took.cpu_seconds);
        }
    }
}

std::vector<double> costs(const Seconds &times, const std::string &contender) {
    std::vector<double> ratios;
    const auto &none = times.at("none"), &again = times.at("none2"), &own = times.at(contender);
    for (std::size_t round = 0; round < own.size(); ++round)
        ratios.push_back(own[round] / ((none[round] + again[round]) / 2));
    return ratios;
}

std::string absolute(const Workload &workload, const std::vector<double> &seconds) {
    if (workload.kind != Workload::Kind::pgbench)
        return fixed(median(seconds) * 1000, 0) + " ms";
    return fixed(1 / median(seconds), 0) + " tps";
}

void print(const Options &options, const std::vector<Workload> &workloads, const Cells &cells) {
    std::vector<std::string> head{"contender"};
    std::vector<std::pair<const Workload *, const Seconds *>> columns;
    for (const Workload &workload : workloads) {
        head.push_back(workload.name);
        columns.emplace_back(&workload, &cells.at(workload.name).clock);
    }
    for (const Workload &workload : workloads) {
        const Cell &cell = cells.at(workload.name);
        if (cell.cpu.empty())
            continue;
        head.push_back(workload.name + ", CPU");
        columns.emplace_back(&workload, &cell.cpu);
    }
    Table table(head);
    for (const std::string &contender : options.contenders) {
        std::vector<std::string> row{contender};
        for (const auto &[workload, seconds] : columns)
            row.push_back(contender == "none" ? absolute(*workload, seconds->at(contender))
                                              : spread(costs(*seconds, contender), 2));
        table.add(row);
    }
    table.print(
        "Cost of capture: time per unit of work, 1.00 = no capture (min / median / max of the rounds)");
}

void measure_wal(const Options &options, Tsv &tsv) {
    const auto full_page_writes = [&](const std::string &value) {
        for (const std::string &host : {options.host, options.logical_host}) {
            if (host.empty())
                continue;
            demo::Database server("host=" + host + " port=5432 user=postgres dbname=postgres");
            server.run("ALTER SYSTEM SET full_page_writes = " + value);
            server.run("SELECT pg_reload_conf()");
            server.run("CHECKPOINT");  // the checkpointer is who makes the change known in the WAL
        }
    };
    full_page_writes("off");
    Table table({"contender", "WAL bytes a row"});
    for (const std::string &contender : options.contenders) {
        progress("write, WAL bytes: " + contender);
        tidy_up(options, database_of(contender));
        Surroundings surroundings(options, contender);
        const double bytes = wal_bytes_a_row(options, database_of(contender));
        surroundings.settle();
        tsv.add("bulk_update", 1, contender, "wal_bytes_a_row", bytes);
        table.add({contender, fixed(bytes, 1)});
    }
    full_page_writes("on");
    table.print("WAL of one UPDATE of 50,000 rows, without full-page images");
}

}  // namespace

void run_write(const Options &options) {
    Tsv tsv(options.tsv, options.command);
    Cells cells;
    const std::vector<Workload> workloads = write_workloads(options.quick, options.cells);
    for (const Workload &workload : workloads)
        measure_cell(options, workload, cells[workload.name], tsv);
    print(options, workloads, cells);
    if (std::any_of(workloads.begin(), workloads.end(),
                    [](const Workload &workload) { return workload.name == kBulkUpdateCell; }))
        measure_wal(options, tsv);
}

}  // namespace cache_sync::bench
