// Which target confirmed which row of the queue: one bit for each, in the area of the database.
//
// Rows are never updated or deleted to say so: that is what keeps a held snapshot from bloating the queue.
// The marks are lost with shared memory; then what the tables still hold is published again. They stay for
// the next publisher. The publisher alone writes. Others (cache_sync.queue) hold the slot's lock in shared
// mode.
#pragma once

#include "queue/row_position.h"
#include "queue/shared_state_pg.h"

namespace cache_sync {

// Targets by the places of their figures in the area; and one place more, of the scheduler of refreshes.
using Places = std::uint32_t;  // a set of places, one bit each
static_assert(kPlaces <= 32);

// The target at this place confirmed the row. Without memory for the mark the row counts as unconfirmed, and
// will be published again.
void mark_confirmed(int place, RowPosition row);
// Did all of these targets confirm it?
bool is_confirmed(Places places, RowPosition row);
// The targets that the queue keeps rows for: a row that all of them confirmed is done with.
Places places_to_keep_for();

// The table was emptied.
void forget_marks_of_table(int table);
// The place got another target.
void forget_marks_of_place(int place);

}  // namespace cache_sync
