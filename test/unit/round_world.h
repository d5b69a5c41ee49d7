// A world of tables and views in simulated time, to refresh the views as decide_round() says and to check
// that on the way.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "refresh/round.h"

namespace cache_sync {

inline constexpr Instant kSecond = 1000000;
inline constexpr Instant kNow = 1000 * kSecond;

inline RoundView quiet_view(std::uint32_t id, std::vector<std::uint32_t> ancestors = {}) {
    RoundView view;
    view.id = id;
    view.ancestors = std::move(ancestors);
    view.min_interval = kSecond;
    return view;
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

}  // namespace cache_sync
