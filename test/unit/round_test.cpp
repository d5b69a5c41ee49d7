#include "refresh/round.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "round_world.h"

namespace cache_sync {
namespace {

RoundView dirty_view(std::uint32_t id, std::vector<std::uint32_t> ancestors = {}, Instant since = kNow) {
    RoundView view = quiet_view(id, std::move(ancestors));
    view.dirty_since = since;
    return view;
}

// "1c 3s 2r": ids and first letters of the reasons.
std::string starts_of(const RoundDecision &decision) {
    std::string text;
    for (const RoundStart &start : decision.starts)
        text += (text.empty() ? "" : " ") + std::to_string(start.id) + "csr"[static_cast<int>(start.reason)];
    return text;
}

std::string starts(const std::vector<RoundView> &views, int workers = 8, Instant now = kNow) {
    return starts_of(decide_round(views, now, workers));
}

TEST(Round, NothingToDoNeedsNoTimer) {
    EXPECT_EQ(starts({}), "");
    const RoundDecision decision = decide_round(std::vector{quiet_view(1), quiet_view(2, {1})}, kNow, 2);
    EXPECT_TRUE(decision.starts.empty());
    EXPECT_FALSE(decision.again_at);
    EXPECT_FALSE(decision.short_of_workers);
}

TEST(Round, RequestIsAboveScheduleIsAboveChange) {
    RoundView view = dirty_view(1);
    EXPECT_EQ(starts({view}), "1c");
    view.scheduled_at = kNow;
    EXPECT_EQ(starts({view}), "1s");
    view.requested_at = kNow;
    EXPECT_EQ(starts({view}), "1r");
}

TEST(Round, OldestFirstAndNoMoreThanThereAreWorkers) {
    const std::vector views = {dirty_view(1, {}, kNow - 1), dirty_view(2, {}, kNow - 3),
                               dirty_view(3, {}, kNow - 2), dirty_view(4, {}, kNow - 2)};
    EXPECT_EQ(starts(views), "2c 3c 4c 1c");
    EXPECT_EQ(starts(views, 2), "2c 3c");
    EXPECT_TRUE(decide_round(views, kNow, 2).short_of_workers);
    EXPECT_TRUE(decide_round(views, kNow, 0).short_of_workers);
    EXPECT_EQ(starts(views, -1), "");
    EXPECT_FALSE(decide_round(views, kNow, 4).short_of_workers);
}

TEST(Round, MinIntervalCountsFromTheLastStart) {
    RoundView view = dirty_view(1, {}, kNow - 1);
    view.min_interval = 10 * kSecond;
    view.last_started = kNow - 4 * kSecond;
    const RoundDecision decision = decide_round(std::vector{view}, kNow, 1);
    EXPECT_TRUE(decision.starts.empty());
    EXPECT_EQ(decision.again_at, kNow + 6 * kSecond);
    EXPECT_EQ(starts({view}, 1, kNow + 6 * kSecond - 1), "");
    EXPECT_EQ(starts({view}, 1, kNow + 6 * kSecond), "1c");
    view.min_interval = std::numeric_limits<Instant>::max();
    EXPECT_EQ(starts({view}), "");
    view.scheduled_at = kNow - 1;  // it is about changes only
    EXPECT_EQ(starts({view}), "1s");
}

TEST(Round, SchedulesWakeUpInTime) {
    RoundView early = quiet_view(1);
    early.scheduled_at = kNow + 5;
    RoundView late = quiet_view(2);
    late.scheduled_at = kNow + 9;
    EXPECT_EQ(decide_round(std::vector{late, early}, kNow, 1).again_at, kNow + 5);
    EXPECT_EQ(starts({late, early}, 1, kNow + 100), "1s");
    EXPECT_EQ(decide_round(std::vector{late, early}, kNow + 5, 1).again_at, kNow + 9);
}

TEST(Round, FailuresHoldUpTheViewButARequestDoesNotCare) {
    RoundView view = dirty_view(1);
    view.scheduled_at = kNow - 1;
    view.not_before = kNow + 7;
    const RoundDecision decision = decide_round(std::vector{view}, kNow, 1);
    EXPECT_TRUE(decision.starts.empty());
    EXPECT_EQ(decision.again_at, kNow + 7);
    EXPECT_EQ(starts({view}, 1, kNow + 7), "1s");
    view.requested_at = kNow;
    view.min_interval = 1000 * kSecond;
    view.last_started = kNow - 1;
    EXPECT_EQ(starts({view}), "1r");
}

TEST(Round, RunningViewIsNotStartedAgain) {
    RoundView view = dirty_view(1);
    view.running = true;
    view.requested_at = kNow;
    view.scheduled_at = kNow - 5;
    const RoundDecision decision = decide_round(std::vector{view}, kNow, 4);
    EXPECT_TRUE(decision.starts.empty());
    EXPECT_FALSE(decision.short_of_workers);
    view.running = false;
    EXPECT_EQ(starts({view}), "1r");
}

TEST(Round, WaitsForAncestorsThatRunOrAreDue) {
    std::vector views = {dirty_view(1), dirty_view(2, {1}), dirty_view(3, {1, 2})};
    EXPECT_EQ(starts(views), "1c");
    views[0].dirty_since.reset();
    views[0].last_started = kNow;
    views[0].running = true;
    EXPECT_EQ(starts(views), "");
    views[0].running = false;
    EXPECT_EQ(starts(views), "2c");
    views[1].running = true;
    views[1].dirty_since.reset();
    EXPECT_EQ(starts(views), "");
    // Older than its ancestor, or asked for: it waits all the same.
    EXPECT_EQ(starts({dirty_view(1), dirty_view(2, {1}, kNow - 5)}), "1c");
    RoundView asked = dirty_view(2, {1});
    asked.requested_at = kNow - 5;
    EXPECT_EQ(starts({dirty_view(1), asked}), "1c");
    // Ancestors that are not registered any more are nobody.
    EXPECT_EQ(starts({dirty_view(2, {1, 9})}), "2c");
}

TEST(Round, WaitsForDirtyAncestorsThatAreDueSoon) {
    RoundView below = dirty_view(1);
    below.last_started = kNow - kSecond / 2;
    const auto decide = [&](const RoundView &above) {
        return decide_round(std::vector{below, above}, kNow, 2);
    };
    RoundView above = dirty_view(2, {1});
    EXPECT_EQ(starts_of(decide(above)), "");
    EXPECT_EQ(decide(above).again_at, kNow + kSecond / 2);
    above.min_interval = kSecond / 4;
    EXPECT_EQ(starts_of(decide(above)), "2c");
    // A time of the schedule or a request is for now.
    above.min_interval = kSecond;
    above.scheduled_at = kNow;
    EXPECT_EQ(starts_of(decide(above)), "2s");
}

TEST(Round, AncestorThatFailedHoldsUpNobody) {
    RoundView below = dirty_view(1);
    below.not_before = kNow + 1;
    RoundView above = dirty_view(2, {1});
    EXPECT_EQ(starts({below, above}), "2c");
    EXPECT_EQ(starts({below, above}, 2, kNow + 1), "1c");
    below.requested_at = kNow;
    EXPECT_EQ(starts({below, above}), "1r");
}

TEST(Round, OneRunOfAnAncestorIsEnough) {
    RoundView below = dirty_view(1);
    below.last_started = kNow - 5 * kSecond;  // since then, and dirty again
    RoundView above = dirty_view(2, {1}, kNow - 5 * kSecond);
    EXPECT_EQ(starts({below, above}), "2c 1c");
    EXPECT_EQ(starts({below, above}, 1), "2c");
    // In the same moment, too, and when the ancestor has waited for longer.
    below.min_interval = 0;
    below.dirty_since = kNow - 5 * kSecond;
    EXPECT_EQ(starts({below, above}), "2c 1c");
    below.requested_at = kNow - 9 * kSecond;
    EXPECT_EQ(starts({below, above, dirty_view(3, {1, 2}, kNow - 6 * kSecond)}), "2c 1r");
    below = dirty_view(1);
    below.last_started = kNow - 5 * kSecond - 1;
    EXPECT_EQ(starts({below, above}), "1c");
    // While it runs for the second time, as well.
    below.running = true;
    below.dirty_since.reset();
    below.previous_started = kNow - 6 * kSecond;
    below.last_started = kNow - 5 * kSecond;
    EXPECT_EQ(starts({below, above}), "");
    below.previous_started = kNow - 5 * kSecond;
    EXPECT_EQ(starts({below, above}), "2c");
}

TEST(Round, ViewsAboveEachOtherStillRun) {
    EXPECT_EQ(starts({dirty_view(1, {1, 2}), dirty_view(2, {1, 2})}), "1c 2c");
}

TEST(Round, AThousandViewsAreDecidedQuickly) {
    std::vector<RoundView> views;
    for (std::uint32_t id = 0; id < 1000; ++id) {
        std::vector<std::uint32_t> ancestors;
        for (std::uint32_t below = 0; below < id; ++below)
            ancestors.push_back(below);
        views.push_back(dirty_view(id, ancestors));
    }
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(starts(views, 2), "0c");
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
}

// Tables 0; views a(0), b(a), c(a), d(b, c), e(d).
void add_diamond(World &world) {
    world.add_view({0}, {}, kSecond);
    world.add_view({}, {0}, kSecond);
    world.add_view({}, {0}, kSecond);
    world.add_view({}, {1, 2}, kSecond);
    world.add_view({}, {3}, kSecond);
}

TEST(RoundSimulation, DiamondRunsEachViewOnceAfterAllOfItsInputs) {
    for (const int workers : {1, 2, 8})
        for (unsigned seed = 0; seed < 20; ++seed) {
            World world(seed, workers);
            add_diamond(world);
            for (int round = 1; round <= 5; ++round) {
                world.write(0);
                world.run_until(world.now + 60 * kSecond);
                world.expect_all_up_to_date();
                for (const World::View &view : world.views)
                    ASSERT_EQ(view.runs, round) << "view " << view.round.id << ", workers " << workers;
            }
        }
}

TEST(RoundSimulation, OneChangeRunsEachViewAboveItOnce) {
    for (unsigned seed = 0; seed < 100; ++seed) {
        World world(seed, 1 + static_cast<int>(seed % 4));
        world.add_random_views(20, 4);
        for (int table = 0; table < 4; ++table) {
            std::vector<int> before;
            std::set<std::uint32_t> touched;
            for (const World::View &view : world.views) {
                before.push_back(view.runs);
                bool above = std::count(view.tables.begin(), view.tables.end(), table) != 0;
                for (const std::uint32_t ancestor : view.round.ancestors)
                    above |= touched.count(ancestor) != 0;
                if (above)
                    touched.insert(view.round.id);
            }
            world.write(table);
            world.run_until(world.now + 1000 * kSecond);
            world.expect_all_up_to_date();
            for (const World::View &view : world.views)
                ASSERT_EQ(view.runs - before[view.round.id], touched.count(view.round.id)) << "seed " << seed;
        }
    }
}

unsigned fresh_seed() {
    const char *const given = std::getenv("CACHE_SYNC_SEED");
    const unsigned seed = given != nullptr ? static_cast<unsigned>(std::atol(given)) : std::random_device{}();
    std::printf("CACHE_SYNC_SEED=%u\n", seed);
    return seed;
}

// Writes, requests and failures at random times; the checks are in World.
TEST(RoundSimulation, EverythingIsUpToDateOnceItIsQuiet) {
    const unsigned first = fresh_seed();
    for (unsigned seed = first; seed < first + 60; ++seed) {
        World world(seed, 1 + static_cast<int>(seed % 5));
        world.add_random_views(15, 5);
        world.failing_percent = static_cast<int>(seed % 3) * 15;
        for (int step = 0; step < 120; ++step) {
            if (world.below(10) == 0)
                world.views[static_cast<std::size_t>(world.below(15))].round.requested_at = world.now;
            else
                world.write(world.below(5));
            world.run_until(world.now + world.below(world.below(5) == 0 ? 5000000 : 100000));
        }
        world.failing_percent = 0;
        world.run_until(world.now + 2000 * kSecond);
        world.expect_all_up_to_date();
        if (testing::Test::HasFailure())
            FAIL() << "CACHE_SYNC_SEED=" << seed;
    }
}

// Runs that take longer than the writes leave alone: everybody gets a turn, what is above too.
TEST(RoundSimulation, ConstantWritesStarveNobody) {
    const unsigned seed = fresh_seed();
    for (const int workers : {1, 2, 3, 8}) {
        World world(seed, workers);
        add_diamond(world);
        world.add_view({0}, {}, 0);
        world.add_view({1}, {}, 0);
        world.add_view({0}, {3, 5, 6}, kSecond);
        world.longest_run = 4 * static_cast<int>(kSecond);
        for (Instant end = world.now + 1000 * kSecond; world.now < end;) {
            world.write(0);
            world.write(1);
            world.run_until(world.now + 100000);
        }
        for (const World::View &view : world.views)
            EXPECT_GT(view.runs, 8) << "view " << view.round.id << ", workers " << workers << ", seed "
                                    << seed;
        world.run_until(world.now + 1000 * kSecond);
        world.expect_all_up_to_date();
    }
}

}  // namespace
}  // namespace cache_sync
