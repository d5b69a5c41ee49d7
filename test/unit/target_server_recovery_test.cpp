// Targets and real servers that die, forget, refuse or hang.
#include "publish/target.h"

#include <gtest/gtest.h>

#include "server_fixture.h"

namespace cache_sync {
namespace {

class TargetServerRecovery : public ServerTest {
 protected:
    // Lets the target see that something is wrong.
    bool drive_down(Target &target) {
        const std::uint64_t before = target.error_count();
        return drive(target, [&] { return target.error_count() > before; });
    }
    void set_user(const std::vector<std::string> &rules) {
        std::vector<std::string> words{"ACL", "SETUSER", "app", "reset", "on", ">s3cret", "~*", "&*"};
        words.insert(words.end(), rules.begin(), rules.end());
        ASSERT_EQ(server_.text(words), "OK");
    }
    TargetConfig as_user() {
        TargetConfig with_user = config();
        with_user.user = "app";
        with_user.password = "s3cret";
        return with_user;
    }
};

TEST_P(TargetServerRecovery, ComesBackAfterKillAndRestart) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    ASSERT_TRUE(publish(target, {{"k"}, {}, {}, {}}));
    const std::string run = target.run_id();
    server_.suspend();
    target.publish(make_batch({{"lost"}, {}, {}, {}}, 2), Clock::now());
    server_.kill();
    ASSERT_TRUE(drive_down(target));
    const auto settled = target.take_settled();
    ASSERT_EQ(settled.size(), 1u);
    EXPECT_FALSE(settled[0].confirmed);
    ASSERT_TRUE(drive_down(target));  // nobody listens
    server_.start();
    set_keys("shop:lost", 1);
    ASSERT_TRUE(drive_live(target, order(6)));
    EXPECT_NE(target.run_id(), run);
    EXPECT_EQ(target.mode(), TargetMode::functions);
    ASSERT_TRUE(publish(target, {{"lost0"}, {}, {}, {}}, 2));
    EXPECT_EQ(server_.number({"EXISTS", "shop:lost0"}), 0);
    EXPECT_EQ(stat()[1], "6");
}

TEST_P(TargetServerRecovery, WalkGoesOnAfterARestartInItsMidst) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    set_keys("shop:product:", 50000);
    const auto batch = make_batch({{}, {}, {"product:*"}, {}});
    target.publish(batch, Clock::now());
    ASSERT_TRUE(drive(target, [&] { return server_.number({"DBSIZE"}) < 50000; }));
    ASSERT_EQ(target.in_flight(), 1u);
    server_.kill();
    ASSERT_TRUE(drive_down(target));
    EXPECT_FALSE(target.take_settled().at(0).confirmed);
    server_.start();
    set_keys("shop:product:", 3000);
    ASSERT_TRUE(drive_live(target, order(6)));
    target.publish(batch, Clock::now());
    ASSERT_TRUE(drive(target, [&] { return target.in_flight() == 0; }));
    EXPECT_TRUE(target.take_settled().at(0).confirmed);
    EXPECT_EQ(server_.number({"DBSIZE"}), 1);
}

TEST_P(TargetServerRecovery, HangingServerIsLeftAfterTheTimeout) {
    TargetConfig impatient = config();
    impatient.command_timeout = impatient.connect_timeout = Milliseconds(400);
    Target target(impatient, 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    server_.suspend();
    const TimePoint start = Clock::now();
    target.publish(make_batch({{"k"}, {}, {}, {}}), start);
    ASSERT_TRUE(drive_down(target));
    EXPECT_GE(Clock::now() - start, Milliseconds(400));
    EXPECT_EQ(target.last_error(), "no reply for 400 ms");
    EXPECT_FALSE(target.take_settled().at(0).confirmed);
    ASSERT_TRUE(drive_down(target));
    EXPECT_EQ(target.last_error(), "the greeting took longer than 400 ms");
    server_.resume();
    // What the old connection left in the server's hands runs before, or is refused after, the new epoch.
    ASSERT_TRUE(drive_live(target, order(6)));
    ASSERT_TRUE(publish(target, {{"k"}, {}, {}, {}}, 2, 300));
    EXPECT_EQ(stat()[1], "6");
}

TEST_P(TargetServerRecovery, ArmsAgainAfterTheFunctionsWereFlushed) {
    for (const bool tags : {false, true}) {
        Target target(config(), 1);
        ASSERT_TRUE(drive_live(target, order(tags ? 7 : 5)));
        ASSERT_EQ(server_.text({"FUNCTION", "FLUSH"}), "OK");
        EXPECT_FALSE(publish(target, tags ? Content{{}, {"t"}, {}, {}} : Content{{"k"}, {}, {}, {}}));
        EXPECT_NE(target.last_error().find("Function not found"), std::string::npos);
        ASSERT_TRUE(drive_live(target, order(tags ? 8 : 6)));
        EXPECT_TRUE(publish(target, {{"k"}, {"t"}, {}, {}}));
    }
}

TEST_P(TargetServerRecovery, ArmsAgainAfterTheLibraryWasLoadedAnew) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    const std::string library(shipped_library());
    ASSERT_EQ(server_.text({"FUNCTION", "LOAD", "REPLACE", library}), "cache_sync");
    EXPECT_FALSE(publish(target, {{"k"}, {}, {}, {}}));
    EXPECT_NE(target.last_error().find("UNARMED"), std::string::npos);
    ASSERT_TRUE(drive_live(target, order(6)));
    EXPECT_TRUE(publish(target, {{"k"}, {}, {}, {}}));
}

TEST_P(TargetServerRecovery, OlderLibrariesAreReplacedAndNewerOnesKept) {
    const std::string library(shipped_library());
    const std::string version = "-- version: " + std::to_string(*library_version(library));
    const auto with_version = [&](const std::string &other) {
        std::string changed = library;
        return changed.replace(changed.find(version), version.size(), other);
    };
    const auto stored = [&] {
        const Reply list = server_.command({"FUNCTION", "LIST", "WITHCODE"});
        std::string code;
        for (std::size_t n = 0; n + 1 < list->element[0]->elements; n += 2)
            if (text_of(*list->element[0]->element[n]) == "library_code")
                code = text_of(*list->element[0]->element[n + 1]);
        return code;
    };
    const std::string newer = with_version("-- version: 1000000");
    std::uint64_t epoch = 1;
    for (const auto &[before, after] :
         std::vector<std::pair<std::string, std::string>>{{with_version("-- version: 0"), library},
                                                          {with_version("-- no number"), library},
                                                          {newer, newer}}) {
        server_.command({"FUNCTION", "LOAD", "REPLACE", before});
        Target target(config(), 1);
        ASSERT_TRUE(drive_live(target, order(epoch++))) << target.last_error();
        EXPECT_EQ(stored() == after, true);
        EXPECT_TRUE(publish(target, {{"k"}, {"t"}, {}, {}}));
    }
}

TEST_P(TargetServerRecovery, APublisherOfAnOldEpochIsRefused) {
    Target old(config(), 1);
    ASSERT_TRUE(drive_live(old, order(5)));
    Target next(config(), 2);
    ASSERT_TRUE(drive_live(next, order(6)));
    set_keys("shop:k", 1);
    EXPECT_FALSE(publish(old, {{"k0"}, {}, {}, {}}));
    EXPECT_EQ(old.last_error(),
              "another publisher with a higher epoch is using source \"db\" on this target");
    EXPECT_EQ(server_.number({"EXISTS", "shop:k0"}), 1);
    EXPECT_TRUE(publish(next, {{"k0"}, {}, {}, {}}));
    // Its next order is of an old epoch too.
    ASSERT_TRUE(drive(old, [&] { return old.wants_arming(); }));
    old.arm(order(5), Clock::now());
    ASSERT_TRUE(drive_down(old));
    EXPECT_EQ(old.last_error(),
              "another publisher with a higher epoch is using source \"db\" on this target");
}

TEST_P(TargetServerRecovery, UsersWithoutFunctionsGetUnlink) {
    set_user({"+@all", "-@scripting", "-function"});
    Target target(as_user(), 1);
    ASSERT_TRUE(drive_live(target, order(5, true, {"product:*"}))) << target.last_error();
    EXPECT_EQ(target.mode(), TargetMode::unlink);
    set_keys("shop:product:", 3000);
    set_keys("shop:k", 1);
    ASSERT_TRUE(publish(target, {{"k0"}, {"t"}, {"product:*"}, {}}));
    EXPECT_EQ(server_.number({"DBSIZE"}), 1);
    EXPECT_TRUE(target.tags_lost());
    EXPECT_TRUE(target.take_flushed());
}

TEST_P(TargetServerRecovery, UsersThatMayNotLoadUseWhatIsLoaded) {
    const std::string library(shipped_library());
    server_.command({"FUNCTION", "LOAD", library});
    set_user({"+@all", "-function"});
    Target target(as_user(), 1);
    ASSERT_TRUE(drive_live(target, order(5))) << target.last_error();
    EXPECT_EQ(target.mode(), TargetMode::functions);
    EXPECT_TRUE(publish(target, {{"k"}, {"t"}, {}, {}}));
}

TEST_P(TargetServerRecovery, SmallestRightsThatAreEnough) {
    ASSERT_EQ(server_.text({"ACL",
                            "SETUSER",
                            "app",
                            "reset",
                            "on",
                            ">s3cret",
                            "resetkeys",
                            "~shop:*",
                            "~cs:log:db",
                            "resetchannels",
                            "&cs:inv:db",
                            "-@all",
                            "+function|list",
                            "+function|load",
                            "+fcall|cs_arm",
                            "+fcall|cs_inval",
                            "+fcall|cs_tag",
                            "+unlink",
                            "+time",
                            "+scan",
                            "+xadd",
                            "+publish"}),
              "OK");
    Target target(as_user(), 1);
    ASSERT_TRUE(drive_live(target, order(5, true, {"a*"}))) << target.last_error();
    EXPECT_EQ(target.mode(), TargetMode::functions);
    set_keys("shop:p", 3);
    EXPECT_TRUE(publish(target, {{"k"}, {"t"}, {"p*"}, {"main"}})) << target.last_error();
    EXPECT_EQ(target.error_count(), 0u);
    EXPECT_EQ(server_.number({"EXISTS", "shop:p0", "shop:p1", "shop:p2"}), 0);
}

TEST_P(TargetServerRecovery, AnnouncementsMayBeForbidden) {
    set_user({"+@all", "-publish", "-xadd", "-info"});
    Target target(as_user(), 1);
    ASSERT_TRUE(drive_live(target, order(5))) << target.last_error();
    EXPECT_EQ(target.run_id(), "");
    for (int n = 0; n < 3; ++n)
        EXPECT_TRUE(publish(target, {{"k"}, {}, {}, {}}));
    EXPECT_EQ(target.error_count(), 2u);
    EXPECT_EQ(target.state(), TargetState::live);
}

TEST_P(TargetServerRecovery, AWrongPasswordIsToldAndNotShown) {
    set_user({"+@all"});
    TargetConfig wrong = as_user();
    wrong.password = "hunter2";
    Target target(wrong, 1);
    ASSERT_TRUE(drive_down(target));
    EXPECT_NE(target.last_error().find("WRONGPASS"), std::string::npos) << target.last_error();
    EXPECT_EQ(target.last_error().find("hunter2"), std::string::npos);
    set_user({"+@all", ">hunter2"});
    EXPECT_TRUE(drive_live(target, order(5)));
}

TEST_P(TargetServerRecovery, ADatabaseThatIsNotThereIsTold) {
    TargetConfig wrong = config();
    wrong.url = server_.url(999);
    Target target(wrong, 1);
    ASSERT_TRUE(drive_down(target));
    EXPECT_EQ(target.last_error(), "SELECT: ERR DB index is out of range");
}

TEST_P(TargetServerRecovery, FullMemoryStopsNoInvalidation) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    set_keys("shop:k", 2000);
    ASSERT_EQ(server_.text({"CONFIG", "SET", "maxmemory", "1mb"}), "OK");
    EXPECT_TRUE(publish(target, {{"k0"}, {"t"}, {"k1*"}, {}}));
    EXPECT_EQ(server_.number({"EXISTS", "shop:k0", "shop:k1", "shop:k1999"}), 0);
    EXPECT_NE(target.last_error().find("XADD: OOM"), std::string::npos) << target.last_error();
    EXPECT_EQ(target.state(), TargetState::live);
}

TEST_P(TargetServerRecovery, AReplicaIsRefusedUntilItIsPromoted) {
    Target target(config(), 1);
    ASSERT_TRUE(drive_live(target, order(5)));
    ASSERT_EQ(server_.text({"REPLICAOF", "127.0.0.1", "1"}), "OK");
    EXPECT_FALSE(publish(target, {{"k"}, {}, {}, {}}));
    EXPECT_NE(target.last_error().find("READONLY"), std::string::npos) << target.last_error();
    ASSERT_TRUE(drive_down(target));
    EXPECT_EQ(target.last_error(), "the target is: a replica; the url must name the primary");
    ASSERT_EQ(server_.text({"REPLICAOF", "NO", "ONE"}), "OK");
    ASSERT_TRUE(drive_live(target, order(6)));
    EXPECT_TRUE(publish(target, {{"k"}, {}, {}, {}}));
}

INSTANTIATE_TEST_SUITE_P(Servers, TargetServerRecovery, testing::Values("redis-server", "valkey-server"),
                         server_name);

}  // namespace
}  // namespace cache_sync
