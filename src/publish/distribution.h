// Which target gets which batch.
//
// A target follows: it gets every batch that comes from the ring (publish_live). A target that was away, or
// could not take a batch, does not follow any more; it wants a walk. A walk reads from the queue tables what
// the targets that want one at its start did not confirm yet (publish_walked); from its start on they follow
// again, so nothing falls between the two.
//
//    not live ---live---> wants walk ---begin_walk---> walking, follows ---end_walk---> caught up
//        ^                    ^  missed a batch            |                               |
//        +--------------------+----------------------------+--------- connection lost -----+
//
// What a target confirmed is told through DistributionEvents, batch by batch; the owner marks the rows.
// Nothing here waits or knows PostgreSQL.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "clock.h"
#include "publish/batch.h"
#include "publish/target.h"

namespace cache_sync {

class Participant {
 public:
    explicit Participant(std::unique_ptr<Target> endpoint) : target(std::move(endpoint)) {}

    const std::unique_ptr<Target> target;
    bool follows = false;           // gets the live batches
    bool wants_walk = true;         // may lack rows that the tables hold
    bool walking = false;           // takes part in the current walk
    bool exempt = false;            // will be flushed as a whole when it is back: nothing is kept for it
    int place = -1;                 // the owner\'s: where its figures and marks are
    TimePoint full_since = kNever;  // cannot take batches since then
    TimePoint join_after{};         // the owner asked the database in vain; not again before this

    bool is_live() const { return target->state() == TargetState::live; }
    bool caught_up() const { return is_live() && follows && !wants_walk && !walking; }
};

class DistributionEvents {
 public:
    virtual ~DistributionEvents() = default;
    // The target is finished with a batch; not confirmed: it must be sent again.
    virtual void settled(Participant &participant, const Batch &batch, bool confirmed) = 0;
};

class Distribution {
 public:
    explicit Distribution(DistributionEvents &events) : events_(events) {}

    // Brings the targets in line with the configuration: an unchanged one keeps its connection.
    void configure(std::vector<TargetConfig> configs);
    std::vector<std::unique_ptr<Participant>> &participants() { return participants_; }

    // Can every target that follows take another batch? One that could not for too long is left behind, so
    // that it does not hold up the others; it catches up by a walk.
    bool has_room(TimePoint now);
    // When has_room() or walk_has_room() may answer otherwise although no target said anything.
    TimePoint patience_ends() const;
    void publish_live(Batch batch, TimePoint now);
    // Does every target that follows still owe an answer? Then what comes meanwhile may as well be gathered.
    bool all_busy() const;

    bool wants_walk() const;  // somebody live wants a walk, and none is under way
    void begin_walk();
    // Positions of rows that are in flight to everybody who walks, sorted: the walk need not send them once
    // more. If they are lost, their targets want another walk.
    std::vector<std::uint64_t> in_flight_to_walkers() const;
    bool walking() const;  // a walk is under way and somebody still takes part
    bool walk_has_room(TimePoint now);
    void publish_walked(Batch batch, TimePoint now);
    void end_walk();
    void ask_walk();  // everybody may lack rows

    // Collects what the targets are finished with.
    void settle();

    // Is every batch up to this number settled?
    bool is_settled(std::uint64_t number) const { return in_flight_.empty() || first_ > number; }
    std::uint64_t last_number() const { return next_ - 1; }
    bool is_idle() const { return in_flight_.empty(); }
    // Is a row in flight for which this is true?
    template <typename Predicate>
    bool has_in_flight(Predicate predicate) const {
        for (const InFlight &entry : in_flight_)
            for (const QueueRow &row : entry.batch->rows())
                if (!entry.waiting.empty() && predicate(row))
                    return true;
        return false;
    }
    // Has every target for which the queue keeps rows (paused ones too) all that the tables hold, as far as
    // it is not in flight?
    bool nobody_behind() const;
    // The same for every target that is not paused: what drain() waits for.
    bool unpaused_caught_up() const;

 private:
    struct InFlight {
        std::shared_ptr<const Batch> batch;
        std::vector<std::uint32_t> waiting;  // ids of the targets that did not settle it yet
    };

    using Takes = bool (*)(const Participant &);
    void publish(Batch batch, Takes takes, TimePoint now);
    void settle_participant(Participant &participant);
    void settle_one(Participant &participant, const Settled &settled);
    void forget(Participant &participant);
    void pop_finished();

    DistributionEvents &events_;
    std::vector<std::unique_ptr<Participant>> participants_;
    std::deque<InFlight> in_flight_;  // batch numbers first_, first_ + 1, ...
    std::uint64_t first_ = 1;
    std::uint64_t next_ = 1;
};

}  // namespace cache_sync
