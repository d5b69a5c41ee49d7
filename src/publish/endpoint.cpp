#include "publish/endpoint.h"

#include <sys/un.h>

#include <optional>

namespace cache_sync {
namespace {

using Result = std::variant<Endpoint, EndpointError>;

constexpr char kForms[] = "Write redis://host:port/db or unix:/path?db=n.";
constexpr char kSecretHint[] = "Put user and password into a user mapping of the server.";
constexpr std::size_t kLongestHost = 253;  // of a DNS name
constexpr unsigned kHighestDatabase = 1'000'000;

EndpointError error(std::string message, std::size_t offset, std::string hint = kForms) {
    return {std::move(message), std::move(hint), offset};
}

// A decimal number up to `highest`, digits only.
std::optional<unsigned> number(std::string_view text, unsigned highest) {
    if (text.empty() || text.size() > 9)
        return std::nullopt;
    unsigned value = 0;
    for (const char c : text) {
        if (c < '0' || c > '9')
            return std::nullopt;
        value = value * 10 + static_cast<unsigned>(c - '0');
    }
    if (value > highest)
        return std::nullopt;
    return value;
}

std::optional<std::size_t> control_character(std::string_view text) {
    for (std::size_t i = 0; i < text.size(); ++i)
        if (static_cast<unsigned char>(text[i]) < 0x20 || text[i] == 0x7f)
            return i;
    return std::nullopt;
}

Result parse_unix(std::string_view url, std::size_t start) {
    Endpoint endpoint;
    std::string_view path = url.substr(start);
    if (path.starts_with("//")) {  // unix:///path
        path.remove_prefix(2);
        start += 2;
    }
    const std::size_t query = path.find('?');
    if (query != std::string_view::npos) {
        const std::string_view rest = path.substr(query + 1);
        const auto database =
            rest.starts_with("db=") ? number(rest.substr(3), kHighestDatabase) : std::nullopt;
        if (!database)
            return error("only db=<number> may follow the ? of a unix url", start + query + 1);
        endpoint.database = static_cast<int>(*database);
        path = path.substr(0, query);
    }
    if (path.empty() || path[0] != '/')
        return error("the path of a unix socket must begin with /", start);
    if (path.size() >= sizeof(sockaddr_un::sun_path))
        return error("the path of a unix socket is too long", start,
                     "At most " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) + " bytes are possible.");
    endpoint.socket_path = path;
    return endpoint;
}

bool is_host_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_' || static_cast<unsigned char>(c) >= 0x80;
}

bool is_address_character(char c) {
    return (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F') || (c >= '0' && c <= '9') || c == ':' ||
           c == '.' || c == '%';  // %eth0: the letters of an interface are checked by the resolver
}

// host or [address]; returns how many bytes of `text` it took, nothing on error.
std::optional<std::size_t> take_host(std::string_view text, std::string &host) {
    if (text.starts_with("[")) {
        const std::size_t close = text.find(']');
        if (close == std::string_view::npos || close == 1)
            return std::nullopt;
        host = text.substr(1, close - 1);
        const std::string_view address = std::string_view(host).substr(0, host.find('%'));
        for (const char c : address)
            if (!is_address_character(c))
                return std::nullopt;
        if (address.find(':') == std::string_view::npos)
            return std::nullopt;
        return close + 1;
    }
    std::size_t length = 0;
    while (length < text.size() && is_host_character(text[length]))
        ++length;
    if (length == 0 || length > kLongestHost)
        return std::nullopt;
    host = text.substr(0, length);
    return length;
}

Result parse_tcp(std::string_view url, std::size_t start) {
    const std::string_view rest = url.substr(start);
    const std::string_view authority = rest.substr(0, rest.find('/'));
    if (const std::size_t at = authority.find('@'); at != std::string_view::npos)
        return error("a url must not hold a user or password", start, kSecretHint);
    Endpoint endpoint;
    const auto taken = take_host(authority, endpoint.host);
    if (!taken)
        return error(
            authority.empty() || authority[0] == ':' ? "the host is missing" : "the host is not valid",
            start);
    if (*taken < authority.size()) {
        const std::size_t at = start + *taken;
        if (authority[*taken] != ':')
            return error("the host is not valid", at);
        const auto port = number(authority.substr(*taken + 1), 65535);
        if (!port || *port == 0)
            return error("the port must be a number from 1 to 65535", at + 1);
        endpoint.port = static_cast<std::uint16_t>(*port);
    }
    if (authority.size() + 1 < rest.size()) {
        const auto database = number(rest.substr(authority.size() + 1), kHighestDatabase);
        if (!database)
            return error("the database must be a number", start + authority.size() + 1);
        endpoint.database = static_cast<int>(*database);
    }
    return endpoint;
}

}  // namespace

std::string Endpoint::text() const {
    if (is_unix())
        return socket_path;
    const bool bare = host.find(':') == std::string::npos;
    return (bare ? host : "[" + host + "]") + ":" + std::to_string(port);
}

std::variant<Endpoint, EndpointError> parse_endpoint(std::string_view url) {
    if (url.empty())
        return error("the url is empty", 0);
    if (const auto at = control_character(url))
        return error("a url must not hold control characters", *at);
    if (url.starts_with("redis://"))
        return parse_tcp(url, 8);
    if (url.starts_with("unix:"))
        return parse_unix(url, 5);
    if (url.starts_with("rediss://"))
        return error("TLS is not supported yet", 0, "Use redis:// or a unix socket.");
    return error("the url has an unknown scheme", 0);
}

}  // namespace cache_sync
