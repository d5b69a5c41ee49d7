// Where and how to connect, and what to call things there.
#pragma once

#include <cstdint>
#include <string>

#include "clock.h"

namespace cache_sync {

// Filled from the server's options.
struct TargetConfig {
    std::uint32_t id = 0;  // stable identity (the oid of the server)
    std::string name;
    std::string url;  // see endpoint.h
    std::string user, password;
    std::string prefix;   // put before every key
    std::string source;   // <src> of the protocol
    std::string channel;  // default cs:inv:<src>
    Milliseconds connect_timeout{5000};
    Milliseconds command_timeout{5000};
    Milliseconds heartbeat{1000};  // 0: none
    Milliseconds max_backoff{30000};
    bool paused = false;

    bool operator==(const TargetConfig &) const = default;
};

enum class TargetMode : std::uint8_t { unknown, functions, unlink };  // unlink: the target forbids Functions

}  // namespace cache_sync
