// Writing to the queue: rows in a queue table before the commit, the ring and the publisher's latch after it.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>
#include <string_view>

namespace cache_sync {

// Writes the records of `log` (queue/payload.h) as rows of the active queue table, WAL-logged, as part of the
// current (sub)transaction. `log` must stay as it is until announce_rows() or forget_rows(), unless
// `spilled`: then the publisher reads these rows from the table. Does nothing if the extension is gone. May
// raise.
void append_rows(std::string_view log, bool spilled);

// The transaction is about to commit: until announce_rows() or forget_rows(), it counts as on its way.
void expect_announcement();

// What a transaction adds to the counters of cache_sync.stat_capture.
struct CaptureTally {
    std::uint64_t rows = 0;  // row changes seen
    std::uint64_t keys = 0, tags = 0, patterns = 0, duplicates = 0;
};

// The transaction is visible: hands what it appended to the publisher and wakes it, and counts it. Raises
// nothing.
void announce_rows(const CaptureTally &tally) noexcept;

// The transaction was rolled back or prepared: nothing to announce.
void forget_rows() noexcept;

}  // namespace cache_sync
