// The functions behind cache_sync.queue. Plain frames: PostgreSQL errors pass through (see boundary.h).
#include "boundary.h"
#include "observe/set_returning_pg.h"
#include "observe/unpublished_pg.h"
#include "queue/payload.h"
#include "queue/published_rows_pg.h"
#include "queue/tables_pg.h"
#include "queue/walk_pg.h"

extern "C" {
#include "access/table.h"
#include "access/transam.h"
#include "access/xact.h"
#include "utils/snapmgr.h"
#include "utils/xid8.h"

PG_FUNCTION_INFO_V1(cache_sync_queue);
PG_FUNCTION_INFO_V1(cache_sync_decode_payload);
PG_FUNCTION_INFO_V1(cache_sync_active_queue_table);
}

namespace cache_sync {
namespace {

// A recent transaction id with its epoch: it is not ahead of the next one.
FullTransactionId widen(TransactionId xid) {
    const FullTransactionId next = ReadNextFullTransactionId();
    if (!TransactionIdIsNormal(xid))
        return FullTransactionIdFromEpochAndXid(0, xid);
    const uint32 epoch = EpochFromFullTransactionId(next);
    return FullTransactionIdFromEpochAndXid(xid <= XidFromFullTransactionId(next) ? epoch : epoch - 1, xid);
}

Datum make_bytea(std::string_view payload) {
    auto *bytes = static_cast<bytea *>(palloc(VARHDRSZ + payload.size()));
    SET_VARSIZE(bytes, VARHDRSZ + payload.size());
    memcpy(VARDATA(bytes), payload.data(), payload.size());
    return PointerGetDatum(bytes);
}

// Without the area no publisher was here yet, and nothing is known as published.
bool is_done_with(Places places, RowPosition position) {
    if (my_area() == nullptr)
        return false;
    LWLockAcquire(slot_lock(my_slot()), LW_SHARED);
    const bool done = is_confirmed(places, position);
    LWLockRelease(slot_lock(my_slot()));
    return done;
}

bool put_unpublished(void *context, RowPosition position, TransactionId xmin, std::int64_t queued_at,
                     std::string_view payload) {
    if (is_done_with(places_to_keep_for(), position))
        return true;
    char table[] = "queue_0";
    table[6] = static_cast<char>('0' + position.table);
    auto *at = static_cast<ItemPointer>(palloc(sizeof(ItemPointerData)));
    ItemPointerSet(at, position.block, position.offset);
    RowWriter row;
    row.text(table).value(PointerGetDatum(at)).value(FullTransactionIdGetDatum(widen(xmin)));
    row.timestamp(queued_at).value(make_bytea(payload)).put(static_cast<ReturnSetInfo *>(context));
    return true;
}

struct Counting {
    Places places;
    Unpublished sum;
    TransactionId last;
};

bool count_row(void *context, RowPosition position, TransactionId xmin, std::int64_t,
               std::string_view payload) {
    auto *counting = static_cast<Counting *>(context);
    if (is_done_with(counting->places, position))
        return true;
    counting->sum.transactions += xmin != counting->last ? 1 : 0;
    counting->sum.bytes += payload.size();
    counting->last = xmin;
    return true;
}

void walk_all(RowVisitor visit, void *context) {
    const QueueTables *tables = queue_tables();
    if (tables == nullptr || my_slot() == nullptr)
        return;
    for (std::uint16_t table = 0; table < kQueueTables; ++table) {
        Relation relation = table_open(tables->oid[table], AccessShareLock);
        walk_rows(relation, GetActiveSnapshot(), {table, 0, 0}, kWalkEnd - 1, visit, context);
        table_close(relation, AccessShareLock);
    }
}

}  // namespace

Unpublished count_unpublished(int place) {
    Counting counting{};
    counting.places = Places{1} << place;
    walk_all(count_row, &counting);
    return counting.sum;
}

}  // namespace cache_sync

// _queue() -> (queue_table, row_id, xid, queued_at, payload): rows that the caller's snapshot sees and that
// are not yet published everywhere.
Datum cache_sync_queue(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        walk_all(put_unpublished, result);
        return static_cast<Datum>(0);
    });
}

// _decode_payload(bytea) -> (kind, name)
Datum cache_sync_decode_payload(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        bytea *packed = PG_GETARG_BYTEA_PP(0);
        std::string_view payload(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
        while (const auto record = take_record(payload)) {
            RowWriter row;
            row.text(kind_name(record->kind));
            row.value(PointerGetDatum(
                cstring_to_text_with_len(record->text.data(), static_cast<int>(record->text.size()))));
            row.put(result);
        }
        return static_cast<Datum>(0);
    });
}

// _active_queue_table() -> integer: the table that writers use; NULL: nobody has written since the server
// started
Datum cache_sync_active_queue_table(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        DatabaseSlot *slot = my_slot();
        if (slot == nullptr)
            PG_RETURN_NULL();
        PG_RETURN_INT32(static_cast<int32>(pg_atomic_read_u32(&slot->active)));
    });
}
