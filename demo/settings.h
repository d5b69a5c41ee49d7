#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace cache_sync::demo {

// What script/demo tells the load program.
struct Settings {
    std::string conninfo;
    std::string redis_host = "127.0.0.1";
    int redis_port = 0;
    std::string source = "shop";  // <src> of the fill protocol: the name the target knows the database by
    std::string cache_name = "Redis";
    std::chrono::seconds duration{60};
    int writers = 3;
    int readers = 4;       // of each side
    int view_readers = 2;  // of what is cached of views
};

// Reads "--name value" pairs; throws std::runtime_error that names what is wrong.
Settings parse_settings(int argc, char **argv);

}  // namespace cache_sync::demo
