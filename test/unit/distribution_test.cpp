// A whole queue in miniature: rows become visible, some come by the ring, all lie in the table; targets come,
// go, stall and lose connections at random. Whatever happens: a row is marked only if every target has it,
// and in the end every row is marked.
#include "publish/distribution.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "scripted_server.h"

namespace cache_sync {
namespace {

std::string key_of(std::size_t row) {
    return "k" + std::to_string(row);
}

class World : public DistributionEvents {
 public:
    explicit World(std::uint32_t seed) : random_(seed) {}

    void add_target(std::uint32_t id) {
        servers_[id] = std::make_unique<ScriptedServer>();
        TargetConfig config;
        config.id = id;
        config.name = "t" + std::to_string(id);
        config.url = servers_[id]->url();
        config.source = "db";
        config.max_backoff = Milliseconds(2);
        config.command_timeout = Milliseconds(50);
        config.connect_timeout = Milliseconds(50);
        configs_.push_back(config);
        distribution_.configure(configs_);
    }

    bool chance(int percent) { return static_cast<int>(random_() % 100) < percent; }
    std::uint32_t pick() { return 1 + random_() % static_cast<std::uint32_t>(configs_.size()); }

    void commit_row() {
        ++rows_;
        if (chance(95))
            ring_.push_back(rows_ - 1);
        else
            need_walk_ = true;  // the ring was full
    }

    void take_from_ring() {
        if (!distribution_.has_room(Clock::now()))
            return;
        BatchBuilder builder;
        for (std::size_t n = random_() % 5; n > 0 && !ring_.empty(); --n)
            add(builder, take_front());
        if (!builder.empty())
            distribution_.publish_live(builder.take(), Clock::now());
    }

    void walk() {
        if (need_walk_) {
            need_walk_ = false;
            distribution_.ask_walk();
        }
        if (distribution_.wants_walk()) {
            distribution_.begin_walk();
            walk_at_ = 0;
        }
        if (!distribution_.walk_has_room(Clock::now()))
            return;
        BatchBuilder builder;
        for (int n = 0; n < 7 && walk_at_ < rows_; ++walk_at_)
            if (some_walker_lacks(walk_at_)) {
                add(builder, walk_at_);
                ++n;
            }
        if (!builder.empty())
            distribution_.publish_walked(builder.take(), Clock::now());
        if (walk_at_ >= rows_)
            distribution_.end_walk();
    }

    void drive() {
        for (auto &[id, server] : servers_)
            server->serve();
        for (auto &participant : distribution_.participants()) {
            Target &target = *participant->target;
            drive_once(target, Milliseconds(0));
            if (target.wants_arming()) {
                participant->wants_walk = true;
                target.arm({++epoch_, 100, {}, false, {}}, Clock::now());
            }
        }
        learn();
        distribution_.settle();
    }

    void disturb() {
        ScriptedServer &server = *servers_[pick()];
        switch (random_() % 5) {
            case 0:
                server.hang_up();
                break;
            case 1:
                server.close_at = "FCALL cs_inval";
                break;
            case 2:
                server.silent = true;
                break;
            case 3:
                server.will_say("FCALL cs_inval", "-OOM command not allowed\r\n");
                break;
            case 4:
                flip_pause(pick());
                break;
        }
    }

    void heal() {
        for (auto &[id, server] : servers_) {
            if (server->silent)
                server->hang_up();
            server->silent = false;
            server->close_at.clear();
        }
        for (TargetConfig &config : configs_)
            config.paused = false;
        distribution_.configure(configs_);
    }

    bool all_confirmed() const {
        return std::all_of(configs_.begin(), configs_.end(), [&](const TargetConfig &config) {
            return confirmed_.contains(config.id) && confirmed_.at(config.id).size() == rows_;
        });
    }
    bool is_quiet() { return ring_.empty() && distribution_.is_idle() && distribution_.nobody_behind(); }
    Distribution &distribution() { return distribution_; }
    std::size_t times_lost = 0;

    void settled(Participant &participant, const Batch &batch, bool confirmed) override {
        times_lost += confirmed ? 0 : 1;
        if (!confirmed)
            return;
        learn();
        const std::uint32_t id = participant.target->config().id;
        for (const QueueRow &row : batch.rows()) {
            confirmed_[id].insert(row.position);
            EXPECT_TRUE(received_[id].contains(key_of(row.position)))
                << "row " << row.position << ", target " << id;
        }
    }

 private:
    void add(BatchBuilder &builder, std::size_t row) {
        builder.add(TouchKind::key, key_of(row));
        builder.add_row({row, 0});
    }
    bool some_walker_lacks(std::size_t row) {
        const auto &all = distribution_.participants();
        return std::any_of(all.begin(), all.end(), [&](const auto &one) {
            return one->walking && !confirmed_[one->target->config().id].contains(row);
        });
    }
    std::size_t take_front() {
        const std::size_t row = ring_.front();
        ring_.erase(ring_.begin());
        return row;
    }
    void flip_pause(std::uint32_t id) {
        configs_[id - 1].paused = !configs_[id - 1].paused;
        distribution_.configure(configs_);
    }
    // What the servers were told.
    void learn() {
        for (auto &[id, server] : servers_) {
            for (const auto &words : server->commands())
                if (words.size() > 2 && words[1] == "cs_inval")
                    received_[id].insert(words.begin() + 3, words.end());
            server->forget_commands();
        }
    }

    std::mt19937 random_;
    Distribution distribution_{*this};
    std::map<std::uint32_t, std::unique_ptr<ScriptedServer>> servers_;
    std::map<std::uint32_t, std::set<std::string>> received_;
    std::vector<TargetConfig> configs_;
    std::map<std::uint32_t, std::set<std::size_t>> confirmed_;
    std::size_t rows_ = 0;  // in the table
    std::vector<std::size_t> ring_;
    std::size_t walk_at_ = 0;
    bool need_walk_ = false;
    std::uint64_t epoch_ = 0;
};

void run(std::uint32_t seed, std::uint32_t targets) {
    SCOPED_TRACE("seed " + std::to_string(seed) + ", targets " + std::to_string(targets));
    World world(seed);
    for (std::uint32_t id = 1; id <= targets; ++id)
        world.add_target(id);
    for (int step = 0; step < 3000; ++step) {
        if (world.chance(40))
            world.commit_row();
        world.take_from_ring();
        world.walk();
        world.drive();
        if (world.chance(2))
            world.disturb();
        if (world.chance(2))
            world.heal();
    }
    world.heal();
    const TimePoint end = Clock::now() + std::chrono::seconds(30);
    while (Clock::now() < end && !(world.is_quiet() && world.all_confirmed())) {
        world.take_from_ring();
        world.walk();
        world.drive();
    }
    EXPECT_TRUE(world.is_quiet());
    EXPECT_TRUE(world.all_confirmed());
    EXPECT_GT(world.times_lost, 0u) << "nothing was disturbed: the test is too weak";
}

TEST(Distribution, LosesNothingWhateverHappensToTargets) {
    ignore_sigpipe();
    const std::uint32_t seed = std::random_device{}();
    for (std::uint32_t targets = 1; targets <= 3; ++targets)
        run(seed, targets);
}

TEST(Distribution, WithoutTargetsEverythingIsPublished) {
    World world(1);
    world.commit_row();
    world.commit_row();
    for (int turn = 0; turn < 100 && !world.is_quiet(); ++turn)
        world.take_from_ring();
    EXPECT_TRUE(world.is_quiet());
}

TEST(Distribution, AnUnchangedTargetKeepsItsConnection) {
    World world(1);
    world.add_target(1);
    for (int turn = 0; turn < 200; ++turn)
        world.drive();
    const Target *first = world.distribution().participants()[0]->target.get();
    ASSERT_EQ(first->state(), TargetState::live);
    world.add_target(2);
    ASSERT_EQ(world.distribution().participants().size(), 2u);
    EXPECT_EQ(world.distribution().participants()[0]->target.get(), first);
    EXPECT_EQ(first->state(), TargetState::live);
    world.distribution().configure({});
    EXPECT_TRUE(world.distribution().participants().empty());
}

}  // namespace
}  // namespace cache_sync
