#include "queue/walk_pg.h"

#include "queue/tables_pg.h"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "miscadmin.h"  // CHECK_FOR_INTERRUPTS
#include "storage/bufmgr.h"
#include "utils/timestamp.h"
#include "varatt.h"
}

namespace cache_sync {
namespace {

std::string_view payload_of(HeapTuple tuple, TupleDesc description) {
    bool is_null;
    const Datum value = heap_getattr(tuple, kPayloadAttribute, description, &is_null);
    const auto *packed = reinterpret_cast<const struct varlena *>(DatumGetPointer(value));
    return {VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed)};
}

std::int64_t queued_at_of(HeapTuple tuple, TupleDesc description) {
    bool is_null;
    return DatumGetTimestampTz(heap_getattr(tuple, kQueuedAtAttribute, description, &is_null));
}

}  // namespace

RowPosition walk_rows(Relation relation, Snapshot snapshot, RowPosition from, std::uint32_t last_block,
                      RowVisitor visit, void *context) {
    const BlockNumber blocks = RelationGetNumberOfBlocks(relation);
    RowPosition next{from.table, 0, kWalkEnd};
    if (from.block >= blocks || from.block > last_block)
        return next;
    const BlockNumber count = (last_block < blocks ? last_block + 1 : blocks) - from.block;
    TableScanDesc scan = table_beginscan_strat(relation, snapshot, 0, nullptr, true, false);
    heap_setscanlimits(scan, from.block, count);
    TupleDesc description = RelationGetDescr(relation);
    while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
        const RowPosition row{from.table, ItemPointerGetOffsetNumber(&tuple->t_self),
                              ItemPointerGetBlockNumber(&tuple->t_self)};
        if (row.block == from.block && row.offset < from.offset)
            continue;
        CHECK_FOR_INTERRUPTS();
        if (!visit(context, row, HeapTupleHeaderGetXmin(tuple->t_data), queued_at_of(tuple, description),
                   payload_of(tuple, description))) {
            next = {row.table, static_cast<std::uint16_t>(row.offset + 1), row.block};
            break;
        }
    }
    table_endscan(scan);
    return next;
}

}  // namespace cache_sync
