// What the running transaction touched, and its way into the queue.
//
//   touch() ... touch()      gathered in memory, each key and tag once, savepoints respected
//   PRE_COMMIT, PRE_PREPARE  written to the queue table (src/queue/append_pg.h)
//   COMMIT                   announced to the publisher: ring and latch
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstddef>
#include <string_view>

#include "queue/payload.h"

namespace cache_sync {

// Registers the transaction callbacks; once per process, from _PG_init.
void register_transaction_callbacks();

// The current subtransaction touches this. Keys longer than kMaxTouchLength become a pattern over their first
// bytes, tags longer than that a flush: more is invalidated than needed, never less. Raises out_of_memory.
void touch(TouchKind kind, std::string_view text);

// Row changes seen by the capture triggers in this transaction, for stat_capture.
void count_captured_row();

}  // namespace cache_sync
