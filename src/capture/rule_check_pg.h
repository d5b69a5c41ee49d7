// Is this a rule that can work? Asked when a table is registered.
#pragma once

#include "pg.h"

extern "C" {
#include "utils/relcache.h"
}

namespace cache_sync {

// Opens a relation that may have rules, under AccessShareLock. Throws Failure if it is no ordinary or
// partitioned table, is temporary, a system catalogue or one of cache_sync's own.
Relation open_table_for_rules(Oid relation);

// Opens a materialized view, whose rule is for the rows that refreshing changes, under AccessShareLock.
Relation open_view_for_rules(Oid view);

// Throws Failure unless the current user owns the table.
void check_owner(Relation table);

// The arguments of register_table(). Throws Failure for what is wrong with them.
void check_key(Relation table, const char *key);
void check_tags(Relation table, Datum tags);        // text[]
void check_columns(Relation table, Datum columns);  // name[]

}  // namespace cache_sync
