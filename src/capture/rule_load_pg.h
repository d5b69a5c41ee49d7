// Reading the rules from their table as they were stored.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>

#include "pg.h"

namespace cache_sync {

// A row of cache_sync.rule. Everything is palloc'd; text is as in the table.
struct StoredRule {
    std::int64_t id;
    const char *key;  // nullptr: none
    int tag_count;
    const char **tags;
    bool has_columns;
    int column_count;
    const char **columns;
    const char *condition;  // nullptr: none
    StoredRule *next;
};

// The rules of this relation and of all that it inherits from. Needs no rights, and sees what is committed
// now and what the transaction itself has done.
StoredRule *load_rules(Oid relation);

// The oid of cache_sync.rule. Throws Failure if the extension is gone.
Oid rule_table();

}  // namespace cache_sync
