#include "refresh/own_changes_pg.h"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/visibilitymap.h"
#include "access/xact.h"
#include "access/xlog.h"  // GetXLogInsertRecPtr
#include "catalog/pg_am.h"
#include "miscadmin.h"  // CHECK_FOR_INTERRUPTS
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "utils/memutils.h"
}

namespace cache_sync {
namespace {

struct CopiedRow {
    HeapTuple row;
    bool is_inserted;
};

struct PageRows {
    int count;
    CopiedRow rows[MaxHeapTuplesPerPage];
};

bool inserted_since(HeapTupleHeader header, CommandId command) {
    return !HeapTupleHeaderXminFrozen(header) && !HeapTupleHeaderXminInvalid(header) &&
           TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmin(header)) &&
           HeapTupleHeaderGetCmin(header) >= command;
}

bool deleted_since(HeapTupleHeader header, CommandId command) {
    if ((header->t_infomask & HEAP_XMAX_INVALID) != 0 || HEAP_XMAX_IS_LOCKED_ONLY(header->t_infomask))
        return false;
    return TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)) &&
           HeapTupleHeaderGetCmax(header) >= command;
}

// Copies the statement's rows of a page, which is locked as shortly as that takes.
void copy_own_rows(Relation relation, Buffer buffer, CommandId command, PageRows &found) {
    found.count = 0;
    LockBuffer(buffer, BUFFER_LOCK_SHARE);
    const Page page = BufferGetPage(buffer);
    const OffsetNumber last = PageGetMaxOffsetNumber(page);
    for (OffsetNumber offset = FirstOffsetNumber; offset <= last; ++offset) {
        const ItemId item = PageGetItemId(page, offset);
        if (!ItemIdIsNormal(item))
            continue;
        HeapTupleData row;
        row.t_data = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, item));
        const bool is_inserted = inserted_since(row.t_data, command);
        // One that came and went within the statement is no change.
        if (is_inserted == deleted_since(row.t_data, command))
            continue;
        row.t_len = ItemIdGetLength(item);
        row.t_tableOid = RelationGetRelid(relation);
        ItemPointerSet(&row.t_self, BufferGetBlockNumber(buffer), offset);
        found.rows[found.count++] = {heap_copytuple(&row), is_inserted};
    }
    LockBuffer(buffer, BUFFER_LOCK_UNLOCK);
}

}  // namespace

StatementStart StatementStart::now() {
    return {GetCurrentCommandId(false), GetXLogInsertRecPtr()};
}

bool has_readable_changes(Relation relation) {
    return relation->rd_rel->relam == HEAP_TABLE_AM_OID;
}

void visit_own_changes(Relation relation, const StatementStart &start, ChangedRowVisitor visit,
                       void *context) {
    const bool has_wal = RelationNeedsWAL(relation);
    const BlockNumber blocks = RelationGetNumberOfBlocks(relation);
    BufferAccessStrategy strategy = GetAccessStrategy(BAS_BULKREAD);
    auto *const found = static_cast<PageRows *>(palloc(sizeof(PageRows)));
    const MemoryContext copies =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync changed rows", ALLOCSET_DEFAULT_SIZES);
    Buffer map = InvalidBuffer;
    for (BlockNumber block = 0; block < blocks; ++block) {
        CHECK_FOR_INTERRUPTS();
        // Whoever writes to a page clears its bit.
        if (VM_ALL_VISIBLE(relation, block, &map))
            continue;
        const Buffer buffer = ReadBufferExtended(relation, MAIN_FORKNUM, block, RBM_NORMAL, strategy);
        if (has_wal && BufferGetLSNAtomic(buffer) <= start.wal) {
            ReleaseBuffer(buffer);
            continue;
        }
        const MemoryContext caller = MemoryContextSwitchTo(copies);
        copy_own_rows(relation, buffer, start.command, *found);
        ReleaseBuffer(buffer);
        MemoryContextSwitchTo(caller);
        for (int n = 0; n < found->count; ++n)
            visit(context, found->rows[n].row, found->rows[n].is_inserted);
        MemoryContextReset(copies);
    }
    if (BufferIsValid(map))
        ReleaseBuffer(map);
    MemoryContextDelete(copies);
    FreeAccessStrategy(strategy);
    pfree(found);
}

}  // namespace cache_sync
