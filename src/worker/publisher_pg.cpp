#include "worker/publisher_pg.h"

#include <algorithm>
#include <optional>

#include "boundary.h"
#include "queue/walk_pg.h"
#include "settings_pg.h"
#include "worker/figures_pg.h"
#include "worker/joining_pg.h"
#include "worker/queue_reader_pg.h"
#include "worker/target_catalog_pg.h"

extern "C" {
#include "access/xlog.h"  // GetXLogInsertRecPtr
#include "miscadmin.h"
#include "postmaster/interrupt.h"  // ConfigReloadPending
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

constexpr Milliseconds kNetWalkEvery{60000};
constexpr Milliseconds kJoinRetry{1000};
constexpr Milliseconds kWithheldBeat{50};
constexpr Milliseconds kGatherAtMost{1};
constexpr std::size_t kGatherBytes = 16 * 1024;
constexpr int kBatchesPerTurn = 64;  // so that replies are read in between
constexpr std::size_t kBatchBytes = 256 * 1024;
constexpr std::size_t kSliceBytes = 128 * 1024;  // of payload that a walk reads in one transaction

bool is_full(const BatchBuilder &builder) {
    return builder.entries() >= static_cast<std::size_t>(setting_batch_keys) ||
           builder.bytes() >= kBatchBytes;
}

// What a walk finds may have been published before, by an earlier publisher: it says nothing about the lag.
QueueRow without_lag(QueueRow row) {
    row.visible_at = kNoLag;
    return row;
}

// Nothing where one of them has no place: then it is not known what it confirmed.
std::optional<Places> places_of_walkers(const std::vector<std::unique_ptr<Participant>> &participants) {
    Places places = 0;
    for (const auto &participant : participants) {
        if (!participant->walking)
            continue;
        if (participant->place < 0)
            return std::nullopt;
        places |= Places{1} << participant->place;
    }
    return places;
}

}  // namespace

void Publisher::run() {
    pg_atomic_write_u32(&slot_->reload, 1);
    while (!extension_gone_) {
        const TimePoint now = Clock::now();
        serve_interrupts();
        reload_if_asked();
        take_from_ring(now);
        walk_if_wanted(now);
        drive_targets(now);
        scheduler_.work(has_read_all());
        queue_keeper_.work_if_due(now);
        confirmation_desk_.work();
        drain_desk_.work();
        show_figures(distribution_);
        wait();
    }
}

void Publisher::serve_interrupts() {
    call([] {
        CHECK_FOR_INTERRUPTS();
        if (ConfigReloadPending) {
            ConfigReloadPending = false;
            ProcessConfigFile(PGC_SIGHUP);
            pg_atomic_write_u32(&my_slot()->reload, 1);
        }
    });
}

void Publisher::reload_if_asked() {
    if (take_flag(slot_->reload))
        load_configuration();
}

void Publisher::load_configuration() {
    std::vector<TargetConfig> configs;
    std::vector<std::string> patterns;
    const Problem problem = in_transaction("loading targets", [&] {
        extension_gone_ = call([] { return queue_tables() == nullptr; });
        if (extension_gone_)
            return;
        forget_dropped_targets();
        configs = load_targets();
        patterns = load_flush_patterns();
    });
    if (problem || extension_gone_)
        return;
    distribution_.configure(std::move(configs));
    for (auto &participant : distribution_.participants())
        participant->target->set_flush_patterns(patterns);
    if (const int homeless = assign_places(distribution_); homeless != 0)
        call([&] {
            ereport(WARNING,
                    (errmsg("cache_sync: %d targets too many", homeless),
                     errdetail("A database may have %d; the others get no guarantee.", kMaxTargets)));
        });
    scheduler_.reload();
    queue_keeper_.look_again();
}

// The rules as they are now: a transaction that changes rules and orders a flush is in the ring before its
// word to reload is here.
void Publisher::reload_flush_patterns() {
    std::vector<std::string> patterns;
    if (in_transaction("loading rules", [&] { patterns = load_flush_patterns(); }))
        return;
    for (auto &participant : distribution_.participants())
        participant->target->set_flush_patterns(patterns);
}

// There may be rows that the ring does not bring.
void Publisher::ask_walk() {
    distribution_.ask_walk();
    scheduler_.changes().ask_walk();
}

// ---- from the queue to the targets ----

// While all targets still owe an answer, a few rows are left to gather: under load that makes one batch of
// what would be many, and costs at most the rest of a round trip.
bool Publisher::is_gathering(TimePoint now) const {
    const Ring *ring = my_ring();
    return now < gather_until_ && !range_open_ && (ring == nullptr || ring->used_bytes() < kGatherBytes) &&
           distribution_.all_busy();
}

void Publisher::take_from_ring(TimePoint now) {
    for (int turn = 0; turn < kBatchesPerTurn && !is_gathering(now) && distribution_.has_room(now); ++turn) {
        if (range_open_) {
            read_range();
            continue;
        }
        const bool more = fill_from_ring();
        if (!builder_.empty())
            publish(false);
        if (!range_open_)
            confirmation_desk_.note_taken();
        if (!more && !range_open_)
            break;
    }
    if (take_flag(slot_->need_walk)) {
        ask_walk();
        queue_keeper_.note_activity(now);
    }
}

// True: there may be more. Full batches on the way are published at once.
bool Publisher::fill_from_ring() {
    Ring *ring = my_ring();
    RingEntry entry;
    while (ring != nullptr && ring->pop(entry, payload_)) {
        if (entry.kind == RingEntry::Kind::range) {
            begin_range(entry);
            return true;
        }
        const RowPosition position{entry.table, entry.offset, entry.block};
        publish_row(payload_, {position.pack(), entry.visible_at}, false);
        if (is_full(builder_))
            return true;
    }
    return false;
}

void Publisher::begin_range(const RingEntry &entry) {
    range_at_ = {entry.table, 0, entry.block};
    range_last_block_ = entry.last_block;
    range_open_ = true;
}

// A slice of the rows of one large transaction, which are live rows like those of the ring.
void Publisher::read_range() {
    FoundRows found(places_to_keep_for(), kBatchBytes);
    if (found.read(range_at_, range_last_block_)) {
        ask_walk();  // the walk will find them
        range_open_ = false;
        return;
    }
    range_open_ = range_at_.block != kWalkEnd;
    publish_found(found, false);
}

void Publisher::publish_found(const FoundRows &found, bool walked) {
    for (std::size_t n = 0; n < found.count(); ++n)
        publish_row(found.payload(n), walked ? without_lag(found.row(n)) : found.row(n), walked);
    if (!builder_.empty())
        publish(walked);
}

// Adds a row to the builder; a full batch is published before. A row is never split: it counts as confirmed
// by the one batch that it is in.
void Publisher::publish_row(std::string_view payload, QueueRow row, bool walked) {
    if (is_full(builder_))
        publish(walked);
    ChangeReader &changes = scheduler_.changes();
    const bool is_change = changes.is_new(row);
    while (const auto record = take_record(payload)) {
        builder_.add(record->kind, record->text);
        if (is_change)
            changes.note(*record);
    }
    if (is_change)
        changes.done(row);
    builder_.add_row(row);
}

// Is nothing that committed still on its way to us?
bool Publisher::has_read_all() const {
    const Ring *ring = my_ring();
    return ring != nullptr && ring->empty() && !range_open_ && pg_atomic_read_u32(&slot_->need_walk) == 0;
}

void Publisher::publish(bool walked) {
    const TimePoint now = Clock::now();
    queue_keeper_.note_activity(now);
    gather_until_ = now + kGatherAtMost;
    Batch batch = builder_.take();
    if (batch.has_flush())
        reload_flush_patterns();
    batch.lsn = call([] { return GetXLogInsertRecPtr(); });
    if (walked)
        distribution_.publish_walked(std::move(batch), now);
    else
        distribution_.publish_live(std::move(batch), now);
}

void Publisher::walk_if_wanted(TimePoint now) {
    if (now >= walk_again_at_) {
        walk_again_at_ = now + kNetWalkEvery;
        if (queue_keeper_.has_work())
            ask_walk();
    }
    if (distribution_.wants_walk()) {
        distribution_.begin_walk();
        walk_at_ = {0, 0, 0};
    }
    if (distribution_.walk_has_room(now))
        walk_slice();
}

void Publisher::walk_slice() {
    FoundRows found(places_of_walkers(distribution_.participants()), kSliceBytes,
                    distribution_.in_flight_to_walkers());
    if (found.read(walk_at_, kWalkEnd - 1)) {
        distribution_.end_walk();
        distribution_.ask_walk();
        return;
    }
    publish_found(found, true);
    if (walk_at_.block != kWalkEnd)
        return;
    if (walk_at_.table + 1 < kQueueTables)
        walk_at_ = {static_cast<std::uint16_t>(walk_at_.table + 1), 0, 0};
    else
        distribution_.end_walk();
}

// ---- the targets ----

void Publisher::drive_targets(TimePoint now) {
    for (auto &participant : distribution_.participants()) {
        participant->target->advance(now);
        join_if_wanted(*participant, now);
        notice_flushed(*participant);
        beat_if_due(*participant, now);
    }
    distribution_.settle();
}

void Publisher::join_if_wanted(Participant &participant, TimePoint now) {
    Target &target = *participant.target;
    if (!target.wants_arming() || now < participant.join_after)
        return;
    JoinOrder order{};
    std::vector<std::string> patterns;
    const Problem problem = in_transaction("joining a target", [&] {
        order = join_target(target.config().id, target.run_id());
        patterns = load_flush_patterns();
    });
    if (problem) {
        participant.join_after = now + kJoinRetry;
        return;
    }
    target.set_flush_patterns(patterns);
    participant.exempt = false;
    participant.wants_walk = true;
    target.arm({order.epoch, order.lsn, {}, order.flush, std::move(patterns)}, now);
}

void Publisher::notice_flushed(Participant &participant) {
    Target &target = *participant.target;
    if (!target.take_flushed())
        return;
    in_transaction("noting a flush", [&] { note_flushed(target.config().id); });
    count_flush(participant);
}

// A heartbeat promises readers that nothing is older than a heartbeat: so none is sent by who is behind.
void Publisher::beat_if_due(Participant &participant, TimePoint now) {
    Target &target = *participant.target;
    if (!target.wants_heartbeat(now) || !participant.caught_up())
        return;
    const std::uint64_t lsn = call([] { return GetXLogInsertRecPtr(); });
    target.heartbeat(lsn, published_snapshot(participant), now);
}

// The text of a snapshot all of whose transactions the target has, or nothing if that cannot be said now.
std::string Publisher::published_snapshot(const Participant &participant) {
    if (participant.target->in_flight() != 0)
        return {};
    std::string text;
    in_transaction("taking a snapshot", [&] {
        text = call([] {
            return DatumGetCString(
                OidFunctionCall1(F_PG_SNAPSHOT_OUT, OidFunctionCall0(F_PG_CURRENT_SNAPSHOT)));
        });
    });
    const bool all_taken = pg_atomic_read_u32(&slot_->committing) == 0 &&
                           pg_atomic_read_u32(&slot_->finishing) == 0 && has_read_all();
    return all_taken ? text : std::string();
}

// ---- waiting ----

TimePoint Publisher::next_deadline(TimePoint now) {
    TimePoint earliest =
        std::min({queue_keeper_.deadline(), distribution_.patience_ends(), scheduler_.deadline()});
    if (queue_keeper_.has_work())
        earliest = std::min(earliest, walk_again_at_);
    for (const auto &participant : distribution_.participants()) {
        const Target &target = *participant->target;
        if (target.wants_arming())
            earliest = std::min(earliest, participant->join_after);
        else if (target.wants_heartbeat(now))  // withheld: it is behind
            earliest = std::min(earliest, now + kWithheldBeat);
        else
            earliest = std::min(earliest, target.deadline());
    }
    return earliest;
}

void Publisher::wait() {
    const TimePoint now = Clock::now();
    std::vector<WaitedSocket> sockets;
    for (auto &participant : distribution_.participants())
        if (participant->target->socket() >= 0)
            sockets.push_back({participant->target->socket(), participant->target->wants_write(),
                               participant->target->connection_count()});
    const bool deaf = is_gathering(now);
    const bool busy = distribution_.walk_has_room(now) || distribution_.wants_walk() ||
                      scheduler_.changes().is_walking() ||
                      (!deaf && (range_open_ || (my_ring() != nullptr && !my_ring()->empty())) &&
                       distribution_.has_room(now));
    const TimePoint deadline = deaf ? std::min(gather_until_, next_deadline(now)) : next_deadline(now);
    long timeout = -1;
    if (busy || deadline <= now)
        timeout = 0;
    else if (deadline != kNever)
        timeout = static_cast<long>(std::chrono::ceil<Milliseconds>(deadline - now).count());
    for (const ReadySocket &ready : socket_wait_.wait(sockets, timeout, deaf))
        for (auto &participant : distribution_.participants())
            if (participant->target->socket() == ready.fd)
                participant->target->ready(ready.readable, ready.writable, Clock::now());
    distribution_.settle();
}

void Publisher::settled(Participant &participant, const Batch &batch, bool confirmed) {
    count_settled(participant, batch, confirmed);
}

}  // namespace cache_sync
