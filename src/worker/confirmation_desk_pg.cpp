#include "worker/confirmation_desk_pg.h"

#include "boundary.h"

namespace cache_sync {

void ConfirmationDesk::note_taken() {
    const Ring *ring = my_ring();
    if (ring == nullptr || ring->popped() == noted_)
        return;
    noted_ = ring->popped();
    taken_.push_back({noted_, distribution_.last_number()});
}

void ConfirmationDesk::work() {
    if (noted_ == 0)  // what an earlier publisher took counts once everybody has caught up
        note_taken();
    for (; !taken_.empty() && distribution_.is_settled(taken_.front().batch); taken_.pop_front())
        settled_ = taken_.front().position;
    if (!distribution_.unpaused_caught_up()) {
        somebody_was_behind_ = true;
        return;
    }
    if (somebody_was_behind_) {
        somebody_was_behind_ = false;
        caught_up_with_ = distribution_.last_number();
    }
    if (settled_ <= told_ || !distribution_.is_settled(caught_up_with_))
        return;
    told_ = settled_;
    pg_atomic_write_u64(&slot_->confirmed, told_);
    call([&] { ConditionVariableBroadcast(&slot_->drained); });
}

}  // namespace cache_sync
