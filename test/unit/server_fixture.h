// What the tests of targets against real servers share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "private_redis.h"
#include "publish_driver.h"

namespace cache_sync {

class ServerTest : public testing::TestWithParam<const char *> {
 protected:
    void SetUp() override { ignore_sigpipe(); }

    TargetConfig config() {
        TargetConfig config;
        config.id = 1;
        config.name = "main";
        config.url = server_.url();
        config.prefix = "shop:";
        config.source = "db";
        config.max_backoff = Milliseconds(200);
        return config;
    }
    Arming order(std::uint64_t epoch, bool flush = false, std::vector<std::string> patterns = {}) {
        return {epoch, 7, "", flush, std::move(patterns)};
    }
    // Publishes and waits; was it confirmed?
    bool publish(Target &target, const Content &content, std::uint64_t number = 1, std::uint64_t lsn = 100) {
        target.publish(make_batch(content, number, lsn), Clock::now());
        std::vector<Settled> settled;
        drive(target, [&] { return !(settled = target.take_settled()).empty(); });
        return settled.size() == 1 && settled[0].confirmed;
    }
    // id, epoch, n, cur, floor, ... of the node.
    std::vector<std::string> stat(const std::string &source = "db") {
        std::vector<std::string> values;
        const Reply reply = server_.command({"FCALL_RO", "cs_stat", "0", source});
        for (std::size_t n = 0; n < reply->elements; ++n) {
            const redisReply &value = *reply->element[n];
            values.push_back(is_integer(value) ? std::to_string(value.integer) : std::string(text_of(value)));
        }
        return values;
    }
    void set_keys(const std::string &prefix, int count) {
        for (int n = 0; n < count; n += 1000) {
            std::vector<std::string> words{"MSET"};
            for (int i = n; i < std::min(count, n + 1000); ++i) {
                words.push_back(prefix + std::to_string(i));
                words.push_back("v");
            }
            ASSERT_EQ(text_of(*server_.command(words)), "OK");
        }
    }

    PrivateRedis server_{GetParam()};
};

// Both kinds of servers.
inline std::string server_name(const testing::TestParamInfo<const char *> &info) {
    const std::string program = info.param;
    return program.substr(0, program.find('-'));
}

}  // namespace cache_sync
