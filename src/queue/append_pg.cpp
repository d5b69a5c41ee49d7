#include "queue/append_pg.h"

#include <algorithm>

#include "boundary.h"
#include "queue/payload.h"
#include "queue/ring.h"
#include "queue/tables_pg.h"

extern "C" {
#include "access/heapam.h"  // heap_insert, GetBulkInsertState
#include "access/table.h"   // table_open
#include "access/xact.h"    // GetCurrentCommandId
#include "storage/lmgr.h"   // ConditionalLockRelationOid
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

// Of this transaction: rows whose payload is still in memory, and per table the blocks of all others.
struct PendingRow {
    const char *payload;
    std::uint32_t length;
    std::uint32_t block;
    std::uint16_t offset;
    std::uint16_t table;
};
struct BlockRange {
    bool used;
    std::uint32_t first, last;
};

constexpr int kMaxPendingRows = 256;  // rows of 7.9 kB: more than half of the default ring
PendingRow pending[kMaxPendingRows];
int pending_count = 0;
std::size_t pending_bytes = 0;
BlockRange ranges[kQueueTables];
bool expected = false;
bool anything = false;

// A queue table that nobody is emptying right now, locked against that until the end of the transaction.
// Writers never wait here: a table that is being emptied is not the active one, or will not be for long.
int lock_queue_table(const QueueTables &tables, DatabaseSlot *slot) {
    int table = slot != nullptr ? static_cast<int>(pg_atomic_read_u32(&slot->active)) : 0;
    for (int attempt = 0; attempt < 2 * kQueueTables; ++attempt) {
        if (ConditionalLockRelationOid(tables.oid[table], RowExclusiveLock))
            return table;
        table = (table + 1) % kQueueTables;
    }
    LockRelationOid(tables.oid[table],
                    RowExclusiveLock);  // DROP EXTENSION, or somebody locks all three by hand
    return table;
}

void widen_range(int table, std::uint32_t block) {
    BlockRange &range = ranges[table];
    range.first = range.used ? std::min(range.first, block) : block;
    range.last = range.used ? std::max(range.last, block) : block;
    range.used = true;
}

void remember(int table, const ItemPointerData &at, std::string_view payload, bool spilled) {
    const BlockNumber block = ItemPointerGetBlockNumber(&at);
    anything = true;
    if (!spilled && pending_count < kMaxPendingRows) {
        pending[pending_count++] = {payload.data(), static_cast<std::uint32_t>(payload.size()), block,
                                    ItemPointerGetOffsetNumber(&at), static_cast<std::uint16_t>(table)};
        pending_bytes += Ring::footprint(payload.size());
        return;
    }
    widen_range(table, block);
}

struct alignas(8) PayloadBuffer {
    char bytes[VARHDRSZ + kMaxRowPayload + kMaxTouchLength];
};
PayloadBuffer buffer;

Datum make_bytea(std::string_view payload) {
    if (payload.size() + VARHDRSZ_SHORT <= VARATT_SHORT_MAX) {
        SET_VARSIZE_SHORT(buffer.bytes, payload.size() + VARHDRSZ_SHORT);
        std::memcpy(buffer.bytes + VARHDRSZ_SHORT, payload.data(), payload.size());
    } else {
        SET_VARSIZE(buffer.bytes, payload.size() + VARHDRSZ);
        std::memcpy(buffer.bytes + VARHDRSZ, payload.data(), payload.size());
    }
    return PointerGetDatum(buffer.bytes);
}

void insert_rows(Relation relation, int table, std::string_view log, bool spilled,
                 CaptureCounters *counters) {
    const Datum now = TimestampTzGetDatum(GetCurrentTimestamp());
    const CommandId command = GetCurrentCommandId(true);
    BulkInsertState bulk = log.size() > kMaxRowPayload ? GetBulkInsertState() : nullptr;
    std::uint64_t rows = 0;
    for (std::string_view rest = log; !rest.empty(); ++rows) {
        const std::string_view row = first_row(rest);
        rest.remove_prefix(row.size());
        Datum values[] = {now, make_bytea(row)};
        bool nulls[] = {false, false};
        HeapTuple tuple = heap_form_tuple(RelationGetDescr(relation), values, nulls);
        heap_insert(relation, tuple, command, HEAP_INSERT_NO_LOGICAL, bulk);
        remember(table, tuple->t_self, row, spilled);
        heap_freetuple(tuple);
    }
    if (bulk != nullptr)
        FreeBulkInsertState(bulk);
    if (counters != nullptr) {
        pg_atomic_fetch_add_u64(&counters->queue_rows, rows);
        pg_atomic_fetch_add_u64(&counters->queue_bytes, log.size());
    }
}

// Attaching may fail for want of memory; then the rows are found in the table.
void attach_area_if_possible() {
    try {
        call([] { my_area(); });
    } catch (const PgError &) {
    }
}

bool push_rows(Ring *ring, RingEntry entry) {
    if (pending_bytes > ring->capacity() / 2)
        return false;
    entry.kind = RingEntry::Kind::row;
    for (int n = 0; n < pending_count; ++n) {
        entry.table = pending[n].table;
        entry.block = pending[n].block;
        entry.offset = pending[n].offset;
        if (!ring->push(entry, {pending[n].payload, pending[n].length}))
            return false;
    }
    return true;
}

bool push_ranges(Ring *ring, RingEntry entry) {
    entry.kind = RingEntry::Kind::range;
    for (int table = 0; table < kQueueTables; ++table) {
        if (!ranges[table].used)
            continue;
        entry.table = static_cast<std::uint16_t>(table);
        entry.block = ranges[table].first;
        entry.last_block = ranges[table].last;
        if (!ring->push(entry, {}))
            return false;
    }
    return true;
}

// What does not fit as rows goes as the blocks that they are in, and if not even that fits, as a word to
// look.
void push_all(DatabaseSlot *slot, Ring *ring) {
    RingEntry entry{};
    entry.visible_at = GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    if (!push_rows(ring, entry))
        for (int n = 0; n < pending_count; ++n)
            widen_range(pending[n].table, pending[n].block);
    if (push_ranges(ring, entry))
        return;
    pg_atomic_write_u32(&slot->need_walk, 1);
    pg_atomic_fetch_add_u64(&slot->capture.ring_overflows, 1);
}

}  // namespace

void append_rows(std::string_view log, bool spilled) {
    const QueueTables *tables = queue_tables();
    if (tables == nullptr)
        return;
    DatabaseSlot *slot = my_slot();
    if (slot != nullptr && attached_ring() == nullptr)
        attach_area_if_possible();
    const int table = lock_queue_table(*tables, slot);
    Relation relation = try_table_open(tables->oid[table], NoLock);
    if (relation == nullptr)
        return;  // DROP EXTENSION committed while we waited for the table
    insert_rows(relation, table, log, spilled, slot != nullptr ? &slot->capture : nullptr);
    table_close(relation, NoLock);
}

void expect_announcement() {
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr || expected)
        return;
    pg_atomic_fetch_add_u32(&slot->committing, 1);
    expected = true;
}

void announce_rows() noexcept {
    DatabaseSlot *slot = my_slot();
    if (anything && slot != nullptr) {
        Ring *ring = attached_ring();
        if (ring != nullptr) {
            LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
            push_all(slot, ring);
            LWLockRelease(slot_lock(slot));
        } else {
            pg_atomic_write_u32(&slot->need_walk, 1);
        }
        wake_publisher(slot);
    }
    forget_rows();
}

void forget_rows() noexcept {
    pending_count = 0;
    pending_bytes = 0;
    for (auto &range : ranges)
        range.used = false;
    anything = false;
    if (expected) {
        pg_atomic_fetch_sub_u32(&my_slot()->committing, 1);
        expected = false;
    }
}

}  // namespace cache_sync
