#include "publish/endpoint.h"

#include <gtest/gtest.h>

namespace cache_sync {
namespace {

TEST(Endpoint, UnderstandsTheFormsOfAUrl) {
    const struct {
        const char *url, *host, *path;
        int port, database;
        const char *text;
    } cases[] = {
        {"redis://localhost", "localhost", "", 6379, 0, "localhost:6379"},
        {"redis://localhost/", "localhost", "", 6379, 0, "localhost:6379"},
        {"redis://127.0.0.1:7000/3", "127.0.0.1", "", 7000, 3, "127.0.0.1:7000"},
        {"redis://cache-1.some_zone.example:65535/15", "cache-1.some_zone.example", "", 65535, 15,
         "cache-1.some_zone.example:65535"},
        {"redis://[::1]", "::1", "", 6379, 0, "[::1]:6379"},
        {"redis://[fe80::1%eth0]:1/2", "fe80::1%eth0", "", 1, 2, "[fe80::1%eth0]:1"},
        {"redis://[::ffff:10.0.0.1]:6380", "::ffff:10.0.0.1", "", 6380, 0, "[::ffff:10.0.0.1]:6380"},
        {"redis://b\xc3\xbc"
         "cher.example",
         "b\xc3\xbc"
         "cher.example",
         "", 6379, 0,
         "b\xc3\xbc"
         "cher.example:6379"},
        {"unix:/run/redis.sock", "", "/run/redis.sock", 6379, 0, "/run/redis.sock"},
        {"unix:///run/redis.sock?db=9", "", "/run/redis.sock", 6379, 9, "/run/redis.sock"},
        {"unix:/with blank?db=0", "", "/with blank", 6379, 0, "/with blank"},
    };
    for (const auto &one : cases) {
        const auto result = parse_endpoint(one.url);
        const auto *endpoint = std::get_if<Endpoint>(&result);
        ASSERT_NE(endpoint, nullptr) << one.url << ": " << std::get<EndpointError>(result).message;
        EXPECT_EQ(endpoint->host, one.host) << one.url;
        EXPECT_EQ(endpoint->socket_path, one.path) << one.url;
        EXPECT_EQ(endpoint->port, one.port) << one.url;
        EXPECT_EQ(endpoint->database, one.database) << one.url;
        EXPECT_EQ(endpoint->text(), one.text) << one.url;
    }
}

TEST(Endpoint, SaysWhatIsWrongAndWhere) {
    const std::string long_path = "unix:/" + std::string(107, 'x');
    const std::string long_host = "redis://" + std::string(254, 'x');
    const struct {
        std::string url, message;
        std::size_t offset;
    } cases[] = {
        {"", "the url is empty", 0},
        {"localhost:6379", "the url has an unknown scheme", 0},
        {"REDIS://localhost", "the url has an unknown scheme", 0},
        {"http://localhost", "the url has an unknown scheme", 0},
        {"rediss://localhost", "TLS is not supported yet", 0},
        {"redis://", "the host is missing", 8},
        {"redis://:6379", "the host is missing", 8},
        {"redis:///3", "the host is missing", 8},
        {"redis://app:secret@localhost", "a url must not hold a user or password", 8},
        {"redis://:secret@localhost/1", "a url must not hold a user or password", 8},
        {"redis://a b", "the host is not valid", 9},
        {"redis://[]", "the host is not valid", 8},
        {"redis://[::1", "the host is not valid", 8},
        {"redis://[localhost]", "the host is not valid", 8},
        {"redis://[1234]", "the host is not valid", 8},
        {"redis://[::1]x", "the host is not valid", 13},
        {"redis://::1", "the host is missing", 8},
        {"redis://a:1:2", "the port must be a number from 1 to 65535", 10},
        {"redis://a:", "the port must be a number from 1 to 65535", 10},
        {"redis://a:0", "the port must be a number from 1 to 65535", 10},
        {"redis://a:65536", "the port must be a number from 1 to 65535", 10},
        {"redis://a:+1", "the port must be a number from 1 to 65535", 10},
        {"redis://a:99999999999999999999", "the port must be a number from 1 to 65535", 10},
        {"redis://a/x", "the database must be a number", 10},
        {"redis://a/-1", "the database must be a number", 10},
        {"redis://a/0/1", "the database must be a number", 10},
        {"redis://a/1000001", "the database must be a number", 10},
        {"redis://a/0?x=1", "the database must be a number", 10},
        {"redis://a\n", "a url must not hold control characters", 9},
        {"unix:/a\x7f", "a url must not hold control characters", 7},
        {"unix:", "the path of a unix socket must begin with /", 5},
        {"unix:relative", "the path of a unix socket must begin with /", 5},
        {"unix:/a?db=", "only db=<number> may follow the ? of a unix url", 8},
        {"unix:/a?db=x", "only db=<number> may follow the ? of a unix url", 8},
        {"unix:/a?x=1", "only db=<number> may follow the ? of a unix url", 8},
        {"unix:/a?db=1&db=2", "only db=<number> may follow the ? of a unix url", 8},
        {long_path, "the path of a unix socket is too long", 5},
        {long_host, "the host is not valid", 8},
    };
    for (const auto &one : cases) {
        const auto result = parse_endpoint(one.url);
        const auto *error = std::get_if<EndpointError>(&result);
        ASSERT_NE(error, nullptr) << one.url;
        EXPECT_EQ(error->message, one.message) << one.url;
        EXPECT_EQ(error->offset, one.offset) << one.url;
        EXPECT_FALSE(error->hint.empty()) << one.url;
        EXPECT_EQ((error->message + error->hint).find("secret"), std::string::npos);
    }
}

TEST(Endpoint, TakesTheLongestPathThatASocketCanHave) {
    const std::string path = "/" + std::string(106, 'x');
    const auto result = parse_endpoint("unix:" + path);
    ASSERT_TRUE(std::holds_alternative<Endpoint>(result));
    EXPECT_EQ(std::get<Endpoint>(result).socket_path, path);
}

// Whatever it is, it is answered, and offsets lie within the text.
TEST(Endpoint, SurvivesEveryCutAndEveryByte) {
    const std::string urls[] = {"redis://[fe80::1%eth0]:6379/12", "unix:///run/redis.sock?db=12"};
    for (const std::string &url : urls)
        for (std::size_t at = 0; at < url.size(); ++at) {
            parse_endpoint(url.substr(0, at));
            for (int byte = 0; byte < 256; ++byte) {
                std::string other = url;
                other[at] = static_cast<char>(byte);
                const auto result = parse_endpoint(other);
                if (const auto *error = std::get_if<EndpointError>(&result)) {
                    EXPECT_LE(error->offset, other.size());
                }
            }
        }
}

}  // namespace
}  // namespace cache_sync
