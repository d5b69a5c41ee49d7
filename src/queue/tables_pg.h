// The three tables of the queue: who they are in this database.
#pragma once

#include "queue/shared_state_pg.h"

namespace cache_sync {

// Oids of this database's queue tables. All valid, or the extension is not here.
struct QueueTables {
    Oid oid[kQueueTables];
};

// Null: the database has no cache_sync extension. Remembered until a catalogue change says otherwise. Needs a
// transaction; may raise.
const QueueTables *queue_tables();

// Attribute numbers, as sql/install creates the tables.
inline constexpr int kQueuedAtAttribute = 1;
inline constexpr int kPayloadAttribute = 2;

}  // namespace cache_sync
