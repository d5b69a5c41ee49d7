// DDL that changes what a table's rows are without any row trigger: everything that its rules may have named
// counts as touched then.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "pg.h"

namespace cache_sync {

// Touches everything that the rules of this relation, and of what it inherits from, may have named: the glob
// of each key template, a flush for tags with columns. The relation may be gone, if its rules are still
// there.
void touch_everything(Oid relation);

}  // namespace cache_sync
