// The publisher of one database: from the ring and the queue tables to its targets. See worker/README.md.
#pragma once

#include <string>
#include <vector>

#include "publish/distribution.h"
#include "queue/rotation_pg.h"
#include "queue/row_position.h"
#include "queue/shared_state_pg.h"
#include "worker/socket_wait_pg.h"
#include "worker/transaction_pg.h"

namespace cache_sync {

class FoundRows;

class Publisher : private DistributionEvents {
 public:
    explicit Publisher(DatabaseSlot *slot) : slot_(slot), distribution_(*this) {}

    // Works until the extension is gone from the database.
    void run();

 private:
    // The steps of the loop, in order.
    void serve_interrupts();
    void reload_if_asked(TimePoint now);
    void take_from_ring(TimePoint now);
    void walk_if_wanted(TimePoint now);
    void drive_targets(TimePoint now);
    void rotate_if_due(TimePoint now);
    void answer_drains();
    void wait();

    void load_configuration(TimePoint now);
    bool fill_from_ring(BatchBuilder &builder);
    void begin_range(const RingEntry &entry);
    void read_range(TimePoint now);
    void publish_row(std::string_view payload, QueueRow row, BatchBuilder &builder, bool walked);
    void publish_found(const FoundRows &found, bool walked);
    void publish(BatchBuilder &builder, bool walked);
    void walk_slice();
    void join_if_wanted(Participant &participant, TimePoint now);
    void notice_flushed(Participant &participant);
    void beat_if_due(Participant &participant, TimePoint now);
    std::string published_snapshot(const Participant &participant);
    bool empty_left_tables(const QueueTables &tables, const QueueSize &size);
    void exempt_laggards(const QueueSize &size);
    TimePoint next_deadline(TimePoint now);

    void settled(Participant &participant, const Batch &batch, bool confirmed) override;

    DatabaseSlot *slot_;
    Distribution distribution_;
    SocketWait socket_wait_;
    std::string payload_;  // reused: what the ring gave last

    RowPosition walk_at_{};   // of the walk that is under way
    RowPosition range_at_{};  // of the range that the ring pointed to
    std::uint32_t range_last_block_ = 0;
    bool range_open_ = false;

    enum class DrainStep { none, settling, walking, finishing };
    DrainStep drain_step_ = DrainStep::none;
    std::uint64_t drain_ticket_ = 0;  // what the running drain will answer
    std::uint64_t drain_number_ = 0;  // the batch that ends its step

    bool extension_gone_ = false;
    bool rotation_wanted_ = true;  // rows came since the queue was last seen empty
    TimePoint rotate_at_{};
    TimePoint busy_at_{};        // when rows came last
    TimePoint walk_again_at_{};  // the slow net under the fast path
};

}  // namespace cache_sync
