// Targets against real servers of both kinds, with the real library.
#include "publish/target.h"

#include <gtest/gtest.h>

#include <map>

#include "server_fixture.h"

namespace cache_sync {
namespace {

class TargetServer : public ServerTest {};

TEST_P(TargetServer, GreetsArmsPublishesAndConfirms) {
    Target target(config(), 1);
    EXPECT_EQ(target.state(), TargetState::waiting);
    ASSERT_TRUE(drive_live(target, order(5))) << target.last_error();
    EXPECT_EQ(target.mode(), TargetMode::functions);
    EXPECT_EQ(target.run_id().size(), 40u);
    EXPECT_EQ(stat()[1], "5");

    set_keys("shop:a", 3);
    set_keys("a", 1);
    ASSERT_TRUE(publish(target, {{"a0", "a2", "absent"}, {"red", "green"}, {}, {}}, 42, 1234));
    EXPECT_EQ(server_.number({"EXISTS", "shop:a0", "shop:a2"}), 0);
    EXPECT_EQ(server_.number({"EXISTS", "shop:a1", "a0"}), 2);
    const auto node = stat();
    EXPECT_EQ(node[3], "1234");  // watermark
    EXPECT_EQ(node[5], "2");     // tags known
    EXPECT_EQ(target.error_count(), 0u);
    EXPECT_EQ(target.in_flight(), 0u);
}

TEST_P(TargetServer, AnnouncesOnTheChannelAndInTheLog) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    redisContext *listener = redisConnectUnix(server_.socket_path().c_str());
    Reply(static_cast<redisReply *>(redisCommand(listener, "SUBSCRIBE cs:inv:db")));
    ASSERT_TRUE(publish(target, {{"q\"\xff", "b"}, {"t"}, {}, {}}, 42, 1234));
    redisReply *message = nullptr;
    ASSERT_EQ(redisGetReply(listener, reinterpret_cast<void **>(&message)), REDIS_OK);
    const std::string node = stat()[0];
    EXPECT_EQ(text_of(*message->element[2]), "{\"e\":5,\"i\":\"" + node +
                                                 "\",\"l\":\"1234\",\"b\":42,"
                                                 "\"k\":[\"shop:q\\\"\\ufffd\",\"shop:b\"],\"t\":[\"t\"]}");
    freeReplyObject(message);
    redisFree(listener);

    const Reply log = server_.command({"XRANGE", "cs:log:db", "-", "+"});
    ASSERT_EQ(log->elements, 1u);
    std::map<std::string, std::string> fields;
    const redisReply &list = *log->element[0]->element[1];
    for (std::size_t n = 0; n + 1 < list.elements; n += 2)
        fields[std::string(text_of(*list.element[n]))] = text_of(*list.element[n + 1]);
    const std::map<std::string, std::string> expected{
        {"e", "5"},      {"i", node}, {"l", "1234"}, {"b", "42"}, {"k", "[\"shop:q\\\"\\ufffd\",\"shop:b\"]"},
        {"t", "[\"t\"]"}};
    EXPECT_EQ(fields, expected);
}

TEST_P(TargetServer, PublishesManyKeysAndTagsInPieces) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    set_keys("shop:k", 20000);
    Content content;
    for (int n = 0; n < 20000; ++n)
        content.keys.push_back("k" + std::to_string(n));
    for (int n = 0; n < 2500; ++n)
        content.tags.push_back("t" + std::to_string(n));
    ASSERT_TRUE(publish(target, content));
    EXPECT_EQ(server_.number({"DBSIZE"}), 1);  // the log
    EXPECT_EQ(stat()[5], "2500");
}

TEST_P(TargetServer, WalksPatternsWithinItsPrefix) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    set_keys("shop:product:", 50000);
    set_keys("shop:user:", 100);
    set_keys("product:", 100);
    target.publish(make_batch({{}, {}, {"product:*"}, {}}, 1, 900), Clock::now());
    target.publish(make_batch({{"user:1"}, {}, {}, {}}, 2, 901), Clock::now());
    std::vector<std::uint64_t> order_of_settling;
    ASSERT_TRUE(drive(target, [&] {
        for (const Settled &settled : target.take_settled()) {
            EXPECT_TRUE(settled.confirmed);
            order_of_settling.push_back(settled.batch->number);
        }
        return order_of_settling.size() == 2;
    }));
    EXPECT_EQ(order_of_settling, (std::vector<std::uint64_t>{2, 1}));  // the walk held nobody up
    EXPECT_EQ(server_.number({"DBSIZE"}), 99 + 100 + 1);
    EXPECT_EQ(stat()[4], "901");  // floor
}

TEST_P(TargetServer, PatternOverNothingStillRaisesTheWatermark) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    ASSERT_TRUE(publish(target, {{}, {}, {"nothing:*", "no[t]hing"}, {}}, 1, 777));
    EXPECT_EQ(stat()[3], "777");
    EXPECT_EQ(stat()[4], "777");
}

TEST_P(TargetServer, EscapesItsPrefixInPatterns) {
    TargetConfig odd = config();
    odd.prefix = "s*?[a]\\:";
    Target target(odd, 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    set_keys("s*?[a]\\:k", 2);
    set_keys("sxya:k", 2);
    ASSERT_TRUE(publish(target, {{}, {}, {"k*"}, {}}));
    EXPECT_EQ(server_.number({"EXISTS", "s*?[a]\\:k0", "s*?[a]\\:k1"}), 0);
    EXPECT_EQ(server_.number({"EXISTS", "sxya:k0", "sxya:k1"}), 2);
}

TEST_P(TargetServer, FlushWhenArming) {
    {
        Target before(config(), 1);
        ASSERT_TRUE(drive_live(before, order(5)));
    }
    const std::string old_id = stat()[0];
    set_keys("shop:product:", 3000);
    set_keys("shop:other:", 10);
    Target target(config(), 2);
    ASSERT_TRUE(drive_live(target, order(6, true, {"product:*", "nothing:*"})));
    ASSERT_TRUE(drive(target, [&] { return target.take_flushed(); }));
    EXPECT_FALSE(target.take_flushed());
    EXPECT_NE(stat()[0], old_id);
    EXPECT_EQ(server_.number({"DBSIZE"}), 10 + 1);
}

TEST_P(TargetServer, FlushByABatch) {
    Target target(config(), 1);
    target.set_flush_patterns({"product:*"});
    ASSERT_TRUE(drive_live(target, order(5)));
    const std::string old_id = stat()[0];
    set_keys("shop:product:", 3000);
    ASSERT_TRUE(publish(target, {{}, {}, {}, {"another"}}, 1));
    EXPECT_EQ(stat()[0], old_id);
    EXPECT_FALSE(target.take_flushed());
    ASSERT_TRUE(publish(target, {{"k"}, {"t"}, {}, {"main"}}, 2));
    EXPECT_TRUE(target.take_flushed());
    EXPECT_NE(stat()[0], old_id);
    EXPECT_EQ(server_.number({"DBSIZE"}), 1);
    // Caches in processes are told by another id.
    const Reply log = server_.command({"XREVRANGE", "cs:log:db", "+", "-", "COUNT", "1"});
    EXPECT_EQ(text_of(*log->element[0]->element[1]->element[3]), stat()[0]);
    ASSERT_TRUE(publish(target, {{"k"}, {}, {}, {}}, 3));
}

INSTANTIATE_TEST_SUITE_P(Servers, TargetServer, testing::Values("redis-server", "valkey-server"),
                         server_name);

}  // namespace
}  // namespace cache_sync
