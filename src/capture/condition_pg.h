// The condition of a rule: a boolean SQL expression over one row.
//
// It is written with the session's search_path and settings, kept fully qualified, and evaluated under pinned
// settings as the owner of the table, so that neither the writer's rights nor its settings matter.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>

#include "pg.h"

extern "C" {
#include "access/htup.h"
#include "nodes/execnodes.h"
#include "utils/relcache.h"
}

namespace cache_sync {

// The canonical text (palloc'd) of a condition that somebody wrote. Raises what is wrong with it.
char *canonical_condition(Relation relation, const char *text);

// A condition ready to be evaluated. Plain data; lives in the memory context that compile() was given.
struct Condition {
    ExprState *state;
    ExprContext *context;
    TupleTableSlot *row;
    Oid owner;
    unsigned pins;        // holds() must run under these, see pinned_settings_pg.h
    bool uses_functions;  // of users: compiled again when one of them changes
    bool is_running;      // an earlier evaluation did not come back: compile again
    std::int64_t rule;

    // Takes a canonical text. Raises what is wrong with it. `memory` holds the result.
    static Condition *compile(Relation relation, const char *canonical, std::int64_t rule,
                              MemoryContext memory);

    // Whether the row satisfies the condition; NULL does not. Raises what the evaluation raises.
    bool holds(HeapTuple tuple);
};

}  // namespace cache_sync
