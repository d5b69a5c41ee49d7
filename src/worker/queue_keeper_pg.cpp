#include "worker/queue_keeper_pg.h"

#include <algorithm>
#include <vector>

#include "boundary.h"
#include "queue/row_position.h"
#include "settings_pg.h"
#include "worker/joining_pg.h"
#include "worker/transaction_pg.h"

namespace cache_sync {
namespace {

constexpr Milliseconds kEvery{1000};
constexpr Milliseconds kHurry{100};   // while rows come and more is there than one table should hold
constexpr Milliseconds kQuiet{5000};  // then a small queue is emptied too
// A target that is connected may just be catching up: it has so long to bring the queue below its limit.
constexpr Milliseconds kPatience{10000};

}  // namespace

void QueueKeeper::work_if_due(TimePoint now) {
    if (!wanted_ || now < due_)
        return;
    due_ = now + kEvery;
    QueueTables tables{};
    QueueSize size{};
    if (!measure(tables, size))
        return;
    exempt_laggards(size, now);
    const std::uint32_t active = size.pages[pg_atomic_read_u32(&slot_->active)];
    if (active >= kRotatePages || (active != 0 && now - active_at_ > kQuiet))
        switch_table(slot_, size);
    if (size.total() == 0)
        wanted_ = false;
    else if (empty_left_tables(tables, size))
        due_ = now;  // something was emptied: go on with the next one
    else if (size.total() >= kRotatePages && now - active_at_ < kEvery)
        due_ = now + kHurry;
}

bool QueueKeeper::measure(QueueTables &tables, QueueSize &size) {
    bool known = false;
    in_transaction("measuring the queue", [&] {
        call([&] {
            const QueueTables *mine = queue_tables();
            if (mine == nullptr)
                return;
            tables = *mine;
            size = queue_size(tables);
            known = true;
        });
    });
    return known;
}

// Also while somebody is behind: under a steady load that overflows the ring, somebody always is. What counts
// is that the rows of the table itself are confirmed, and empty_table() looks at that.
bool QueueKeeper::empty_left_tables(const QueueTables &tables, const QueueSize &size) {
    bool emptied = false;
    if (scheduler_.has_unsaved_changes())
        return false;
    for (int table = 0; table < kQueueTables; ++table) {
        if (size.pages[table] == 0 || pg_atomic_read_u32(&slot_->active) == static_cast<std::uint32_t>(table))
            continue;
        if (distribution_.has_in_flight(
                [&](const QueueRow &row) { return RowPosition::unpack(row.position).table == table; }))
            continue;
        Emptied result = Emptied::locked;
        in_transaction("emptying a queue table", [&] { call([&] { result = empty_table(tables, table); }); });
        emptied = emptied || result == Emptied::yes;
        if (result == Emptied::unpublished && distribution_.nobody_behind()) {
            distribution_.ask_walk();
            scheduler_.changes().ask_walk();
        }
    }
    return emptied;
}

// Away, or connected and slower than the load for ever.
bool QueueKeeper::is_laggard(const Participant &participant, TimePoint now) const {
    return !participant.exempt && !participant.caught_up() &&
           (!participant.is_live() || now - full_since_ > kPatience);
}

// The queue is at its limit: who still lacks something of it is flushed when it is back, instead.
void QueueKeeper::exempt_laggards(const QueueSize &size, TimePoint now) {
    if (size.total() * BLCKSZ <= static_cast<std::uint64_t>(setting_queue_limit) * 1024 * 1024) {
        full_since_ = kNever;
        return;
    }
    full_since_ = std::min(full_since_, now);
    std::vector<std::uint32_t> servers;
    for (auto &participant : distribution_.participants())
        if (is_laggard(*participant, now))
            servers.push_back(participant->target->config().id);
    if (servers.empty() || in_transaction("giving up on a target", [&] { owe_flush(servers); }))
        return;
    for (auto &participant : distribution_.participants()) {
        if (std::find(servers.begin(), servers.end(), participant->target->config().id) == servers.end())
            continue;
        participant->exempt = true;
        participant->target->disconnect("too far behind, to be flushed", now);
        call([&] {
            ereport(WARNING, (errmsg("cache_sync: the queue is at its limit of %d MB; target \"%s\" will be "
                                     "flushed when it is back",
                                     setting_queue_limit, participant->target->config().name.c_str())));
        });
    }
}

}  // namespace cache_sync
