// Keeps the queue small: decides when writers go on in another table, which table is emptied, and which
// targets the queue has no room for any more.
#pragma once

#include "clock.h"
#include "publish/distribution.h"
#include "queue/rotation_pg.h"
#include "refresh/scheduler_pg.h"

namespace cache_sync {

class QueueKeeper {
 public:
    QueueKeeper(DatabaseSlot *slot, Distribution &distribution, RefreshScheduler &scheduler)
        : slot_(slot), distribution_(distribution), scheduler_(scheduler) {}

    // Rows came.
    void note_activity(TimePoint now) {
        active_at_ = now;
        wanted_ = true;
    }
    // What is kept for whom changed.
    void look_again() { wanted_ = true; }
    bool has_work() const { return wanted_; }
    TimePoint deadline() const { return wanted_ ? due_ : kNever; }

    void work_if_due(TimePoint now);

 private:
    bool measure(QueueTables &tables, QueueSize &size);
    bool empty_left_tables(const QueueTables &tables, const QueueSize &size);
    void exempt_laggards(const QueueSize &size, TimePoint now);
    bool is_laggard(const Participant &participant, TimePoint now) const;

    DatabaseSlot *slot_;
    Distribution &distribution_;
    RefreshScheduler &scheduler_;
    bool wanted_ = true;  // the tables are not known to be empty
    TimePoint due_{};
    TimePoint active_at_{};          // when rows came last
    TimePoint full_since_ = kNever;  // the queue is over its limit
};

}  // namespace cache_sync
