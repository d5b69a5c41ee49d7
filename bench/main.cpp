#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>

#include "options.h"

namespace cache_sync::bench {
namespace {

std::vector<std::string> words(const std::string &text) {
    std::vector<std::string> list;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t comma = std::min(text.find(',', at), text.size());
        list.push_back(text.substr(at, comma - at));
        at = comma + 1;
    }
    return list;
}

// Every option is --name=value; script/bench has checked what a person typed.
Options read(int count, char **arguments) {
    Options options;
    options.command = count > 1 ? arguments[1] : "";
    std::map<std::string, std::string> values;
    for (int n = 2; n < count; ++n) {
        const std::string argument = arguments[n];
        const std::size_t equals = argument.find('=');
        if (argument.rfind("--", 0) != 0 || equals == std::string::npos)
            throw std::runtime_error("not --name=value: " + argument);
        values[argument.substr(2, equals - 2)] = argument.substr(equals + 1);
    }
    const auto take = [&](const char *name) {
        const auto found = values.find(name);
        return found == values.end() ? std::string() : found->second;
    };
    options.host = take("host");
    options.logical_host = take("logical-host");
    options.bindir = take("bindir");
    options.reviews = take("reviews");
    options.sources = take("sources");
    options.tsv = take("tsv");
    options.redis_port = std::atoi(take("redis-port").c_str());
    options.rounds = std::atoi(take("rounds").c_str());
    options.seconds = std::atof(take("seconds").c_str());
    options.samples = std::atoi(take("samples").c_str());
    options.minutes = std::atof(take("minutes").c_str());
    options.quick = take("quick") == "1";
    options.contenders = words(take("contenders"));
    options.cells = words(take("cells"));
    return options;
}

void run(const Options &options) {
    if (options.command == "lag")
        run_lag(options);
    else if (options.command == "write")
        run_write(options);
    else if (options.command == "throughput")
        run_throughput(options);
    else if (options.command == "held-snapshot")
        run_held_snapshot(options);
    else if (options.command == "refresh")
        run_refresh(options);
    else
        throw std::runtime_error("no such command: " + options.command);
}

}  // namespace
}  // namespace cache_sync::bench

int main(int count, char **arguments) {
    try {
        cache_sync::bench::run(cache_sync::bench::read(count, arguments));
        return EXIT_SUCCESS;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "bench: %s\n", error.what());
        return EXIT_FAILURE;
    }
}
