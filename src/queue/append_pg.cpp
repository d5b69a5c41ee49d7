#include "queue/append_pg.h"

#include <algorithm>
#include <utility>

#include "boundary.h"
#include "queue/payload.h"
#include "queue/ring.h"
#include "queue/tables_pg.h"
#include "worker/commit_wait_pg.h"

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
std::uint64_t rows_written = 0, bytes_written = 0;  // not yet in the counters

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

// A row as heap_form_tuple() would make it for (timestamptz, bytea), both NOT NULL: in place, because the
// general way costs more than all else that we do for a one-row transaction.
struct alignas(MAXIMUM_ALIGNOF) RowBuffer {
    static constexpr std::size_t kHeader = MAXALIGN(SizeofHeapTupleHeader);
    static constexpr std::size_t kPayload = kHeader + sizeof(TimestampTz);

    char bytes[kPayload + VARHDRSZ + kMaxRowPayload + kMaxTouchLength];
};
RowBuffer buffer;

// Puts the payload's bytea into the buffer; returns where it ends.
std::size_t put_bytea(std::string_view payload) {
    char *const at = buffer.bytes + RowBuffer::kPayload;
    const bool is_short = payload.size() + VARHDRSZ_SHORT <= VARATT_SHORT_MAX;
    const std::size_t header = is_short ? VARHDRSZ_SHORT : VARHDRSZ;
    if (is_short)
        SET_VARSIZE_SHORT(at, payload.size() + header);
    else
        SET_VARSIZE(at, payload.size() + header);
    std::memcpy(at + header, payload.data(), payload.size());
    return RowBuffer::kPayload + header + payload.size();
}

// Valid until the next one.
HeapTupleData form_row(TimestampTz queued_at, std::string_view payload) {
    auto *const header = reinterpret_cast<HeapTupleHeader>(buffer.bytes);
    std::memset(header, 0, RowBuffer::kHeader);
    header->t_hoff = RowBuffer::kHeader;
    header->t_infomask = HEAP_HASVARWIDTH;
    HeapTupleHeaderSetNatts(header, 2);
    ItemPointerSetInvalid(&header->t_ctid);
    std::memcpy(buffer.bytes + RowBuffer::kHeader, &queued_at, sizeof(queued_at));
    HeapTupleData row{};
    row.t_len = static_cast<std::uint32_t>(put_bytea(payload));
    row.t_data = header;
    ItemPointerSetInvalid(&row.t_self);
    return row;
}

void insert_rows(Relation relation, int table, std::string_view log, bool spilled) {
    const TimestampTz now = GetCurrentTimestamp();
    const CommandId command = GetCurrentCommandId(true);
    BulkInsertState bulk = log.size() > kMaxRowPayload ? GetBulkInsertState() : nullptr;
    for (std::string_view rest = log; !rest.empty(); ++rows_written) {
        const std::string_view row = first_row(rest);
        rest.remove_prefix(row.size());
        HeapTupleData tuple = form_row(now, row);
        heap_insert(relation, &tuple, command, HEAP_INSERT_NO_LOGICAL, bulk);
        remember(table, tuple.t_self, row, spilled);
    }
    if (bulk != nullptr)
        FreeBulkInsertState(bulk);
    bytes_written += log.size();
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
void push_all(DatabaseSlot *slot, Ring *ring, TimestampTz now) {
    RingEntry entry{};
    entry.visible_at = now + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    if (!push_rows(ring, entry))
        for (int n = 0; n < pending_count; ++n)
            widen_range(pending[n].table, pending[n].block);
    if (push_ranges(ring, entry))
        return;
    pg_atomic_write_u32(&slot->need_walk, 1);
    pg_atomic_fetch_add_u64(&slot->capture.ring_overflows, 1);
}

// Under the slot's lock: nobody else writes these.
void add(pg_atomic_uint64 &counter, std::uint64_t more) {
    if (more != 0)
        pg_atomic_write_u64(&counter, pg_atomic_read_u64(&counter) + more);
}

void count(CaptureCounters &counters, const CaptureTally &tally) {
    add(counters.transactions, 1);
    add(counters.rows, tally.rows);
    add(counters.keys, tally.keys);
    add(counters.tags, tally.tags);
    add(counters.patterns, tally.patterns);
    add(counters.duplicates, tally.duplicates);
    add(counters.queue_rows, std::exchange(rows_written, 0));
    add(counters.queue_bytes, std::exchange(bytes_written, 0));
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
    insert_rows(relation, table, log, spilled);
    table_close(relation, NoLock);
}

void expect_announcement() {
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr || expected)
        return;
    pg_atomic_fetch_add_u32(&slot->committing, 1);
    expected = true;
}

void announce_rows(const CaptureTally &tally) noexcept {
    DatabaseSlot *slot = my_slot();
    if (slot != nullptr) {
        Ring *ring = attached_ring();
        const TimestampTz now = anything ? GetCurrentTimestamp() : 0;
        LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
        if (anything && ring != nullptr)
            push_all(slot, ring, now);
        else if (anything)
            pg_atomic_write_u32(&slot->need_walk, 1);
        count(slot->capture, tally);
        const bool in_ring = ring != nullptr && pg_atomic_read_u32(&slot->need_walk) == 0;
        if (anything)
            expect_confirmation(in_ring ? ring->pushed() : 0);
        LWLockRelease(slot_lock(slot));
        if (anything)
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
