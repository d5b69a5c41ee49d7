#include "capture/rule_ddl_pg.h"

#include "boundary.h"
#include "capture/change_trigger_pg.h"
#include "capture/key_template.h"
#include "capture/rule_load_pg.h"
#include "capture/transaction_pg.h"
#include "settings_pg.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/xact.h"  // TransactionIdIsCurrentTransactionId
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "commands/event_trigger.h"
#include "fmgr.h"
#include "miscadmin.h"  // GetUserId
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"  // RelationGetNumberOfBlocks
#include "tcop/deparse_utility.h"
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"  // SnapshotAny

PG_FUNCTION_INFO_V1(cache_sync_touch_everything);
PG_FUNCTION_INFO_V1(cache_sync_touch_altered);
PG_FUNCTION_INFO_V1(cache_sync_touch_dropped);
PG_FUNCTION_INFO_V1(cache_sync_renames_enum_value);
PG_FUNCTION_INFO_V1(cache_sync_enables_triggers);
PG_FUNCTION_INFO_V1(cache_sync_before_alter);
}

namespace cache_sync {
namespace {

constinit TouchText scratch;

// Tags cannot be listed by pattern, so tags with columns take everything with them.
void touch_all_names(TouchKind kind, const char *name_template) {
    scratch.clear();
    TemplateReader reader(name_template);
    bool is_fixed = true;
    while (const auto part = reader.next()) {
        is_fixed &= !part->is_column;
        scratch.append(part->text);
    }
    if (is_fixed && !reader.error()) {
        touch(kind, scratch.view());
    } else if (kind == TouchKind::key) {
        scratch.clear();
        append_glob(name_template, scratch);
        touch(TouchKind::pattern, scratch.view());
    } else {
        touch(TouchKind::flush, {});
    }
}

// Whether the table, or what inherits from it, can hold any row at all. Most partitions that are attached are
// new and empty.
bool can_have_rows(Oid relation) {
    bool found = false;
    ListCell *cell;
    foreach (cell, find_all_inheritors(relation, AccessShareLock, nullptr)) {
        const ::Relation member = relation_open(lfirst_oid(cell), NoLock);
        if (member->rd_rel->relkind == RELKIND_FOREIGN_TABLE)
            found = true;
        else if (RELKIND_HAS_STORAGE(member->rd_rel->relkind))
            found = found || RelationGetNumberOfBlocks(member) != 0;
        relation_close(member, NoLock);
    }
    return found;
}

// The family has changed: descendants' compiled rules are of other ancestors now. A transaction that is
// writing one of them has read the rules already, and must end first.
void renew_rules(Oid relation) {
    find_all_inheritors(relation, ShareRowExclusiveLock, nullptr);
    CacheInvalidateRelcacheByRelid(rule_table());
}

void touch_family_change(Oid parent, Oid child) {
    renew_rules(child);
    if (can_have_rows(child))
        touch_everything(parent);
}

void touch_members(Oid relation) {
    ListCell *cell;
    foreach (cell, find_all_inheritors(relation, NoLock, nullptr))
        touch_everything(lfirst_oid(cell));
}

// One step of an ALTER TABLE; changed: what the step was about, if it was another table.
void touch_step(AlterTableType type, Oid relation, Oid changed, bool is_restoring) {
    switch (type) {
        case AT_AttachPartition:
        case AT_DetachPartition:
        case AT_DetachPartitionFinalize:
            return touch_family_change(relation, changed);
        case AT_AddInherit:
        case AT_DropInherit:
            return touch_family_change(changed, relation);
        case AT_AlterColumnType:
            // The text of values may be another one, even where no row is written again.
            if (can_have_rows(relation))
                touch_members(relation);
            return;
        case AT_EnableTrig:
        case AT_EnableAlwaysTrig:
        case AT_EnableReplicaTrig:
            // A dump creates triggers so.
            if (!is_restoring)
                touch_members(relation);
            return;
        case AT_EnableTrigAll:
        case AT_EnableTrigUser:
            // What changed while triggers were disabled was not seen.
            return touch_members(relation);
        default:
            return;
    }
}

void touch_altered(const CollectedCommand &command, bool is_restoring) {
    if (command.type != SCT_AlterTable)
        return;
    ListCell *cell;
    foreach (cell, command.d.alterTable.subcmds) {
        const auto &step = *static_cast<CollectedATSubcmd *>(lfirst(cell));
        if (IsA(step.parsetree, AlterTableCmd))
            touch_step(reinterpret_cast<AlterTableCmd *>(step.parsetree)->subtype,
                       command.d.alterTable.objectId, step.address.objectId, is_restoring);
    }
}

bool enables_all_triggers(const CollectedCommand &command) {
    if (command.type != SCT_AlterTable)
        return false;
    ListCell *cell;
    foreach (cell, command.d.alterTable.subcmds) {
        const auto *const step = static_cast<CollectedATSubcmd *>(lfirst(cell))->parsetree;
        if (!IsA(step, AlterTableCmd))
            continue;
        const AlterTableType type = reinterpret_cast<const AlterTableCmd *>(step)->subtype;
        if (type == AT_EnableTrigAll || type == AT_EnableTrigUser)
            return true;
    }
    return false;
}

// The parents that the relation had until this transaction dropped it. The catalogue shows them no more, and
// no snapshot is sure to: the transaction's own may be older than the relation's place in the family.
void touch_dropped(Oid relation) {
    touch_everything(relation);
    const ::Relation inherits = table_open(InheritsRelationId, AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(relation));
    SysScanDesc scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, SnapshotAny, 1, &key);
    List *parents = NIL;
    while (HeapTuple tuple = systable_getnext(scan)) {
        const HeapTupleHeader header = tuple->t_data;
        if ((header->t_infomask & HEAP_XMAX_INVALID) == 0 &&
            TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetUpdateXid(header)))
            parents = list_append_unique_oid(parents,
                                             reinterpret_cast<Form_pg_inherits>(GETSTRUCT(tuple))->inhparent);
    }
    systable_endscan(scan);
    table_close(inherits, AccessShareLock);
    ListCell *cell;
    foreach (cell, parents)
        touch_everything(lfirst_oid(cell));
}

// DETACH CONCURRENTLY commits in its middle, from when on the partition's rows are gone for everybody: so
// what they are known as must be queued before that commit.
void before_alter(const Node *statement) {
    if (!IsA(statement, AlterTableStmt))
        return;
    const auto *const alter = reinterpret_cast<const AlterTableStmt *>(statement);
    ListCell *cell;
    foreach (cell, alter->cmds) {
        const auto *const step = lfirst_node(AlterTableCmd, cell);
        if (step->subtype != AT_DetachPartition ||
            !reinterpret_cast<const PartitionCmd *>(step->def)->concurrent)
            continue;
        const Oid relation = RangeVarGetRelid(alter->relation, NoLock, true);
        // Whoever is not the owner gets an error in a moment.
        if (OidIsValid(relation) && object_ownercheck(RelationRelationId, relation, GetUserId()))
            touch_everything(relation);
    }
}

const CollectedCommand &command_argument(FunctionCallInfo call_info) {
    return *reinterpret_cast<const CollectedCommand *>(DatumGetPointer(call_info->args[0].value));
}

}  // namespace

void touch_everything(Oid relation) {
    if (!setting_enabled)
        return;
    mark_if_watched(relation);
    for (const StoredRule *rule = load_rules(relation); rule != nullptr; rule = rule->next) {
        if (rule->key != nullptr)
            touch_all_names(TouchKind::key, rule->key);
        for (int n = 0; n < rule->tag_count; ++n)
            touch_all_names(TouchKind::tag, rule->tags[n]);
    }
}

}  // namespace cache_sync

// _touch_everything(relation oid)
Datum cache_sync_touch_everything(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::touch_everything(PG_GETARG_OID(0));
        PG_RETURN_VOID();
    });
}

// _touch_altered(command pg_ddl_command, is_restoring boolean): what an ALTER TABLE changed without touching
// a row
Datum cache_sync_touch_altered(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::touch_altered(cache_sync::command_argument(fcinfo), PG_GETARG_BOOL(1));
        PG_RETURN_VOID();
    });
}

// _touch_dropped(relation oid): of a table that the running command dropped; before its rules are deleted
Datum cache_sync_touch_dropped(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::touch_dropped(PG_GETARG_OID(0));
        PG_RETURN_VOID();
    });
}

// _renames_enum_value(command pg_ddl_command) -> boolean
Datum cache_sync_renames_enum_value(PG_FUNCTION_ARGS) {
    const CollectedCommand &command = cache_sync::command_argument(fcinfo);
    PG_RETURN_BOOL(command.type == SCT_Simple && IsA(command.parsetree, AlterEnumStmt) &&
                   reinterpret_cast<const AlterEnumStmt *>(command.parsetree)->oldVal != nullptr);
}

// _enables_triggers(command pg_ddl_command) -> boolean: ENABLE TRIGGER ALL or USER
Datum cache_sync_enables_triggers(PG_FUNCTION_ARGS) {
    PG_RETURN_BOOL(cache_sync::enables_all_triggers(cache_sync::command_argument(fcinfo)));
}

// _before_alter() -> event_trigger
Datum cache_sync_before_alter(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        if (!CALLED_AS_EVENT_TRIGGER(fcinfo))
            throw cache_sync::Failure("39P03", "cache_sync._before_alter() is an event trigger function")
                .hint("CREATE EXTENSION cache_sync places it.");
        cache_sync::before_alter(reinterpret_cast<EventTriggerData *>(fcinfo->context)->parsetree);
        PG_RETURN_VOID();
    });
}
