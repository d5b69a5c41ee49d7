// cache_sync.synchronous: a commit returns once every target that is not paused has confirmed it.
//
// The wait is after the transaction's locks are released, so nobody queues up behind one who waits for Redis,
// and no deadlock can come of it. By then the transaction is committed: whatever ends the wait, nothing but a
// WARNING follows.
#pragma once

#include <cstdint>

namespace cache_sync {

// Registers the callback that waits; once per process, from _PG_init.
void register_commit_wait();

// The transaction that commits was pushed into the ring, which ends at this position now; 0: the publisher
// has to look for it in the queue tables.
void expect_confirmation(std::uint64_t position) noexcept;

// Waits now for all that is committed, if the session wants to wait: for COMMIT PREPARED, which announces
// nothing itself. May raise no error.
void wait_for_committed();

}  // namespace cache_sync
