#include "settings.h"

#include <charconv>
#include <stdexcept>
#include <string_view>

namespace cache_sync::demo {
namespace {

// Each takes up to two of the private cluster's 50 connections.
constexpr int kMostThreads = 8;

int parse_count(std::string_view name, std::string_view text, int largest) {
    int number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size() || number < 1 || number > largest) {
        throw std::runtime_error(std::string(name) + " wants a number from 1 to " + std::to_string(largest) +
                                 ", not \"" + std::string(text) + "\"");
    }
    return number;
}

}  // namespace

Settings parse_settings(int argc, char **argv) {
    Settings settings;
    for (int i = 1; i < argc; i += 2) {
        const std::string_view name = argv[i];
        if (i + 1 == argc) {
            throw std::runtime_error(std::string(name) + " wants a value");
        }
        const std::string_view value = argv[i + 1];
        if (name == "--conninfo") {
            settings.conninfo = value;
        } else if (name == "--redis-port") {
            settings.redis_port = parse_count(name, value, 65535);
        } else if (name == "--source") {
            settings.source = value;
        } else if (name == "--cache-name") {
            settings.cache_name = value;
        } else if (name == "--seconds") {
            settings.duration = std::chrono::seconds(parse_count(name, value, 86400));
        } else if (name == "--writers") {
            settings.writers = parse_count(name, value, kMostThreads);
        } else if (name == "--readers") {
            settings.readers = parse_count(name, value, kMostThreads);
        } else {
            throw std::runtime_error("unknown option " + std::string(name));
        }
    }
    if (settings.conninfo.empty() || settings.redis_port == 0) {
        throw std::runtime_error("--conninfo and --redis-port are needed");
    }
    return settings;
}

}  // namespace cache_sync::demo
