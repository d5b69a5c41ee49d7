// Answers cache_sync.drain(). In three steps: what is in flight is settled (or a walk would send it once
// more), then a walk finds what did not come through the ring, then what the walk sent is settled.
#pragma once

#include <cstdint>

#include "publish/distribution.h"
#include "queue/shared_state_pg.h"

namespace cache_sync {

class DrainDesk {
 public:
    DrainDesk(DatabaseSlot *slot, Distribution &distribution) : slot_(slot), distribution_(distribution) {}

    // Goes as far as possible without waiting.
    void work();

 private:
    enum class Step { none, settling, walking, finishing };

    DatabaseSlot *slot_;
    Distribution &distribution_;
    Step step_ = Step::none;
    std::uint64_t ticket_ = 0;  // what the running drain will answer
    std::uint64_t number_ = 0;  // the batch that ends its step
};

}  // namespace cache_sync
