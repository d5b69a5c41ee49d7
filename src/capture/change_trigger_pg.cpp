// The trigger function of tables that refreshed views read: "this relation changed", once a transaction.
//
// Local writes fire it once a statement. Logical apply fires no statement triggers, only row triggers that
// are enabled for replicas, so there it runs for every row and must cost next to nothing.
#include "capture/change_trigger_pg.h"

#include <charconv>

#include "boundary.h"
#include "capture/transaction_pg.h"
#include "settings_pg.h"

extern "C" {
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"  // HEAP_TABLE_AM_OID
#include "commands/trigger.h"
#include "fmgr.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_sync_capture_change);
PG_FUNCTION_INFO_V1(cache_sync_touch_view);
PG_FUNCTION_INFO_V1(cache_sync_touch_watched);
}

namespace cache_sync {
namespace {

void touch_oid(TouchKind kind, Oid oid) {
    char text[10];  // 4294967295
    const char *const end = std::to_chars(text, text + sizeof(text), oid).ptr;
    touch(kind, {text, static_cast<std::size_t>(end - text)});
}

// What was marked last, and by which subtransaction: a mark is gone when that one is rolled back. Neither of
// the ids is used again.
struct Mark {
    LocalTransactionId transaction;
    SubTransactionId level;
    Oid relation;

    bool operator==(const Mark &) const = default;
};

constinit Mark last_mark{};

void mark(Oid relation) {
    const Mark now{MyProc->vxid.lxid, GetCurrentSubTransactionId(), relation};
    if (now == last_mark)
        return;
    touch_oid(TouchKind::relation, relation);
    last_mark = now;
}

// The statement came upon no row, such as a DELETE of what is expired: the statistics know of no change in
// this transaction. Not for parents, whose statements change other tables; and only heaps count for sure.
bool has_changed_nothing(Relation table) {
    return table->rd_rel->relkind == RELKIND_RELATION && !table->rd_rel->relhassubclass &&
           table->rd_rel->relam == HEAP_TABLE_AM_OID && pgstat_should_count_relation(table) &&
           table->pgstat_info->trans == nullptr;
}

void capture_change(FunctionCallInfo call_info) {
    if (!CALLED_AS_TRIGGER(call_info))
        throw Failure("39P01", "cache_sync.capture_change() is a trigger function")
            .hint("It is placed on tables by cache_sync.register_view().");
    const auto &trigger = *reinterpret_cast<const TriggerData *>(call_info->context);
    if (!TRIGGER_FIRED_AFTER(trigger.tg_event))
        throw Failure("39P01", "cache_sync.capture_change() must be fired AFTER a change")
            .hint("It is placed on tables by cache_sync.register_view().");
    if (!setting_enabled)
        return;
    if (TRIGGER_FIRED_FOR_STATEMENT(trigger.tg_event) && !TRIGGER_FIRED_BY_TRUNCATE(trigger.tg_event) &&
        has_changed_nothing(trigger.tg_relation))
        return;
    mark(RelationGetRelid(trigger.tg_relation));
}

// The statement triggers are on everything that a view reads, so they tell.
bool is_watched(Relation table) {
    const TriggerDesc *const triggers = table->trigdesc;
    if (triggers == nullptr || !triggers->trig_truncate_after_statement)
        return false;
    for (int n = 0; n < triggers->numtriggers; ++n) {
        const Oid function = triggers->triggers[n].tgfoid;
        const char *const name = get_func_name(function);
        if (name != nullptr && strcmp(name, "capture_change") == 0 &&
            get_func_namespace(function) == get_namespace_oid("cache_sync", true))
            return true;
    }
    return false;
}

}  // namespace

void mark_if_watched(Oid relation) {
    if (!setting_enabled || !SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)))
        return;
    const Relation table = try_relation_open(relation, AccessShareLock);
    if (table == nullptr)
        return;
    const bool watched = is_watched(table);
    relation_close(table, AccessShareLock);
    if (watched)
        mark(relation);
}

}  // namespace cache_sync

// capture_change() -> trigger
Datum cache_sync_capture_change(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] {
        cache_sync::capture_change(fcinfo);
        return PointerGetDatum(nullptr);
    });
}

// _touch_watched(relation oid): the views that read it are stale
Datum cache_sync_touch_watched(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::mark_if_watched(PG_GETARG_OID(0));
        PG_RETURN_VOID();
    });
}

// _touch_view(view oid): it is refreshed once the transaction has committed
Datum cache_sync_touch_view(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::touch_oid(cache_sync::TouchKind::view, PG_GETARG_OID(0));
        PG_RETURN_VOID();
    });
}
