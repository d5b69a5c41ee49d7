#include "workloads.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

#include "database.h"
#include "process.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

double run_pgbench(const Options &options, const Workload &workload, const std::string &database,
                   double seconds) {
    const std::string &host = database == "wal2json" ? options.logical_host : options.host;
    const int whole_seconds = seconds < 1 ? 1 : static_cast<int>(seconds + 0.5);
    setenv("PGOPTIONS", workload.is_synchronous ? "-c synchronous_commit=on" : "-c synchronous_commit=off",
           1);
    const std::string output = run_program(
        {options.bindir + "/pgbench", "-n", "-M", "prepared", "-c", std::to_string(workload.clients), "-j",
         workload.clients > 1 ? "2" : "1", "-T", std::to_string(whole_seconds), "-f",
         options.sources + "/" + workload.script, "-h", host, "-p", "5432", "-U", "postgres", database});
    unsetenv("PGOPTIONS");
    const std::size_t at = output.find("tps = ");
    const double tps = at == std::string::npos ? 0 : std::atof(output.c_str() + at + 6);
    if (tps <= 0)
        throw std::runtime_error("pgbench told no tps:\n" + output);
    return 1 / tps;
}

}  // namespace

std::vector<Workload> write_workloads(bool quick, const std::vector<std::string> &cells) {
    const auto one = [](int clients, bool is_synchronous) {
        const std::string commit = is_synchronous ? "on" : "off";
        return Workload{"one_row_" + std::to_string(clients) + "_" + commit, Workload::Kind::pgbench,
                        "update_one.pgbench", clients, is_synchronous};
    };
    std::vector<Workload> list;
    if (quick && cells.empty())
        list = {one(4, true), one(16, false)};
    else
        list = {one(1, true), one(4, true), one(16, true), one(1, false), one(4, false), one(16, false)};
    list.push_back({"hundred_rows", Workload::Kind::pgbench, "update_hundred.pgbench", 4});
    list.push_back({kBulkUpdateCell, Workload::Kind::bulk_update});
    list.push_back({"copy", Workload::Kind::copy});
    if (cells.empty())
        return list;
    for (const std::string &cell : cells)
        if (std::none_of(list.begin(), list.end(), [&](const Workload &one) { return one.name == cell; }))
            throw std::runtime_error("no such cell: " + cell);
    std::erase_if(list, [&](const Workload &one) {
        return std::find(cells.begin(), cells.end(), one.name) == cells.end();
    });
    return list;
}

Took run_workload(const Options &options, const Workload &workload, const std::string &database,
                  double seconds) {
    if (workload.kind == Workload::Kind::pgbench)
        return {run_pgbench(options, workload, database, seconds), 0};
    demo::Database connection(conninfo(options, database));
    const auto backend =
        static_cast<pid_t>(connection.run("SELECT pg_backend_pid(), count(*) FROM product").number(0, 0));
    const double cpu_before = cpu_seconds(backend);
    const auto start = SteadyClock::now();
    connection.run(workload.kind == Workload::Kind::copy ? "COPY review FROM '" + options.reviews + "'"
                                                         : std::string(kBulkUpdate));
    const double took = seconds_since(start);
    return {took, cpu_seconds(backend) - cpu_before};
}

void tidy_up(const Options &options, const std::string &database) {
    demo::Database connection(conninfo(options, database));
    // What is cleared here was never of interest to a cache.
    connection.run("SET cache_sync.enabled = off");
    connection.run("TRUNCATE review");
    if (database == "queue_row" || database == "queue_stmt")
        connection.run("TRUNCATE queue RESTART IDENTITY");
    connection.run("VACUUM product");
}

double wal_bytes_a_row(const Options &options, const std::string &database) {
    demo::Database connection(conninfo(options, database));
    const auto position = [&] {
        return connection.run("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").number(0, 0);
    };
    connection.run("CHECKPOINT");
    const std::int64_t before = position();
    connection.run(kBulkUpdate);
    return static_cast<double>(position() - before) / kBulkRows;
}

}  // namespace cache_sync::bench
