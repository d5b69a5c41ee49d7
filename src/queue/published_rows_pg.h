// Which rows of the queue are published everywhere: one bit a row, in the area of the database.
//
// Rows are never updated or deleted to say so: that is what keeps a held snapshot from bloating the queue.
// The marks are lost with shared memory; then what the tables still hold is published again. The publisher
// alone writes. Readers (cache_sync.queue) hold the slot's lock in shared mode.
#pragma once

#include "queue/row_position.h"
#include "queue/shared_state_pg.h"

namespace cache_sync {

// False: no memory for the mark; the row counts as unpublished and will be published again.
bool mark_published(RowPosition row);
void unmark_published(RowPosition row);
bool is_published(RowPosition row);
// The table was emptied.
void forget_marks(int table);
void forget_all_marks();

}  // namespace cache_sync
