// What the query of a view reads: relations, and functions that may answer otherwise next time. Dependencies
// in the catalogue do not tell, because nothing of PostgreSQL's own is in there.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#include "boundary.h"
#include "observe/set_returning_pg.h"

extern "C" {
#include "catalog/pg_proc.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "nodes/readfuncs.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

PG_FUNCTION_INFO_V1(cache_sync_query_reads);
PG_FUNCTION_INFO_V1(cache_sync_lock_relation);
}

namespace cache_sync {
namespace {

void put(ReturnSetInfo *result, char kind, Oid object, const char *name) {
    RowWriter row;
    row.value(CharGetDatum(kind)).oid(object).text(name);
    row.put(result);
}

bool note_function(Oid function, void *context) {
    if (func_volatile(function) != PROVOLATILE_IMMUTABLE)
        put(static_cast<ReturnSetInfo *>(context), 'f', function, nullptr);
    return false;
}

// The keyword of what is neither a function nor a constant.
const char *value_name(SQLValueFunctionOp op) {
    switch (op) {
        case SVFOP_CURRENT_DATE:
            return "CURRENT_DATE";
        case SVFOP_CURRENT_TIME:
        case SVFOP_CURRENT_TIME_N:
            return "CURRENT_TIME";
        case SVFOP_CURRENT_TIMESTAMP:
        case SVFOP_CURRENT_TIMESTAMP_N:
            return "CURRENT_TIMESTAMP";
        case SVFOP_LOCALTIME:
        case SVFOP_LOCALTIME_N:
            return "LOCALTIME";
        case SVFOP_LOCALTIMESTAMP:
        case SVFOP_LOCALTIMESTAMP_N:
            return "LOCALTIMESTAMP";
        case SVFOP_CURRENT_ROLE:
            return "CURRENT_ROLE";
        case SVFOP_CURRENT_USER:
        case SVFOP_USER:
            return "CURRENT_USER";
        case SVFOP_SESSION_USER:
            return "SESSION_USER";
        case SVFOP_CURRENT_CATALOG:
            return "CURRENT_CATALOG";
        case SVFOP_CURRENT_SCHEMA:
            return "CURRENT_SCHEMA";
    }
    return "a value of the session";
}

bool note_reads(Node *node, void *context) {
    if (node == nullptr)
        return false;
    auto *const result = static_cast<ReturnSetInfo *>(context);
    if (IsA(node, Query))
        return query_tree_walker(reinterpret_cast<Query *>(node), note_reads, context,
                                 QTW_EXAMINE_RTES_BEFORE);
    if (IsA(node, RangeTblEntry)) {
        const auto *const entry = reinterpret_cast<RangeTblEntry *>(node);
        if (entry->rtekind == RTE_RELATION)
            put(result, 'r', entry->relid, nullptr);
        return false;  // the walker goes on into it by itself
    }
    if (IsA(node, SQLValueFunction))
        put(result, 'v', InvalidOid, value_name(reinterpret_cast<SQLValueFunction *>(node)->op));
    else if (IsA(node, TableSampleClause))
        put(result, 'v', InvalidOid, "TABLESAMPLE");
    check_functions_in_node(node, note_function, context);
    return expression_tree_walker(node, note_reads, context);
}

void query_reads(FunctionCallInfo call_info) {
    ReturnSetInfo *const result = begin_result(call_info);
    const char *const query = TextDatumGetCString(call_info->args[0].value);
    note_reads(static_cast<Node *>(stringToNode(query)), result);
}

}  // namespace
}  // namespace cache_sync

// _query_reads(query pg_node_tree) -> kind "char", object oid, name text
//   r: relation, f: function that is not immutable, v: the name of something else that changes
Datum cache_sync_query_reads(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::query_reads(fcinfo);
        return Datum{0};
    });
}

// _lock_relation(relation oid, mode integer) -> boolean: until the transaction ends; false: it is gone
Datum cache_sync_lock_relation(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        const Oid relation = PG_GETARG_OID(0);
        LockRelationOid(relation, PG_GETARG_INT32(1));
        PG_RETURN_BOOL(SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relation)));
    });
}
