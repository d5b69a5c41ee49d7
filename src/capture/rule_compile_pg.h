// From stored rules to compiled ones.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "capture/rule_cache_pg.h"
#include "capture/rule_load_pg.h"

namespace cache_sync {

// Compiles the rules for this relation, in a memory context of their own below the current one. What is
// broken about a rule is said in a WARNING, and more counts as touched than needed.
TableRules *compile_rules(Relation relation, const StoredRule *stored);

}  // namespace cache_sync
