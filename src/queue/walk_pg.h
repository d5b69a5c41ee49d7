// Reading the queue tables: what the ring did not carry, and what a target missed.
#pragma once

#include <cstdint>
#include <string_view>

#include "queue/row_position.h"

#include "pg.h"

extern "C" {
#include "utils/rel.h"
#include "utils/snapshot.h"
}

namespace cache_sync {

// Is called for each visible row; false ends the walk after this row. Plain frames.
using RowVisitor = bool (*)(void *context, RowPosition row, TransactionId xmin, std::int64_t queued_at,
                            std::string_view payload);

// Visits the rows of an open queue table that the snapshot sees, from `from` on, through block `last_block`.
// Returns the position to go on from; block kWalkEnd when the end was reached. May raise.
inline constexpr std::uint32_t kWalkEnd = 0xffffffff;
RowPosition walk_rows(Relation relation, Snapshot snapshot, RowPosition from, std::uint32_t last_block,
                      RowVisitor visit, void *context);

}  // namespace cache_sync
