// The guard of register_view(), unregister_view() and refresh(): they are for the owner of the view, but
// write tables that only the extension's owner may write. SECURITY DEFINER alone would not know the caller.
//
//   NAME(view, ...)            this function: is it a materialized view, does the caller own it?
//   _NAME(caller, view, ...)   SECURITY DEFINER and callable by nobody else, which does the work
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#include "boundary.h"

extern "C" {
#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"  // GetUserId
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_sync_owner_only);
}

namespace cache_sync {
namespace {

const char *hint_for_kind(char relkind) {
    switch (relkind) {
        case RELKIND_RELATION:
        case RELKIND_PARTITIONED_TABLE:
            return "For keys of a table's rows, use cache_sync.register_table().";
        case RELKIND_VIEW:
            return "Make it a materialized view, or register the tables that it reads with "
                   "cache_sync.register_table().";
        default:
            return "Give the name of a materialized view.";
    }
}

// Takes no lock on the view, which a refresh may hold for long.
void check_view(Oid view) {
    const HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(view));
    if (!HeapTupleIsValid(tuple))
        throw Failure("42P01", "relation with OID %u does not exist", view).hint("It may have been dropped.");
    const auto *const row = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
    const char relkind = row->relkind;
    const NameData name = row->relname;
    ReleaseSysCache(tuple);
    if (relkind != RELKIND_MATVIEW)
        throw Failure("42809", "\"%s\" is not a materialized view", NameStr(name))
            .hint("%s", hint_for_kind(relkind));
    if (!object_ownercheck(RelationRelationId, view, GetUserId()))
        throw Failure("42501", "must be owner of materialized view %s", NameStr(name))
            .hint("Have its owner, or a member of that role, do it.");
}

// The function _NAME beside the guard NAME, which takes the caller before NAME's arguments.
Oid function_behind(Oid guard) {
    const HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(guard));
    if (!HeapTupleIsValid(tuple))
        throw Failure("XX000", "no function with OID %u", guard);
    const auto *const row = reinterpret_cast<Form_pg_proc>(GETSTRUCT(tuple));
    Oid types[FUNC_MAX_ARGS] = {OIDOID};
    const int count = row->pronargs;
    memcpy(types + 1, row->proargtypes.values, sizeof(Oid) * count);
    List *const name = list_make2(makeString(get_namespace_name(row->pronamespace)),
                                  makeString(psprintf("_%s", NameStr(row->proname))));
    ReleaseSysCache(tuple);
    return LookupFuncName(name, count + 1, types, false);
}

Datum call_behind(FunctionCallInfo guard) {
    if (guard->args[0].isnull)
        throw Failure("22004", "\"view\" must not be NULL").hint("Give the name of a materialized view.");
    check_view(DatumGetObjectId(guard->args[0].value));
    FmgrInfo function;
    fmgr_info(function_behind(guard->flinfo->fn_oid), &function);
    LOCAL_FCINFO(behind, FUNC_MAX_ARGS);
    InitFunctionCallInfoData(*behind, &function, guard->nargs + 1, guard->fncollation, nullptr, nullptr);
    behind->args[0] = {ObjectIdGetDatum(GetUserId()), false};
    for (int n = 0; n < guard->nargs; ++n)
        behind->args[n + 1] = guard->args[n];
    const Datum result = FunctionCallInvoke(behind);
    guard->isnull = behind->isnull;
    return result;
}

}  // namespace
}  // namespace cache_sync

// register_view(), unregister_view(), refresh()
Datum cache_sync_owner_only(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] { return cache_sync::call_behind(fcinfo); });
}
