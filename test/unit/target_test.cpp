// Targets against a scripted server: what they say, in which order, and when they call a batch confirmed.
#include "publish/target.h"

#include <gtest/gtest.h>

#include <set>

#include "scripted_server.h"

namespace cache_sync {
namespace {

using Words = ScriptedServer::Words;
using Names = std::vector<std::string>;

TEST(Target, GreetsInOneRoundTripAndOneMore) {
    TargetConfig config;
    config.user = "app";
    config.password = "secret";
    Stage stage(config);
    ASSERT_TRUE(stage.until([&] { return stage.target.wants_arming(); })) << stage.target.last_error();
    EXPECT_EQ(stage.server.names(), (Names{"AUTH", "INFO server", "INFO replication", "FUNCTION LIST",
                                           "FUNCTION LOAD", "FCALL_RO cs_stat", "probe"}));
    EXPECT_EQ(stage.server.commands()[0], (Words{"AUTH", "app", "secret"}));
    EXPECT_EQ(stage.target.run_id(), "00ff");
    EXPECT_EQ(stage.target.mode(), TargetMode::functions);
    EXPECT_EQ(stage.target.connection_count(), 1u);
}

TEST(Target, SelectsItsDatabaseAndKnowsPasswordsWithoutUser) {
    ScriptedServer server;
    TargetConfig config;
    config.url = server.url() + "?db=7";
    config.source = "db";
    config.password = "secret";
    Target target(config, 1, "");
    for (int turn = 0; turn < 100 && !target.wants_arming(); ++turn) {
        server.serve();
        drive_once(target, Milliseconds(0));
    }
    EXPECT_EQ(server.commands()[0], (Words{"AUTH", "secret"}));
    EXPECT_EQ(server.commands()[1], (Words{"SELECT", "7"}));
}

std::string library_list(const std::string &code) {
    return "*1\r\n*8\r\n" + bulk("library_name") + bulk("cache_sync") + bulk("engine") + bulk("LUA") +
           bulk("functions") + "*1\r\n*6\r\n" + bulk("name") + bulk("cs_arm") + bulk("description") +
           "$-1\r\n" + bulk("flags") + "*1\r\n" + bulk("no-writes") + bulk("library_code") + bulk(code);
}

TEST(Target, LoadsTheLibraryOnlyOverAnOlderOne) {
    const struct {
        const char *stored;
        Words load;
    } cases[] = {
        {"#!lua name=cache_sync\n-- version: 2\n", {"FUNCTION", "LOAD", "REPLACE"}},
        {"#!lua name=cache_sync\n-- something else\n", {"FUNCTION", "LOAD", "REPLACE"}},
        {"#!lua name=cache_sync\n-- version: 3\n", {}},
        {"#!lua name=cache_sync\n-- version: 12\n", {}},
    };
    for (const auto &one : cases) {
        Stage stage;
        stage.server.always_says("FUNCTION LIST", library_list(one.stored));
        ASSERT_TRUE(stage.until([&] { return stage.target.wants_arming(); })) << one.stored;
        Words load = stage.server.last("FUNCTION LOAD");
        if (!load.empty())
            load.pop_back();
        EXPECT_EQ(load, one.load) << one.stored;
    }
}

TEST(Target, TakesALibraryThatAnotherPublisherLoadedMeanwhile) {
    Stage stage;
    stage.server.always_says("FUNCTION LOAD", "-ERR Library 'cache_sync' already exists\r\n");
    ASSERT_TRUE(stage.live());
    EXPECT_EQ(stage.server.last("FUNCTION LOAD").size(), 3u);  // without REPLACE
    EXPECT_EQ(stage.target.mode(), TargetMode::functions);
}

TEST(Target, SaysKeysTagsAndThenTellsOfThem) {
    TargetConfig config;
    config.prefix = "p:";
    config.channel = "news";
    Stage stage(config);
    ASSERT_TRUE(stage.live());
    const Words arm = stage.server.last("FCALL cs_arm");
    EXPECT_EQ(arm[5].size(), 32u);
    EXPECT_EQ(arm, (Words{"FCALL", "cs_arm", "0", "db", "5", arm[5], "7", "", "10000", "", "0"}));
    stage.server.forget_commands();
    stage.target.publish(make_batch({{"a", "b"}, {"t"}, {}, {}}, 9, 1000), stage.now);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
    const std::string id = arm[5];
    EXPECT_EQ(stage.server.commands(),
              (std::vector<Words>{{"FCALL", "cs_inval", "2", "p:a", "p:b", "db", "5", "1000", "0", "0"},
                                  {"FCALL", "cs_tag", "0", "db", "5", "1000", "t"},
                                  {"PUBLISH", "news",
                                   "{\"e\":5,\"i\":\"" + id +
                                       "\",\"l\":\"1000\",\"b\":9,\"k\":[\"p:a\",\"p:b\"],\"t\":[\"t\"]}"},
                                  {"XADD", "cs:log:db", "MAXLEN", "~", "100000", "*", "e", "5", "i", id, "l",
                                   "1000", "b", "9", "k", "[\"p:a\",\"p:b\"]", "t", "[\"t\"]"}}));
}

TEST(Target, UsesTheIdThatTheNodeKept) {
    Stage stage;
    stage.server.always_says("FCALL cs_arm", "*4\r\n$4\r\nKEPT\r\n$3\r\nold\r\n:0\r\n:1\r\n");
    ASSERT_TRUE(stage.live());
    stage.target.publish(make_batch({{"a"}, {}, {}, {}}), stage.now);
    stage.settle();
    EXPECT_EQ(stage.server.last("XADD")[9], "old");
}

TEST(Target, ConfirmsOnlyWhenTheLastReplyIsThere) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.bytes_at_a_time = 1;
    stage.target.publish(make_batch({{"a"}, {"t"}, {}, {}}), stage.now);
    // ":1\r\n" three times and "$3\r\n1-1\r\n".
    for (int byte = 0; byte < 12 + 9; ++byte) {
        EXPECT_TRUE(stage.confirmations().empty()) << byte;
        stage.server.serve();
        stage.target.ready(true, false, stage.now);
    }
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

TEST(Target, DoesEverythingWithRepliesCutAnywhere) {
    for (const std::size_t size : {1, 2, 3, 5, 7, 11}) {
        Stage stage;
        stage.server.bytes_at_a_time = size;
        ASSERT_TRUE(stage.live({5, 7, "1:1:", true, {"x*"}})) << stage.target.last_error();
        stage.server.will_say("SCAN", "*2\r\n$2\r\n17\r\n*2\r\n$2\r\nk1\r\n$2\r\nk2\r\n");
        stage.target.publish(make_batch({{"a"}, {"t"}, {"k*"}, {}}), stage.now);
        stage.settle();
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
        EXPECT_TRUE(stage.target.take_flushed());
        EXPECT_EQ(stage.target.error_count(), 0u);
    }
}

TEST(Target, WalkInvalidatesEachSliceAndConfirmsAfterTheLast) {
    TargetConfig config;
    config.prefix = "p*:";
    Stage stage(config);
    ASSERT_TRUE(stage.live());
    stage.server.forget_commands();
    // The second slice has a key without the prefix and one of a log: neither may go.
    stage.server.will_say("SCAN", "*2\r\n$2\r\n17\r\n*1\r\n" + bulk("p*:1"));
    stage.server.will_say("SCAN",
                          "*2\r\n$1\r\n0\r\n*3\r\n" + bulk("p*:2") + bulk("other") + bulk("cs:log:db"));
    stage.target.publish(make_batch({{}, {}, {"[1-9]"}, {}}, 3, 50), stage.now);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
    EXPECT_EQ(stage.server.names(), (Names{"FCALL cs_tag", "PUBLISH", "XADD", "SCAN", "FCALL cs_inval",
                                           "PUBLISH", "XADD", "SCAN", "FCALL cs_inval", "PUBLISH", "XADD"}));
    EXPECT_EQ(stage.server.commands()[0], (Words{"FCALL", "cs_tag", "0", "db", "5", "50", ""}));
    EXPECT_EQ(stage.server.commands()[3], (Words{"SCAN", "0", "MATCH", "p\\*:[1-9]", "COUNT", "1000"}));
    EXPECT_EQ(stage.server.commands()[7], (Words{"SCAN", "17", "MATCH", "p\\*:[1-9]", "COUNT", "1000"}));
    EXPECT_EQ(stage.server.commands()[8],
              (Words{"FCALL", "cs_inval", "1", "p*:2", "db", "5", "50", "0", "0"}));
}

TEST(Target, WalkOfOneGlobServesAllBatchesThatWaitForIt) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.forget_commands();
    // The first walk is under way when the others come; those two share one.
    for (std::uint64_t number = 1; number <= 3; ++number)
        stage.target.publish(make_batch({{}, {}, {"a*"}, {}}, number, 10 * number), stage.now);
    stage.server.will_say("SCAN", "*2\r\n$1\r\n0\r\n*0\r\n");
    stage.server.will_say("SCAN", "*2\r\n$1\r\n0\r\n*1\r\n" + bulk("a1"));
    stage.settle();
    EXPECT_EQ(stage.confirmations(), (std::vector<bool>{true, true, true}));
    EXPECT_EQ(stage.server.count("SCAN"), 2u);
    EXPECT_EQ(stage.server.last("FCALL cs_inval")[6], "30");
}

TEST(Target, WalkStartsAgainAfterALostConnection) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.will_say("SCAN", "*2\r\n$2\r\n17\r\n*0\r\n");
    stage.server.will_say("SCAN", "-LOADING data\r\n");
    const auto batch = make_batch({{}, {}, {"a*"}, {}});
    stage.target.publish(batch, stage.now);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
    stage.come_back();
    ASSERT_TRUE(stage.live({6, 7, "", false, {}}));
    stage.server.forget_commands();
    stage.target.publish(batch, stage.now);
    stage.settle();
    EXPECT_EQ(stage.server.last("SCAN")[1], "0");
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

TEST(Target, FlushOfABatchComesFirstAndWalks) {
    Stage stage;
    stage.target.set_flush_patterns({"a*", "b*"});
    ASSERT_TRUE(stage.live());
    const std::string id = stage.server.last("FCALL cs_arm")[5];
    stage.server.forget_commands();
    stage.target.publish(make_batch({{"k"}, {}, {}, {""}}, 3, 50), stage.now);
    EXPECT_FALSE(stage.target.take_flushed());
    stage.settle();
    EXPECT_TRUE(stage.target.take_flushed());
    EXPECT_EQ(stage.server.names(),
              (Names{"FCALL cs_arm", "FCALL cs_inval", "PUBLISH", "XADD", "SCAN", "SCAN"}));
    const Words arm = stage.server.commands()[0];
    EXPECT_EQ(arm.back(), "1");
    EXPECT_NE(arm[5], id);
    EXPECT_EQ(stage.server.last("XADD")[9], arm[5]);
}

TEST(Target, HeartbeatsWhenDueWithNewIdsAndDone) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    EXPECT_FALSE(stage.target.wants_heartbeat(stage.now));
    EXPECT_EQ(stage.target.deadline(), stage.now + Milliseconds(1000));
    std::set<std::string> ids{stage.server.last("FCALL cs_arm")[5]};
    for (int beat = 0; beat < 5; ++beat) {
        stage.pass(Milliseconds(1000));
        ASSERT_TRUE(stage.target.wants_heartbeat(stage.now));
        stage.target.heartbeat(77, beat == 2 ? "" : "10:20:15", stage.now);
        EXPECT_FALSE(stage.target.wants_heartbeat(stage.now));
        stage.settle();
        const Words arm = stage.server.last("FCALL cs_arm");
        EXPECT_TRUE(ids.insert(arm[5]).second);
        EXPECT_EQ(arm[6], "77");
        EXPECT_EQ(arm[9], "10:20:15");
    }
    EXPECT_EQ(stage.target.state(), TargetState::live);
}

TEST(Target, HeartbeatThatIsWithheldDoesNotKeepTheOwnerAwake) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.pass(Milliseconds(1500));
    stage.target.advance(stage.now);
    EXPECT_TRUE(stage.target.wants_heartbeat(stage.now));
    EXPECT_EQ(stage.target.deadline(), stage.now + Milliseconds(1000));
}

TEST(Target, WithoutHeartbeatNothingIsPromisedAndNothingIsDue) {
    TargetConfig config;
    config.heartbeat = Milliseconds(0);
    Stage stage(config);
    ASSERT_TRUE(stage.live());
    EXPECT_EQ(stage.server.last("FCALL cs_arm")[8], "0");
    stage.pass(std::chrono::hours(5));
    EXPECT_FALSE(stage.target.wants_heartbeat(stage.now));
    EXPECT_EQ(stage.target.deadline(), kNever);
}

TEST(Target, TakesBatchesUntilTheWindowIsFull) {
    Stage stage;
    EXPECT_FALSE(stage.target.can_take());
    ASSERT_TRUE(stage.live());
    stage.server.silent = true;
    std::size_t taken = 0;
    for (; stage.target.can_take(); ++taken)
        stage.target.publish(make_batch({{"k"}, {}, {}, {}}, taken + 1), stage.now);
    EXPECT_EQ(taken, Target::kMaxBatchesInFlight);
    EXPECT_EQ(stage.target.in_flight(), taken);
    stage.server.hang_up();
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>(taken, false));
    EXPECT_EQ(stage.target.in_flight(), 0u);
}

TEST(Target, TakesBytesUntilTheWindowIsFull) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    const auto batch = make_batch({{std::string(1500 * 1024, 'x')}, {}, {}, {}});
    std::size_t taken = 0;
    for (; stage.target.can_take(); ++taken)
        stage.target.publish(batch, stage.now);
    EXPECT_EQ(taken, 3u);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>(3, true));
    EXPECT_TRUE(stage.target.can_take());
}

TEST(Target, ABatchWithoutContentIsConfirmedAtOnce) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.target.publish(make_batch({}), stage.now);
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

TEST(Target, PausedHasNoConnection) {
    TargetConfig config;
    config.paused = true;
    Stage stage(config);
    stage.pass(std::chrono::hours(1));
    stage.settle();
    EXPECT_EQ(stage.target.state(), TargetState::paused);
    EXPECT_EQ(stage.target.socket(), -1);
    EXPECT_EQ(stage.target.deadline(), kNever);
    EXPECT_EQ(stage.target.connection_count(), 0u);
}

// ---- mode unlink ----

TEST(Target, WorksWithoutFunctions) {
    TargetConfig config;
    config.prefix = "p:";
    Stage stage(config);
    stage.server.always_says("FUNCTION LIST",
                             "-ERR unknown command 'FUNCTION', with args beginning with: 'LIST'\r\n");
    ASSERT_TRUE(stage.live({5, 7, "", true, {"a*"}}));
    EXPECT_EQ(stage.target.mode(), TargetMode::unlink);
    stage.settle();
    EXPECT_TRUE(stage.target.take_flushed());
    EXPECT_FALSE(stage.target.tags_lost());
    const std::string id = stage.server.last("XADD")[9];
    EXPECT_EQ(id.size(), 32u);
    stage.server.forget_commands();
    stage.target.publish(make_batch({{"a", "b"}, {"t"}, {}, {}}, 9, 1000), stage.now);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
    EXPECT_TRUE(stage.target.tags_lost());
    EXPECT_EQ(stage.server.names(), (Names{"UNLINK", "PUBLISH", "XADD"}));
    EXPECT_EQ(stage.server.commands()[0], (Words{"UNLINK", "p:a", "p:b"}));
    EXPECT_EQ(stage.server.last("XADD")[9], id);
    EXPECT_FALSE(stage.target.wants_heartbeat(stage.now + std::chrono::hours(1)));
}

TEST(Target, FallsBackToUnlinkWhereFunctionsAreForbidden) {
    const struct {
        const char *command, *reply;
        TargetMode mode;
    } cases[] = {
        {"FUNCTION LOAD", "-NOPERM User app has no permissions to run the 'function|load' command\r\n",
         TargetMode::functions},  // it is there, for the probe finds it
        {"FUNCTION LIST", "-NOPERM User app has no permissions to run the 'function|list' command\r\n",
         TargetMode::functions},
        {"probe", "-NOPERM User app has no permissions to run the 'fcall' command\r\n", TargetMode::unlink},
    };
    for (const auto &one : cases) {
        Stage stage;
        stage.server.always_says(one.command, one.reply);
        ASSERT_TRUE(stage.live()) << one.command;
        EXPECT_EQ(stage.target.mode(), one.mode) << one.command;
    }
    Stage stage;
    stage.server.always_says("FUNCTION LIST", "-NOPERM no\r\n");
    stage.server.always_says("probe", "-ERR Function not found\r\n");
    ASSERT_TRUE(stage.live());
    EXPECT_EQ(stage.target.mode(), TargetMode::unlink);
}

TEST(Target, AnnouncementsThatAreForbiddenAreLeftOut) {
    Stage stage;
    stage.server.always_says("PUBLISH", "-NOPERM no permissions to access one of the channels\r\n");
    stage.server.will_say("XADD", "-OOM command not allowed when used memory > 'maxmemory'.\r\n");
    ASSERT_TRUE(stage.live());
    for (int n = 0; n < 3; ++n) {
        stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
        stage.settle();
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
    }
    EXPECT_EQ(stage.server.count("PUBLISH"), 1u);
    EXPECT_EQ(stage.server.count("XADD"), 3u);  // memory may be free again
    EXPECT_EQ(stage.target.error_count(), 2u);
    EXPECT_NE(stage.target.last_error().find("warning"), std::string::npos);
    EXPECT_EQ(stage.target.state(), TargetState::live);
}

}  // namespace
}  // namespace cache_sync
