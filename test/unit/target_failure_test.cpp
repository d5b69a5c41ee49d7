// What a target makes of servers that are slow, broken or hostile.
#include "publish/target.h"

#include <gtest/gtest.h>

#include "scripted_server.h"

namespace cache_sync {
namespace {

// Ready to connect again some time, nothing in flight, and it works the next time.
void expect_recovery(Stage &stage, std::uint64_t epoch = 6) {
    EXPECT_EQ(stage.target.state(), TargetState::waiting);
    EXPECT_EQ(stage.target.socket(), -1);
    EXPECT_EQ(stage.target.in_flight(), 0u);
    EXPECT_GT(stage.target.next_attempt(), stage.now);
    EXPECT_EQ(stage.target.deadline(), stage.target.next_attempt());
    stage.server.hang_up();
    stage.server.silent = false;
    stage.server.silent_at.clear();
    stage.target.take_settled();
    stage.come_back();
    ASSERT_TRUE(stage.live({epoch, 7, "", false, {}})) << stage.target.last_error();
    stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
    stage.settle();
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

struct Phase {
    const char *command;  // what fails
    bool while_live;
};

const Phase kPhases[] = {
    {"AUTH", false},          {"SELECT", false},        {"INFO server", false}, {"INFO replication", false},
    {"FUNCTION LIST", false}, {"FUNCTION LOAD", false}, {"probe", false},       {"FCALL cs_arm", false},
    {"FCALL cs_inval", true}, {"FCALL cs_tag", true},   {"PUBLISH", true},      {"XADD", true},
    {"SCAN", true},
};

// Goes on until the command of the phase was given; a batch with everything in it is published on the way.
void run_to(Stage &stage, const Phase &phase) {
    if (stage.until([&] { return stage.target.wants_arming() || stage.target.error_count() > 0; }) &&
        stage.target.wants_arming())
        stage.target.arm({5, 7, "", false, {}}, stage.now);
    stage.settle();
    if (phase.while_live) {
        ASSERT_EQ(stage.target.state(), TargetState::live) << phase.command;
        stage.target.publish(make_batch({{"k"}, {"t"}, {"p*"}, {}}), stage.now);
        stage.settle();
    }
}

TargetConfig with_everything() {
    TargetConfig config;
    config.url = "?db=1";
    config.password = "s3cret";
    return config;
}

class TargetPhase : public testing::TestWithParam<Phase> {};

TEST_P(TargetPhase, LosesTheConnection) {
    Stage stage(with_everything());
    stage.server.close_at = GetParam().command;
    run_to(stage, GetParam());
    EXPECT_EQ(stage.target.error_count(), 1u);
    EXPECT_EQ(stage.target.last_error(), "the server closed the connection");
    if (GetParam().while_live) {
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
    }
    expect_recovery(stage);
}

TEST_P(TargetPhase, HearsAnError) {
    Stage stage(with_everything());
    stage.server.will_say(GetParam().command, "-BUSY Redis is busy running s3cret script.\r\n");
    run_to(stage, GetParam());
    const std::string command = GetParam().command;
    if (command == "INFO replication")  // of no interest
        return;
    EXPECT_EQ(stage.target.error_count(), 1u);
    EXPECT_NE(stage.target.last_error().find("BUSY Redis is busy"), std::string::npos)
        << stage.target.last_error();
    EXPECT_EQ(stage.target.last_error().find("s3cret"), std::string::npos);
    if (command == "PUBLISH" || command == "XADD") {
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
        return;
    }
    if (GetParam().while_live) {
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
    }
    expect_recovery(stage);
}

TEST_P(TargetPhase, HearsGarbage) {
    for (const char *garbage : {"HTTP/1.1 400 Bad Request\r\n\r\n", "*-5\r\n", "$999999999999999999999\r\n",
                                "*4294967296\r\n", "\r\n\r\n"}) {
        Stage stage(with_everything());
        stage.server.will_say(GetParam().command, garbage);
        run_to(stage, GetParam());
        EXPECT_EQ(stage.target.error_count(), 1u) << garbage;
        expect_recovery(stage);
    }
}

TEST_P(TargetPhase, HearsAReplyOfAnotherKind) {
    const std::string command = GetParam().command;
    if (command == "INFO replication" || command == "FUNCTION LOAD")
        return;
    for (const char *odd : {"*-1\r\n", "*1\r\n*1\r\n*0\r\n", "%1\r\n+a\r\n+b\r\n", "#t\r\n"}) {
        if (command == "FUNCTION LIST" && odd[1] == '1' && odd[0] == '*')
            continue;  // a list without our library
        Stage stage(with_everything());
        stage.server.will_say(GetParam().command, odd);
        run_to(stage, GetParam());
        EXPECT_EQ(stage.target.error_count(), 1u) << odd;
        EXPECT_NE(stage.target.last_error().find("unexpected reply"), std::string::npos)
            << stage.target.last_error();
        expect_recovery(stage);
    }
}

TEST_P(TargetPhase, HearsNothing) {
    Stage stage(with_everything());
    stage.server.silent_at = GetParam().command;
    run_to(stage, GetParam());
    const TimePoint deadline = stage.target.deadline();
    EXPECT_EQ(deadline,
              stage.now + Milliseconds(GetParam().while_live ? 1000 : 5000));  // 1000: the heartbeat
    stage.pass(Milliseconds(4999));
    stage.target.advance(stage.now);
    EXPECT_EQ(stage.target.error_count(), 0u);
    stage.pass(Milliseconds(1));
    stage.target.advance(stage.now);
    EXPECT_EQ(stage.target.error_count(), 1u);
    expect_recovery(stage);
}

INSTANTIATE_TEST_SUITE_P(Phases, TargetPhase, testing::ValuesIn(kPhases), [](const auto &info) {
    std::string name = info.param.command;
    std::erase_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); });
    return name;
});

TEST(TargetFailure, NobodyListens) {
    TargetConfig config;
    config.url = "unix:/nonexistent/socket";
    config.source = "db";
    Target target(config, 1, "");
    TimePoint now{};
    target.advance(now);
    EXPECT_EQ(target.state(), TargetState::waiting);
    EXPECT_EQ(target.last_error(), "could not connect: No such file or directory");
    EXPECT_EQ(target.socket(), -1);
}

TEST(TargetFailure, RefusedByTcp) {
    TargetConfig config;
    config.url = "redis://127.0.0.1:1";
    config.source = "db";
    Target target(config, 1, "");
    ASSERT_TRUE(drive(target, [&] { return target.error_count() == 1; }));
    EXPECT_EQ(target.last_error(), "could not connect: Connection refused");
}

TEST(TargetFailure, UrlIsWrong) {
    TargetConfig config;
    config.url = "http://user:secret@x";
    Target target(config, 1, "");
    target.advance(TimePoint{});
    EXPECT_EQ(target.state(), TargetState::waiting);
    EXPECT_EQ(target.last_error(), "url: the url has an unknown scheme");
}

TEST(TargetFailure, BacksOffWithJitterUntilTheCircuitIsOpen) {
    TargetConfig config;
    config.url = "unix:/nonexistent/socket";
    config.source = "db";
    config.max_backoff = Milliseconds(8000);
    Target target(config, 42, "");
    TimePoint now{};
    for (int failure = 0; failure < 20; ++failure) {
        EXPECT_EQ(target.circuit_open(), failure >= 10) << failure;
        target.advance(now);
        const auto wait = std::chrono::duration_cast<Milliseconds>(target.next_attempt() - now).count();
        const long full = failure < 8 ? 50L << failure : 8000;
        EXPECT_GE(wait, full / 2);
        EXPECT_LE(wait, full);
        target.advance(now + Milliseconds(wait - 1));
        EXPECT_EQ(target.error_count(), static_cast<std::uint64_t>(failure + 1));
        now += Milliseconds(wait);
    }
}

TEST(TargetFailure, SuccessStartsTheBackoffAnew) {
    Stage stage;
    const auto wait = [&] {
        return std::chrono::duration_cast<Milliseconds>(stage.target.next_attempt() - stage.now);
    };
    const auto lose = [&] {
        stage.server.hang_up();
        stage.settle();
        EXPECT_EQ(stage.target.state(), TargetState::waiting);
    };
    for (std::uint64_t epoch = 1; epoch <= 6; ++epoch) {
        ASSERT_TRUE(stage.live({epoch, 7, "", false, {}}));
        lose();
        EXPECT_GE(wait(), Milliseconds(25 << (epoch - 1)));  // live, but not for long
        stage.come_back();
    }
    ASSERT_TRUE(stage.live({10, 7, "", false, {}}));
    stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
    stage.settle();
    lose();
    EXPECT_LE(wait(), Milliseconds(50));
    stage.come_back();
    ASSERT_TRUE(stage.live({11, 7, "", false, {}}));
    stage.pass(Target::kSettledAfter);
    lose();
    EXPECT_LE(wait(), Milliseconds(50));
}

TEST(TargetFailure, NodeThatForgotIsGreetedAgain) {
    for (const char *error :
         {"-UNARMED cs_inval: this node must be armed first\r\n", "-ERR Function not found\r\n"}) {
        Stage stage;
        ASSERT_TRUE(stage.live());
        stage.server.will_say("FCALL cs_inval", error);
        stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
        stage.settle();
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
        stage.server.forget_commands();
        expect_recovery(stage);
        EXPECT_EQ(stage.server.count("FUNCTION LOAD"), 1u);
        EXPECT_EQ(stage.server.last("FCALL cs_arm")[4], "6");
    }
}

// Demoted and promoted again without a restart: another node took the invalidations meanwhile.
TEST(TargetFailure, NodeThatWasAwayIsFlushed) {
    for (const bool missed : {false, true}) {
        Stage stage;
        stage.target.set_flush_patterns({"a*"});
        ASSERT_TRUE(stage.live({9, 7, "", false, {}}));
        stage.server.hang_up();
        stage.settle();
        stage.come_back();
        stage.server.forget_commands();
        stage.server.always_says("FCALL_RO cs_stat",
                                 "*2\r\n$2\r\nid\r\n" + std::string(missed ? ":8" : ":9") + "\r\n");
        ASSERT_TRUE(stage.live({10, 7, "", false, {}}));
        stage.settle();
        EXPECT_EQ(stage.server.last("FCALL cs_arm").back(), missed ? "1" : "0");
        EXPECT_EQ(stage.server.count("SCAN"), missed ? 1u : 0u);
        EXPECT_EQ(stage.target.take_flushed(), missed);
    }
}

TEST(TargetFailure, AnotherPublisherIsNamed) {
    for (const char *command : {"FCALL cs_arm", "FCALL cs_inval", "FCALL cs_tag"}) {
        Stage stage;
        stage.server.will_say(command, "-ESTALE cs: epoch 5 is older than 9\r\n");
        run_to(stage, {command, std::string(command) != "FCALL cs_arm"});
        EXPECT_EQ(stage.target.last_error(),
                  "another publisher with a higher epoch is using source \"db\" on this target");
        expect_recovery(stage);
    }
}

TEST(TargetFailure, ErrorsThatMayPassBringTheBatchBack) {
    for (const char *code :
         {"OOM", "LOADING", "READONLY", "MISCONF", "TRYAGAIN", "CLUSTERDOWN", "NOPERM", "NOREPLICAS"}) {
        Stage stage;
        ASSERT_TRUE(stage.live());
        stage.server.will_say("FCALL cs_inval", "-" + std::string(code) + " for now\r\n");
        stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
        stage.settle();
        EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
        EXPECT_EQ(stage.target.last_error(), "cs_inval: " + std::string(code) + " for now");
        expect_recovery(stage);
    }
}

TEST(TargetFailure, ReplicasAndClustersAreRefused) {
    Stage replica;
    replica.server.always_says("INFO replication", bulk("# Replication\r\nrole:slave\r\n"));
    replica.settle();
    EXPECT_EQ(replica.target.last_error(), "the target is: a replica; the url must name the primary");
    Stage cluster;
    cluster.server.always_says("INFO server", bulk("redis_mode:cluster\r\n"));
    cluster.settle();
    EXPECT_EQ(cluster.target.last_error(), "the target is: a node of a cluster, which is not supported yet");
}

TEST(TargetFailure, PasswordThatTheServerRepeatsIsNotShown) {
    Stage stage(with_everything());
    stage.server.will_say("AUTH", "-ERR unknown command `AUTH`, with args beginning with: `s3cret`\r\n");
    stage.settle();
    EXPECT_EQ(stage.target.last_error(), "AUTH: ERR unknown command `AUTH`, with args beginning with: `***`");
}

TEST(TargetFailure, LastWordsOfAServerThatClosesAreHeard) {
    Stage stage;
    // Accepts, complains and closes before it was asked anything.
    stage.target.advance(stage.now);
    stage.server.say("-ERR max number of clients reached\r\n");
    stage.server.serve();
    stage.server.hang_up();
    stage.settle();
    EXPECT_NE(stage.target.last_error().find("max number of clients reached"), std::string::npos)
        << stage.target.last_error();
}

TEST(TargetFailure, ReplyWithoutACommand) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.say("+hello\r\n");
    stage.settle();
    EXPECT_EQ(stage.target.last_error(), "a reply without a command");
    expect_recovery(stage);
}

TEST(TargetFailure, RepliesThatCameWhileTheOwnerSleptCount) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
    stage.server.serve();
    stage.pass(std::chrono::hours(1));
    stage.target.advance(stage.now);
    EXPECT_EQ(stage.target.error_count(), 0u);
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

TEST(TargetFailure, NewCommandsDoNotExcuseASilentServer) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.silent = true;
    for (int second = 0; second < 5; ++second) {
        stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
        stage.pass(Milliseconds(1000));
        stage.settle();
    }
    EXPECT_EQ(stage.target.last_error(), "no reply for 5000 ms");
    EXPECT_EQ(stage.confirmations(), std::vector<bool>(5, false));
}

TEST(TargetFailure, AServerThatAnswersSlowlyIsNotLost) {
    Stage stage;
    ASSERT_TRUE(stage.live());
    stage.server.bytes_at_a_time = 1;
    stage.target.publish(make_batch({{"k"}, {"t"}, {}, {}}), stage.now);
    for (int byte = 0; byte < 12 + 9; ++byte) {
        stage.pass(Milliseconds(4900));
        stage.server.serve();
        stage.target.ready(true, false, stage.now);
        stage.target.advance(stage.now);
    }
    EXPECT_EQ(stage.target.error_count(), 0u);
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{true});
}

TEST(TargetFailure, PublishingToATargetThatIsNotLiveIsNotConfirmed) {
    Stage stage;
    stage.target.publish(make_batch({{"k"}, {}, {}, {}}), stage.now);
    EXPECT_EQ(stage.confirmations(), std::vector<bool>{false});
}

TEST(TargetFailure, WalkWithAnAbsurdCursor) {
    for (const char *cursor : {"abc", "", "-1", "123456789012345678901"}) {
        Stage stage;
        ASSERT_TRUE(stage.live());
        stage.server.will_say("SCAN", "*2\r\n" + bulk(cursor) + "*0\r\n");
        stage.target.publish(make_batch({{}, {}, {"*"}, {}}), stage.now);
        stage.settle();
        EXPECT_EQ(stage.target.last_error(), "SCAN: unexpected reply");
        expect_recovery(stage);
    }
}

}  // namespace
}  // namespace cache_sync
