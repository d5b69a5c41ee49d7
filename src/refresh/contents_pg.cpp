#include "refresh/contents_pg.h"

#include <charconv>

#include "boundary.h"
#include "capture/rule_ddl_pg.h"
#include "capture/rule_load_pg.h"
#include "capture/transaction_pg.h"
#include "queue/tables_pg.h"
#include "refresh/jobs_pg.h"
#include "refresh/own_changes_pg.h"
#include "settings_pg.h"

extern "C" {
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "commands/tablecmds.h"  // RangeVarCallbackMaintainsTable
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace cache_sync {
namespace {

// How the changed rows become known.
enum class Method {
    own_changes,  // CONCURRENTLY: the rows that the statement wrote
    comparison,   // all rows are new: those before are compared with those after
    no_rules,     // nothing is rendered from the rows
    everything,   // not at all
};

struct Watched {
    Oid view;
    Method method;
    StatementStart start;
    RowDifference *difference;
};

ChangedCounts latest;

constexpr ChangedCounts kUnknown{-1, -1, -1, -1};

Oid view_of(const RefreshMatViewStmt &statement) {
    const Oid relation = RangeVarGetRelid(statement.relation, NoLock, true);
    return OidIsValid(relation) && get_rel_relkind(relation) == RELKIND_MATVIEW ? relation : InvalidOid;
}

void put_contents(Relation relation, RowDifference &difference, bool is_added) {
    const Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TupleTableSlot *const slot = table_slot_create(relation, nullptr);
    TableScanDesc scan = table_beginscan(relation, snapshot, 0, nullptr);
    while (table_scan_getnextslot(scan, ForwardScanDirection, slot)) {
        CHECK_FOR_INTERRUPTS();
        bool is_copy;
        const HeapTuple row = ExecFetchSlotHeapTuple(slot, false, &is_copy);
        if (is_added)
            difference.add(row, rules_of(relation));
        else
            difference.remove(row, rules_of(relation));
        if (is_copy)
            heap_freetuple(row);
    }
    table_endscan(scan);
    ExecDropSingleTupleTableSlot(slot);
    UnregisterSnapshot(snapshot);
}

// All rows will be written anew: takes down the old ones. Readers go on; the statement locks them out later.
void prepare_comparison(const RefreshMatViewStmt &statement, Watched &watched) {
    watched.view = RangeVarGetRelidExtended(statement.relation, ExclusiveLock, 0,
                                            RangeVarCallbackMaintainsTable, nullptr);
    const Relation relation = table_open(watched.view, NoLock);
    if (relation->rd_rel->relkind != RELKIND_MATVIEW || !RelationIsPopulated(relation)) {
        watched.method = Method::everything;
    } else if (rules_of(relation).rule_count != 0) {
        watched.method = Method::comparison;
        watched.difference = RowDifference::create(RelationGetDescr(relation), relation->rd_rel->reltuples);
        put_contents(relation, *watched.difference, false);
    }
    table_close(relation, NoLock);  // the statement insists that nobody here has it open
}

Watched before_refresh(const RefreshMatViewStmt &statement) {
    Watched watched{view_of(statement), Method::everything, {}, nullptr};
    if (!OidIsValid(watched.view) || statement.skipData)
        return watched;
    if (statement.concurrent) {
        watched.method = Method::own_changes;
        watched.start = StatementStart::now();
        return watched;
    }
    watched.method = Method::no_rules;
    if (load_rules(watched.view) != nullptr)
        prepare_comparison(statement, watched);
    return watched;
}

struct OwnChanges {
    Relation relation;
    RowDifference *difference;
};

void put_own_change(void *context, HeapTuple row, bool is_inserted) {
    const auto &changes = *static_cast<OwnChanges *>(context);
    const TableRules &rules = rules_of(changes.relation);
    if (is_inserted)
        changes.difference->add(row, rules);
    else
        changes.difference->remove(row, rules);
}

ChangedCounts touch_own_changes(Relation relation, const StatementStart &start) {
    OwnChanges changes{relation, RowDifference::create(RelationGetDescr(relation), 0)};
    visit_own_changes(relation, start, put_own_change, &changes);
    return changes.difference->touch_changed();
}

ChangedCounts touch_comparison(Relation relation, RowDifference &difference) {
    put_contents(relation, difference, true);
    return difference.touch_changed();
}

// What may have become of the rows is not known.
ChangedCounts touch_unknown(Oid view) {
    touch_everything(view);
    return kUnknown;
}

ChangedCounts touch_changes(Relation relation, const Watched &watched, const QueryCompletion *completion) {
    const Oid view = RelationGetRelid(relation);
    switch (watched.method) {
        case Method::own_changes:
            if (has_readable_changes(relation))
                return touch_own_changes(relation, watched.start);
            break;
        case Method::comparison:
            return touch_comparison(relation, *watched.difference);
        case Method::no_rules:
            // Unless somebody registered it meanwhile.
            if (rules_of(relation).rule_count == 0)
                return {completion != nullptr ? static_cast<std::int64_t>(completion->nprocessed) : -1, -1, 0,
                        0};
            break;
        case Method::everything:
            break;
    }
    return touch_unknown(view);
}

void mark_relation(Oid view) {
    char text[16];
    const auto end = std::to_chars(text, text + sizeof(text), view);
    touch(TouchKind::relation, {text, static_cast<std::size_t>(end.ptr - text)});
}

void after_refresh(const RefreshMatViewStmt &statement, Watched &watched, const QueryCompletion *completion) {
    CommandCounterIncrement();
    const Oid view = view_of(statement);
    if (!OidIsValid(view))
        return;  // an event trigger has dropped it
    if (view != watched.view)
        watched.method = Method::everything;  // the name was given to another one before it was locked
    const Relation relation = table_open(view, AccessShareLock);
    PushActiveSnapshot(GetLatestSnapshot());
    latest = touch_changes(relation, watched, completion);
    PopActiveSnapshot();
    table_close(relation, NoLock);
    if (latest.inserted != 0 || latest.removed != 0)
        mark_relation(view);
}

void name_the_view(void *relation) {
    errcontext("cache_sync looking for the changed rows of materialized view \"%s\"",
               static_cast<const RangeVar *>(relation)->relname);
}

// Runs fn with errors that say what was going on.
template <typename Fn>
void comparing(const RefreshMatViewStmt &statement, Fn fn) {
    ErrorContextCallback frame{error_context_stack, name_the_view, statement.relation};
    error_context_stack = &frame;
    report_phase(RefreshPhase::comparing);
    entry([&] { fn(); });
    report_phase(RefreshPhase::refreshing);
    error_context_stack = frame.previous;
}

}  // namespace

void run_refresh(const RefreshMatViewStmt &statement, const QueryCompletion *completion,
                 void (*run)(void *context), void *context) {
    if (!setting_enabled || !IsTransactionState() || queue_tables() == nullptr) {
        run(context);
        return;
    }
    const MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync refresh", ALLOCSET_DEFAULT_SIZES);
    const MemoryContext caller = MemoryContextSwitchTo(memory);
    Watched watched;
    comparing(statement, [&] { watched = before_refresh(statement); });
    MemoryContextSwitchTo(caller);
    run(context);
    MemoryContextSwitchTo(memory);
    comparing(statement, [&] { after_refresh(statement, watched, completion); });
    MemoryContextSwitchTo(caller);
    MemoryContextDelete(memory);
}

const ChangedCounts &latest_changes() {
    return latest;
}

}  // namespace cache_sync
