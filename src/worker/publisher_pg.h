// The publisher of one database: from the ring and the queue tables to its targets. See worker/README.md.
#pragma once

#include <string>
#include <vector>

#include "publish/distribution.h"
#include "queue/row_position.h"
#include "queue/shared_state_pg.h"
#include "refresh/scheduler_pg.h"
#include "worker/confirmation_desk_pg.h"
#include "worker/drain_desk_pg.h"
#include "worker/queue_keeper_pg.h"
#include "worker/socket_wait_pg.h"
#include "worker/transaction_pg.h"

namespace cache_sync {

class FoundRows;

class Publisher : private DistributionEvents {
 public:
    explicit Publisher(DatabaseSlot *slot)
        : slot_(slot),
          distribution_(*this),
          scheduler_(slot),
          queue_keeper_(slot, distribution_, scheduler_),
          confirmation_desk_(slot, distribution_),
          drain_desk_(slot, distribution_) {}

    // Works until the extension is gone from the database.
    void run();

 private:
    // The steps of the loop, in order.
    void serve_interrupts();
    void reload_if_asked();
    void take_from_ring(TimePoint now);
    void walk_if_wanted(TimePoint now);
    void drive_targets(TimePoint now);
    void wait();

    void load_configuration();
    void reload_flush_patterns();
    void ask_walk();
    bool has_read_all() const;
    bool is_gathering(TimePoint now) const;
    bool fill_from_ring();
    void begin_range(const RingEntry &entry);
    void read_range();
    void publish_row(std::string_view payload, QueueRow row, bool walked);
    void publish_found(const FoundRows &found, bool walked);
    void publish(bool walked);
    void walk_slice();
    void join_if_wanted(Participant &participant, TimePoint now);
    void notice_flushed(Participant &participant);
    void beat_if_due(Participant &participant, TimePoint now);
    std::string published_snapshot(const Participant &participant);
    TimePoint next_deadline(TimePoint now);

    void settled(Participant &participant, const Batch &batch, bool confirmed) override;

    DatabaseSlot *slot_;
    Distribution distribution_;
    RefreshScheduler scheduler_;
    QueueKeeper queue_keeper_;
    ConfirmationDesk confirmation_desk_;
    DrainDesk drain_desk_;
    SocketWait socket_wait_;
    BatchBuilder builder_;  // empty between the steps; kept for its memory
    std::string payload_;   // reused: what the ring gave last
    TimePoint gather_until_{};

    RowPosition walk_at_{};   // of the walk that is under way
    RowPosition range_at_{};  // of the range that the ring pointed to
    std::uint32_t range_last_block_ = 0;
    bool range_open_ = false;

    bool extension_gone_ = false;
    TimePoint walk_again_at_{};  // the slow net under the fast path
};

}  // namespace cache_sync
