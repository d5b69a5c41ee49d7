// The rows that a statement of this transaction inserted into a heap or deleted from it, read from the pages
// that the statement can have written: all others have their visibility bit set, or are older in the WAL.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "pg.h"

extern "C" {
#include "access/htup.h"
#include "access/xlogdefs.h"
#include "utils/rel.h"
}

namespace cache_sync {

// Where this transaction and the WAL are, before the statement.
struct StatementStart {
    CommandId command;
    XLogRecPtr wal;

    static StatementStart now();
};

// Whether the rows of this relation can be read so: it is an ordinary heap.
bool has_readable_changes(Relation relation);

// Is called for each row, with no page locked. The row lasts until it returns.
using ChangedRowVisitor = void (*)(void *context, HeapTuple row, bool is_inserted);

// Visits what the statement wrote. The caller's lock on the relation keeps others from writing it.
void visit_own_changes(Relation relation, const StatementStart &start, ChangedRowVisitor visit,
                       void *context);

}  // namespace cache_sync
