// Placing triggers and following DDL decide by the rules and views that the transaction's snapshot shows,
// while DDL itself acts on the newest catalogue. In REPEATABLE READ and SERIALIZABLE the two may differ; then
// a retry is right, and going on would lose changes without a word.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#include "boundary.h"

extern "C" {
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "fmgr.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(cache_sync_check_snapshot);
}

namespace cache_sync {
namespace {

// Is a row version visible to one snapshot and not to the other, made or ended by somebody else?
bool differs(Relation relation, Snapshot shown, Snapshot other) {
    bool found = false;
    TupleTableSlot *slot = table_slot_create(relation, nullptr);
    TableScanDesc scan = table_beginscan(relation, shown, 0, nullptr);
    while (!found && table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        bool should_free;
        HeapTuple tuple = ExecFetchSlotHeapTuple(slot, false, &should_free);
        const bool is_mine = TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetXmin(tuple->t_data)) ||
                             TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(tuple->t_data));
        found = !is_mine && !table_tuple_satisfies_snapshot(relation, slot, other);
        if (should_free)
            heap_freetuple(tuple);
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(slot);
    return found;
}

bool changed_since_snapshot(const char *table) {
    const Oid oid = get_relname_relid(table, get_namespace_oid("cache_sync", false));
    Relation relation = table_open(oid, AccessShareLock);
    Snapshot mine = RegisterSnapshot(GetTransactionSnapshot());
    Snapshot latest = RegisterSnapshot(GetLatestSnapshot());
    const bool changed = differs(relation, latest, mine) || differs(relation, mine, latest);
    UnregisterSnapshot(latest);
    UnregisterSnapshot(mine);
    table_close(relation, AccessShareLock);
    return changed;
}

}  // namespace
}  // namespace cache_sync

// _check_snapshot(): raises serialization_failure if rules or views changed since the transaction's snapshot
// was taken.
Datum cache_sync_check_snapshot(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        for (const char *table : {"rule", "view"})
            if (IsolationUsesXactSnapshot() && changed_since_snapshot(table))
                throw Failure("40001",
                              "could not serialize access: %ss of cache_sync changed since this "
                              "transaction's snapshot",
                              table)
                    .hint("Retry the transaction, or use READ COMMITTED.");
        PG_RETURN_VOID();
    });
}
