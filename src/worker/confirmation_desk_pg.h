// Tells waiting commits how far everything is confirmed; see commit_wait_pg.h for the other side.
#pragma once

#include <cstdint>
#include <deque>

#include "publish/distribution.h"
#include "queue/shared_state_pg.h"

namespace cache_sync {

class ConfirmationDesk {
 public:
    ConfirmationDesk(DatabaseSlot *slot, Distribution &distribution)
        : slot_(slot), distribution_(distribution) {}

    // All that was taken from the ring so far is in a batch.
    void note_taken();
    void work();

 private:
    struct Taken {
        std::uint64_t position;  // in the ring
        std::uint64_t batch;     // the last one with something from before the position
    };

    DatabaseSlot *slot_;
    Distribution &distribution_;
    std::deque<Taken> taken_;
    std::uint64_t noted_ = 0, settled_ = 0, told_ = 0;  // positions in the ring
    // A target was behind: what it lacked may be in flight to it still.
    bool somebody_was_behind_ = true;
    std::uint64_t caught_up_with_ = 0;
};

}  // namespace cache_sync
