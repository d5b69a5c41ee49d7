#include "refresh/round.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace cache_sync {
namespace {

constexpr Instant kSecond = 1000000;
constexpr Instant kNow = 1000 * kSecond;

RoundView quiet_view(std::uint32_t id, std::vector<std::uint32_t> ancestors = {}) {
    RoundView view;
    view.id = id;
    view.ancestors = std::move(ancestors);
    view.min_interval = kSecond;
    return view;
}

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
    below.last_started = *below.last_started - 1;
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

// Views over tables and views, refreshed as the publisher would, with its own idea of what may start.
class World {
 public:
    // Tables as -1 - number with their versions, views with digests of their contents.
    using Content = std::map<int, std::uint64_t>;

    struct View {
        RoundView round;
        std::vector<int> tables;
        std::vector<int> inputs;  // views
        std::vector<int> users;   // views above, directly
        Content content;          // of the inputs, as of the start of the last run that succeeded
        Content running_content;
        Instant ends_at = 0;
        bool will_fail = false;
        Instant before_dirty = 0;
        int failures = 0;
        int runs = 0;
    };

    World(unsigned seed, int workers) : random_(seed), workers_(workers) {}

    int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

    void add_view(std::vector<int> tables, std::vector<int> inputs, Instant min_interval) {
        const int id = static_cast<int>(views.size());
        View view;
        std::set<std::uint32_t> ancestors;
        for (const int input : inputs) {
            ancestors.insert(static_cast<std::uint32_t>(input));
            ancestors.insert(views[input].round.ancestors.begin(), views[input].round.ancestors.end());
            views[input].users.push_back(id);
        }
        view.round = quiet_view(static_cast<std::uint32_t>(id), {ancestors.begin(), ancestors.end()});
        view.round.min_interval = min_interval;
        view.tables = std::move(tables);
        view.inputs = std::move(inputs);
        views.push_back(view);
        views.back().content = read(views.back());
    }

    void add_random_views(int count, int tables) {
        for (int id = 0; id < count; ++id) {
            std::set<int> inputs;
            for (int n = below(3); n > 0 && id > 0; --n)
                inputs.insert(below(id));
            std::vector<int> own;
            if (inputs.empty() || below(3) == 0)
                own.push_back(below(tables));
            add_view(own, {inputs.begin(), inputs.end()}, below(4) == 0 ? 0 : below(3000) * 1000);
        }
    }

    void write(int table) {
        ++versions[table];
        for (View &view : views)
            if (std::count(view.tables.begin(), view.tables.end(), table) != 0)
                mark(view);
    }

    // Runs until that time, or until nothing more is to happen.
    void run_until(Instant end) {
        decide();
        while (true) {
            std::optional<Instant> next = again_at_;
            for (const View &view : views)
                if (view.round.running && (!next || view.ends_at < *next))
                    next = view.ends_at;
            if (!next || *next > end)
                break;
            check_nothing_is_late(*next);
            now = *next;
            for (View &view : views)
                if (view.round.running && view.ends_at <= now)
                    finish(view);
            decide();
        }
        now = end;
    }

    static std::uint64_t digest(const Content &content) {
        std::uint64_t sum = 14695981039346656037u;
        for (const auto &[input, what] : content)
            sum = ((sum ^ static_cast<std::uint64_t>(input)) * 1099511628211u ^ what) * 1099511628211u;
        return sum;
    }

    Content read(const View &view) const {
        Content seen;
        for (const int table : view.tables)
            seen[-1 - table] = static_cast<std::uint64_t>(version(table));
        for (const int input : view.inputs)
            seen[input] = digest(views[static_cast<std::size_t>(input)].content);
        return seen;
    }

    int version(int table) const {
        const auto found = versions.find(table);
        return found == versions.end() ? 0 : found->second;
    }

    void expect_all_up_to_date() const {
        for (const View &view : views) {
            EXPECT_FALSE(view.round.running);
            EXPECT_EQ(view.content, read(view)) << "view " << view.round.id;
        }
    }

    std::vector<View> views;
    std::map<int, int> versions;
    Instant now = kNow;
    int failing_percent = 0;
    int longest_run = 500000;  // microseconds

 private:
    void mark(View &view) {
        if (!view.round.dirty_since)
            view.round.dirty_since = now;
    }

    std::vector<RoundView> rounds() const {
        std::vector<RoundView> all;
        for (const View &view : views)
            all.push_back(view.round);
        return all;
    }

    int running() const {
        return static_cast<int>(
            std::count_if(views.begin(), views.end(), [](const View &view) { return view.round.running; }));
    }

    void decide() {
        const RoundDecision decision = decide_round(rounds(), now, workers_ - running());
        again_at_ = decision.again_at;
        ASSERT_TRUE(!again_at_ || *again_at_ > now);
        std::vector<Instant> due(views.size());
        for (std::size_t id = 0; id < views.size(); ++id)
            due[id] = due_since(views[id].round);
        for (const RoundStart &start : decision.starts)
            begin(views[start.id], due);
        ASSERT_LE(running(), workers_);
        // Decided once, decided: the same moment offers nothing more.
        EXPECT_TRUE(decide_round(rounds(), now, workers_ - running()).starts.empty());
    }

    // Between two events nothing can start, or it would have been too late.
    void check_nothing_is_late(Instant next) {
        if (next <= now + 1)
            return;
        const Instant between =
            now + 1 + static_cast<Instant>(random_() % static_cast<unsigned>(next - now - 1));
        EXPECT_TRUE(decide_round(rounds(), between, workers_ - running()).starts.empty());
    }

    // 0: not due.
    Instant due_since(const RoundView &view) const {
        Instant since = 0;
        const Instant earliest = view.not_before.value_or(0);
        const auto consider = [&](Instant when) {
            if (when <= now)
                since = since == 0 ? when : std::min(since, when);
        };
        if (view.dirty_since)
            consider(std::max({*view.dirty_since, earliest,
                               view.last_started ? *view.last_started + view.min_interval : 0}));
        if (view.requested_at)
            consider(*view.requested_at);
        return since;
    }

    void begin(View &view, std::vector<Instant> &due) {
        ASSERT_FALSE(view.round.running);
        const Instant since = due[view.round.id];
        ASSERT_NE(since, 0);
        for (const std::uint32_t id : view.round.ancestors) {
            const RoundView &ancestor = views[id].round;
            if (ancestor.running) {
                EXPECT_GE(ancestor.previous_started.value_or(0), since)
                    << id << " runs, below " << view.round.id;
            } else if (due[id] != 0) {
                EXPECT_GE(ancestor.last_started.value_or(0), since)
                    << id << " is due, below " << view.round.id;
            }
        }
        view.running_content = read(view);
        view.before_dirty = view.round.dirty_since.value_or(0);
        view.will_fail = below(100) < failing_percent;
        view.ends_at = now + 1 + below(longest_run);
        view.round.running = true;
        view.round.dirty_since.reset();
        view.round.requested_at.reset();
        view.round.not_before.reset();
        view.round.previous_started = view.round.last_started;
        view.round.last_started = now;
        ++view.runs;
    }

    void finish(View &view) {
        view.round.running = false;
        if (view.will_fail) {
            view.round.dirty_since = view.before_dirty != 0 ? view.before_dirty : now;
            view.round.not_before = now + (kSecond << std::min(view.failures++, 8));
            return;
        }
        view.failures = 0;
        if (view.content == view.running_content)
            return;
        view.content = view.running_content;
        for (const int user : view.users)
            mark(views[static_cast<std::size_t>(user)]);
    }

    std::mt19937 random_;
    int workers_;
    std::optional<Instant> again_at_;
};

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
