#pragma once

#include <string>
#include <vector>

namespace cache_sync::bench {

// What script/bench tells the program: where its private servers are and what to run.
struct Options {
    std::string command;
    std::string host;          // directory of the cluster's socket
    std::string logical_host;  // the same of the cluster with wal_level = logical, or empty
    std::string bindir;
    std::string reviews;  // file for COPY, readable for the server
    std::string sources;  // directory of this file
    std::string tsv;
    int redis_port = 0;
    int rounds = 3;
    double seconds = 2;  // of one timed run
    int samples = 450;   // of one probe
    double minutes = 5;  // of one arm of held-snapshot
    bool quick = false;
    std::vector<std::string> contenders;  // write: those to measure besides none and none2
    std::vector<std::string> cells;       // write: only these; empty: all that the kind of run has
};

inline std::string conninfo(const Options &options, const std::string &database) {
    const std::string &host = database == "wal2json" ? options.logical_host : options.host;
    return "host=" + host + " port=5432 user=postgres application_name=bench dbname=" + database;
}

void run_lag(const Options &options);
void run_write(const Options &options);
void run_throughput(const Options &options);
void run_held_snapshot(const Options &options);
void run_refresh(const Options &options);

}  // namespace cache_sync::bench
