#pragma once

#include <string>
#include <vector>

#include "options.h"

namespace cache_sync::bench {

struct Workload {
    enum class Kind { pgbench, bulk_update, copy };
    std::string name;
    Kind kind;
    std::string script = "";  // of pgbench, in the directory of the sources
    int clients = 1;
    bool is_synchronous = true;
};

constexpr int kBulkRows = 50000;
constexpr const char *kBulkUpdate =
    "UPDATE product SET price = price + 1 WHERE product_id BETWEEN 1 AND 50000";

constexpr const char *kBulkUpdateCell = "bulk_update";

// Those with these names if there are any, else those of a quick or of a full run. Throws at an unknown name.
std::vector<Workload> write_workloads(bool quick, const std::vector<std::string> &cells);

// What one unit of a workload took, a transaction or the statement.
struct Took {
    double seconds = 0;
    double cpu_seconds = 0;  // of the backend; 0 if that was not measured
};

// Runs the workload once in a database.
Took run_workload(const Options &options, const Workload &workload, const std::string &database,
                  double seconds);

// The same table for everybody: no dead rows, no reviews, no rows in a queue that nobody reads.
void tidy_up(const Options &options, const std::string &database);

// Bytes of WAL that the update of 50,000 rows writes, for each of them.
double wal_bytes_a_row(const Options &options, const std::string &database);

}  // namespace cache_sync::bench
