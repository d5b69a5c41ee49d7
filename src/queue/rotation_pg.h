// Emptying the queue: writers are moved on to the next table, and the one they left is truncated in place
// once every row of it is published.
//
//              switch_table()                 empty_table()
//   active ------------------> left behind ------------------> empty ---(next switch)---> active
//                                   | locked by a writer, or rows unpublished: later
//
// The lock that proves that no writer is left is taken only if it is free (a prepared transaction holds it
// for as long as it likes; then the other tables go round without this one), and never while anything is
// waited for.
#pragma once

#include "queue/shared_state_pg.h"
#include "queue/tables_pg.h"

namespace cache_sync {

// Above this many pages of the active table it is time to switch.
inline constexpr std::uint32_t kRotatePages = 1024;

enum class Emptied {
    yes,          // it is empty now
    locked,       // a writer or a prepared transaction still has it
    ring,         // some of its rows are still on their way through shared memory: take them first
    unpublished,  // it holds rows that some target did not confirm
};

// Pages of each queue table. Needs a transaction; may raise.
struct QueueSize {
    std::uint32_t pages[kQueueTables];
    std::uint64_t total() const;
};
QueueSize queue_size(const QueueTables &tables);

// Lets writers go on in the first empty table, if there is one other than the active table. True: done.
bool switch_table(DatabaseSlot *slot, const QueueSize &size);

// Empties a table that is not active and of which nothing is in flight: a confirmation that came later would
// count for the rows that are written to these places next. Needs a transaction of its own; may raise.
Emptied empty_table(const QueueTables &tables, int table);

}  // namespace cache_sync
