#include "worker/drain_desk_pg.h"

#include "boundary.h"

namespace cache_sync {

void DrainDesk::work() {
    const std::uint64_t asked = pg_atomic_read_u64(&slot_->drain_asked);
    if (step_ == Step::none && asked != pg_atomic_read_u64(&slot_->drain_done)) {
        step_ = Step::settling;
        ticket_ = asked;
        number_ = distribution_.last_number();
    }
    if (step_ == Step::settling && distribution_.is_settled(number_)) {
        step_ = Step::walking;
        distribution_.ask_walk();
    }
    if (step_ == Step::walking && distribution_.unpaused_caught_up()) {
        step_ = Step::finishing;
        number_ = distribution_.last_number();
    }
    if (step_ != Step::finishing || !distribution_.is_settled(number_))
        return;
    if (!distribution_.unpaused_caught_up()) {  // somebody was lost on the way
        step_ = Step::walking;
        return;
    }
    step_ = Step::none;
    pg_atomic_write_u64(&slot_->drain_done, ticket_);
    call([&] { ConditionVariableBroadcast(&slot_->drained); });
}

}  // namespace cache_sync
