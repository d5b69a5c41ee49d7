#include "publish/distribution.h"

#include <algorithm>
#include <random>

namespace cache_sync {
namespace {

// A target that takes nothing for so long is left behind.
constexpr Milliseconds kPatience{50};
constexpr Milliseconds kWalkPatience{1000};

bool cannot_take_for(Participant &participant, Milliseconds patience, TimePoint now) {
    if (participant.target->can_take()) {
        participant.full_since = kNever;
        return false;
    }
    if (participant.full_since == kNever)
        participant.full_since = now;
    return now - participant.full_since > patience;
}

void leave_behind(Participant &participant) {
    participant.follows = false;
    participant.walking = false;
    participant.wants_walk = true;
    participant.full_since = kNever;
}

}  // namespace

void Distribution::configure(std::vector<TargetConfig> configs) {
    for (auto &participant : participants_) {
        const bool unchanged =
            std::find(configs.begin(), configs.end(), participant->target->config()) != configs.end();
        if (unchanged)
            continue;
        forget(*participant);
        participant.reset();
    }
    std::erase(participants_, nullptr);
    pop_finished();
    std::random_device seed;
    for (auto &config : configs) {
        const bool known = std::any_of(
            participants_.begin(), participants_.end(),
            [&](const auto &participant) { return participant->target->config().id == config.id; });
        if (!known)
            participants_.push_back(
                std::make_unique<Participant>(std::make_unique<Target>(std::move(config), seed())));
    }
}

// The target goes: nobody waits for it any more.
void Distribution::forget(Participant &participant) {
    const std::uint32_t id = participant.target->config().id;
    settle_participant(participant);
    for (InFlight &entry : in_flight_)
        std::erase(entry.waiting, id);
}

bool Distribution::has_room(TimePoint now) {
    bool room = true;
    for (auto &participant : participants_) {
        if (!participant->is_live() || !participant->follows || participant->target->can_take())
            continue;
        if (participants_.size() > 1 && cannot_take_for(*participant, kPatience, now))
            leave_behind(*participant);
        else
            room = false;
    }
    return room;
}

TimePoint Distribution::patience_ends() const {
    TimePoint earliest = kNever;
    for (const auto &participant : participants_)
        if (participant->full_since != kNever && participants_.size() > 1)
            earliest = std::min(earliest,
                                participant->full_since + (participant->walking ? kWalkPatience : kPatience));
    return earliest;
}

void Distribution::publish(Batch batch, Takes takes, TimePoint now) {
    batch.number = next_++;
    auto shared = std::make_shared<const Batch>(std::move(batch));
    InFlight entry{shared, {}};
    for (auto &participant : participants_) {
        if (!takes(*participant))
            continue;
        participant->target->publish(shared, now);
        entry.waiting.push_back(participant->target->config().id);
    }
    in_flight_.push_back(std::move(entry));
    pop_finished();
}

void Distribution::publish_live(Batch batch, TimePoint now) {
    for (auto &participant : participants_)
        if (participant->is_live() && participant->follows && !participant->target->can_take())
            leave_behind(*participant);
    publish(
        std::move(batch), [](const Participant &one) { return one.is_live() && one.follows; }, now);
}

bool Distribution::all_busy() const {
    bool somebody = false;
    for (const auto &participant : participants_) {
        if (!participant->is_live() || !participant->follows)
            continue;
        if (participant->target->in_flight() == 0)
            return false;
        somebody = true;
    }
    return somebody;
}

bool Distribution::walking() const {
    return std::any_of(participants_.begin(), participants_.end(),
                       [](const auto &one) { return one->walking; });
}

bool Distribution::wants_walk() const {
    return !walking() && std::any_of(participants_.begin(), participants_.end(), [](const auto &one) {
        return one->is_live() && one->wants_walk && one->target->can_take();
    });
}

void Distribution::begin_walk() {
    for (auto &participant : participants_) {
        if (!participant->is_live() || !participant->wants_walk || !participant->target->can_take())
            continue;
        participant->wants_walk = false;
        participant->walking = true;
        participant->follows = true;
        participant->full_since = kNever;
    }
}

std::vector<std::uint64_t> Distribution::in_flight_to_walkers() const {
    std::vector<std::uint64_t> positions;
    for (const InFlight &entry : in_flight_) {
        const bool to_all = std::all_of(participants_.begin(), participants_.end(), [&](const auto &one) {
            const auto &waiting = entry.waiting;
            return !one->walking ||
                   std::find(waiting.begin(), waiting.end(), one->target->config().id) != waiting.end();
        });
        for (std::size_t n = 0; to_all && n < entry.batch->rows().size(); ++n)
            positions.push_back(entry.batch->rows()[n].position);
    }
    std::sort(positions.begin(), positions.end());
    return positions;
}

bool Distribution::walk_has_room(TimePoint now) {
    bool room = true;
    for (auto &participant : participants_) {
        if (!participant->walking || participant->target->can_take())
            continue;
        if (cannot_take_for(*participant, kWalkPatience, now))
            leave_behind(*participant);
        else
            room = false;
    }
    return room && walking();
}

void Distribution::publish_walked(Batch batch, TimePoint now) {
    for (auto &participant : participants_)
        if (participant->walking && !participant->target->can_take())
            leave_behind(*participant);
    publish(
        std::move(batch), [](const Participant &one) { return one.walking; }, now);
}

void Distribution::end_walk() {
    for (auto &participant : participants_)
        participant->walking = false;
}

void Distribution::ask_walk() {
    for (auto &participant : participants_)
        participant->wants_walk = true;
}

void Distribution::settle() {
    for (auto &participant : participants_)
        settle_participant(*participant);
    pop_finished();
}

void Distribution::settle_participant(Participant &participant) {
    const std::vector<Settled> all = participant.target->take_settled();
    const bool lost =
        std::any_of(all.begin(), all.end(), [](const Settled &settled) { return !settled.confirmed; });
    if (lost || !participant.is_live())
        leave_behind(participant);
    for (const Settled &settled : all)
        settle_one(participant, settled);
    if (participant.target->can_take())
        participant.full_since = kNever;
}

void Distribution::settle_one(Participant &participant, const Settled &settled) {
    InFlight &entry = in_flight_[settled.batch->number - first_];
    std::erase(entry.waiting, participant.target->config().id);
    events_.settled(participant, *settled.batch, settled.confirmed);
}

void Distribution::pop_finished() {
    for (; !in_flight_.empty() && in_flight_.front().waiting.empty(); ++first_)
        in_flight_.pop_front();
}

bool Distribution::nobody_behind() const {
    return std::all_of(participants_.begin(), participants_.end(),
                       [](const auto &one) { return one->exempt || one->caught_up(); });
}

bool Distribution::unpaused_caught_up() const {
    return std::all_of(participants_.begin(), participants_.end(),
                       [](const auto &one) { return one->target->config().paused || one->caught_up(); });
}

}  // namespace cache_sync
