// How a view is refreshed. Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <optional>

#include "pg.h"

extern "C" {
#include "utils/rel.h"
}

namespace cache_sync {

// Whether REFRESH ... CONCURRENTLY accepts one of its indexes: unique over whole rows, and checked at once.
bool has_usable_unique_index(Relation view);

// Whether the next refresh is to be CONCURRENTLY. wanted: as registered; nothing: whenever the view allows
// it. A view that was never filled allows only the plain one, even where the other is wanted.
bool refreshes_concurrently(Relation view, std::optional<bool> wanted);

}  // namespace cache_sync
