// Where a target is: the url option of a server, taken apart.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace cache_sync {

struct Endpoint {
    std::string host;  // without the brackets of an IPv6 address; empty for a unix socket
    std::uint16_t port = 6379;
    std::string socket_path;  // of a unix socket; empty for TCP
    int database = 0;

    bool is_unix() const { return !socket_path.empty(); }
    // host:port or the path, to be shown in messages.
    std::string text() const;
};

struct EndpointError {
    std::string message;  // never repeats the url, which may hold a secret
    std::string hint;     // may be empty
    std::size_t offset;   // where in the url, in bytes from 0
};

// Understands redis://host[:port][/db], redis://[ipv6]... and unix:/path[?db=n].
std::variant<Endpoint, EndpointError> parse_endpoint(std::string_view url);

}  // namespace cache_sync
