#include "queue/rotation_pg.h"

#include "queue/published_rows_pg.h"
#include "queue/walk_pg.h"

extern "C" {
#include "access/table.h"
#include "catalog/storage.h"  // RelationTruncate
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/snapmgr.h"
}

namespace cache_sync {
namespace {

struct Search {
    Places places;
    bool found;
};

bool stop_at_unpublished(void *context, RowPosition row, TransactionId, std::int64_t, std::string_view) {
    auto *search = static_cast<Search *>(context);
    search->found = !is_confirmed(search->places, row);
    return !search->found;
}

bool has_unpublished(Relation relation, int table) {
    Search search{places_to_keep_for(), false};
    Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    walk_rows(relation, snapshot, {static_cast<std::uint16_t>(table), 0, 0}, kWalkEnd - 1,
              stop_at_unpublished, &search);
    UnregisterSnapshot(snapshot);
    return search.found;
}

}  // namespace

std::uint64_t QueueSize::total() const {
    std::uint64_t sum = 0;
    for (const std::uint32_t count : pages)
        sum += count;
    return sum;
}

QueueSize queue_size(const QueueTables &tables) {
    QueueSize size{};
    for (int table = 0; table < kQueueTables; ++table) {
        Relation relation = table_open(tables.oid[table], AccessShareLock);
        size.pages[table] = RelationGetNumberOfBlocks(relation);
        table_close(relation, AccessShareLock);
    }
    return size;
}

bool switch_table(DatabaseSlot *slot, const QueueSize &size) {
    const std::uint32_t active = pg_atomic_read_u32(&slot->active);
    for (std::uint32_t step = 1; step < kQueueTables; ++step) {
        const std::uint32_t next = (active + step) % kQueueTables;
        if (size.pages[next] != 0)
            continue;
        pg_atomic_write_u32(&slot->active, next);
        return true;
    }
    return false;
}

Emptied empty_table(const QueueTables &tables, int table) {
    if (!ConditionalLockRelationOid(tables.oid[table], AccessExclusiveLock))
        return Emptied::locked;
    // No writer of this table is left, so all that it pushed is in the ring by now.
    const Ring *ring = my_ring();
    if (ring != nullptr && ring->entries(static_cast<std::uint16_t>(table)) != 0)
        return Emptied::ring;
    Relation relation = table_open(tables.oid[table], NoLock);
    const bool keep = has_unpublished(relation, table);
    if (!keep) {
        RelationTruncate(relation, 0);
        forget_marks_of_table(table);
        pg_atomic_fetch_add_u64(&my_slot()->capture.rotations, 1);
    }
    table_close(relation, NoLock);
    return keep ? Emptied::unpublished : Emptied::yes;
}

}  // namespace cache_sync
