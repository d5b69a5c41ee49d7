// Marking relations whose contents changed, for the views that read them.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "pg.h"

namespace cache_sync {

// Marks the relation if a view that is refreshed on change reads it, for changes that no trigger sees.
// Nothing happens if the relation is gone, or if this session captures nothing.
void mark_if_watched(Oid relation);

}  // namespace cache_sync
