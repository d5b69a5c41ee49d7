// What a REFRESH MATERIALIZED VIEW changes, whoever runs it: the keys and tags of the rows that were
// inserted, changed or removed are queued in its own transaction, and so is a marker for the views over it.
// See "What a refresh changed" in README.md.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "refresh/row_difference_pg.h"

#include "pg.h"

extern "C" {
#include "nodes/parsenodes.h"
#include "tcop/cmdtag.h"
}

namespace cache_sync {

// Runs the statement by run(context), and touches what it changed. What goes wrong about that fails the
// statement: a change that could not be queued must not commit. completion: filled in by the statement; may
// be null.
void run_refresh(const RefreshMatViewStmt &statement, const QueryCompletion *completion,
                 void (*run)(void *context), void *context);

// What the last REFRESH of this process changed.
const ChangedCounts &latest_changes();

}  // namespace cache_sync
