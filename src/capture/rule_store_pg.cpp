// SQL functions that check, store and delete rules. register_table() and unregister_table() are made of them.
#include "boundary.h"
#include "capture/condition_pg.h"
#include "capture/pinned_settings_pg.h"
#include "capture/rule_check_pg.h"
#include "capture/rule_load_pg.h"
#include "capture/subtransaction_pg.h"

extern "C" {
#include "access/relation.h"
#include "catalog/pg_inherits.h"  // find_all_inheritors
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "storage/lmgr.h"  // LockRelationOid
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(cache_sync_check_rule);
PG_FUNCTION_INFO_V1(cache_sync_check_view_rule);
PG_FUNCTION_INFO_V1(cache_sync_store_rule);
PG_FUNCTION_INFO_V1(cache_sync_delete_rules);
PG_FUNCTION_INFO_V1(cache_sync_condition_error);
}

namespace cache_sync {
namespace {

enum RuleArgument { kRelation, kKey, kTags, kColumns, kCondition, kArguments };

constexpr Oid kArgumentTypes[] = {REGCLASSOID, TEXTOID, TEXTARRAYOID, NAMEARRAYOID, TEXTOID, INT8OID};

bool is_null(FunctionCallInfo call_info, int argument) {
    return call_info->args[argument].isnull;
}

Oid relation_argument(FunctionCallInfo call_info) {
    if (is_null(call_info, kRelation))
        throw Failure("22004", "\"relation\" must not be NULL").hint("Give the name of a table.");
    return DatumGetObjectId(call_info->args[kRelation].value);
}

bool has_tags(FunctionCallInfo call_info) {
    return !is_null(call_info, kTags) && ARR_NDIM(DatumGetArrayTypeP(call_info->args[kTags].value)) != 0;
}

// The canonical condition, nullptr if there is none.
char *check_rule(FunctionCallInfo call_info) {
    const Relation table = open_table_for_rules(relation_argument(call_info));
    check_owner(table);
    if (is_null(call_info, kKey) && !has_tags(call_info))
        throw Failure("22023", "neither \"key\" nor \"tags\" is given")
            .hint("Say what a change of a row invalidates, such as key => 'product:{product_id}'.");
    if (!is_null(call_info, kKey))
        check_key(table, TextDatumGetCString(call_info->args[kKey].value));
    if (has_tags(call_info))
        check_tags(table, call_info->args[kTags].value);
    if (!is_null(call_info, kColumns))
        check_columns(table, call_info->args[kColumns].value);
    char *condition = nullptr;
    if (!is_null(call_info, kCondition))
        condition = canonical_condition(table, TextDatumGetCString(call_info->args[kCondition].value));
    relation_close(table, AccessShareLock);
    return condition;
}

// Keeps the view locked, so that nobody drops it before its registration is committed.
void check_view_rule(FunctionCallInfo call_info) {
    const Relation view = open_view_for_rules(relation_argument(call_info));
    if (!is_null(call_info, kKey))
        check_key(view, TextDatumGetCString(call_info->args[kKey].value));
    if (has_tags(call_info))
        check_tags(view, call_info->args[kTags].value);
    relation_close(view, NoLock);
}

void check_owner_of(Oid relation) {
    const Relation table = open_table_for_rules(relation);
    check_owner(table);
    relation_close(table, AccessShareLock);
}

// Runs fn with SPI, as the owner of the rule table: nobody else has rights on it.
template <typename Fn>
void as_rule_owner(Fn &&fn) {
    const Relation table = relation_open(rule_table(), AccessShareLock);
    const Oid owner = table->rd_rel->relowner;
    relation_close(table, AccessShareLock);

    Oid user;
    int security;
    GetUserIdAndSecContext(&user, &security);
    // An error gives the rights back at the end of the (sub)transaction.
    SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
    with_pinned_settings(kPinSearchPath, [&] {
        SPI_connect();
        fn();
        SPI_finish();
    });
    SetUserIdAndSecContext(user, security);
}

// Values for $1 to $6 of the statements below.
struct Parameters {
    Datum values[kArguments + 1];
    char nulls[kArguments + 1];

    void run(const char *statement, int count, int expected) {
        const int result = SPI_execute_with_args(statement, count, const_cast<Oid *>(kArgumentTypes), values,
                                                 nulls, false, 0);
        if (result != expected)
            throw Failure("XX000", "SPI answered %s", SPI_result_code_string(result));
    }
};

Parameters parameters_of(FunctionCallInfo call_info, int count) {
    Parameters parameters;
    for (int n = 0; n < count; ++n) {
        parameters.values[n] = call_info->args[n].value;
        parameters.nulls[n] = is_null(call_info, n) ? 'n' : ' ';
    }
    return parameters;
}

struct FoundRule {
    std::int64_t id;  // 0: none
    bool is_same;
};

// Waits for a transaction that is just changing this rule.
FoundRule find_rule(Parameters &parameters) {
    parameters.run(
        "SELECT id, tags = $3 AND columns IS NOT DISTINCT FROM $4 AND condition IS NOT DISTINCT FROM $5 "
        "FROM cache_sync.rule WHERE relation = $1 AND key IS NOT DISTINCT FROM $2 FOR SHARE",
        kArguments, SPI_OK_SELECT);
    if (SPI_processed == 0)
        return {0, false};
    bool is_null;
    const HeapTuple row = SPI_tuptable->vals[0];
    const TupleDesc shape = SPI_tuptable->tupdesc;
    return {DatumGetInt64(SPI_getbinval(row, shape, 1, &is_null)),
            DatumGetBool(SPI_getbinval(row, shape, 2, &is_null))};
}

std::int64_t write_rule(Parameters &parameters, const FoundRule &found) {
    if (found.id != 0) {
        parameters.values[kArguments] = Int64GetDatum(found.id);
        parameters.nulls[kArguments] = ' ';
        parameters.run("UPDATE cache_sync.rule SET tags = $3, columns = $4, condition = $5 WHERE id = $6",
                       kArguments + 1, SPI_OK_UPDATE);
        return found.id;
    }
    parameters.run(
        "INSERT INTO cache_sync.rule (relation, key, tags, columns, condition) VALUES ($1, $2, $3, $4, $5) "
        "RETURNING id",
        kArguments, SPI_OK_INSERT_RETURNING);
    bool is_null;
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

std::int64_t store_rule(FunctionCallInfo call_info) {
    const Oid relation = relation_argument(call_info);
    check_owner_of(relation);
    Parameters parameters = parameters_of(call_info, kArguments);
    if (is_null(call_info, kTags)) {
        parameters.values[kTags] = PointerGetDatum(construct_empty_array(TEXTOID));
        parameters.nulls[kTags] = ' ';
    }
    std::int64_t id = 0;
    as_rule_owner([&] {
        FoundRule found = find_rule(parameters);
        if (found.is_same) {
            id = found.id;
            return;
        }
        // A transaction that is writing rows now has read the rules already: it must end before this one
        // commits. Writers of a partition lock nothing but the partition.
        LockRelationOid(relation, ShareRowExclusiveLock);
        find_all_inheritors(relation, ShareRowExclusiveLock, nullptr);
        found = find_rule(parameters);
        id = write_rule(parameters, found);
    });
    return id;
}

std::uint64_t delete_rules(FunctionCallInfo call_info) {
    check_owner_of(relation_argument(call_info));
    Parameters parameters = parameters_of(call_info, 2);
    std::uint64_t deleted = 0;
    as_rule_owner([&] {
        parameters.run("DELETE FROM cache_sync.rule WHERE relation = $1 AND ($2 IS NULL OR key = $2)", 2,
                       SPI_OK_DELETE);
        deleted = SPI_processed;
    });
    return deleted;
}

// Why a stored condition does not work any more, as for a writer; nullptr: it does.
const char *condition_error(Oid relation, const char *condition) {
    const Relation table = try_relation_open(relation, AccessShareLock);
    if (table == nullptr)
        return nullptr;
    const Attempt compiled = attempt([&] { Condition::compile(table, condition, 0, CurrentMemoryContext); });
    relation_close(table, AccessShareLock);
    return compiled.succeeded ? nullptr : pstrdup(compiled.message);
}

}  // namespace
}  // namespace cache_sync

// _check_rule(relation regclass, key text, tags text[], columns name[], condition text) -> text
Datum cache_sync_check_rule(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] {
        const char *const condition = cache_sync::check_rule(fcinfo);
        fcinfo->isnull = condition == nullptr;
        return condition == nullptr ? Datum{0} : CStringGetTextDatum(condition);
    });
}

// _check_view_rule(view regclass, key text, tags text[])
Datum cache_sync_check_view_rule(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::check_view_rule(fcinfo);
        PG_RETURN_VOID();
    });
}

// _store_rule(relation regclass, key text, tags text[], columns name[], condition text) -> bigint
Datum cache_sync_store_rule(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] { return Int64GetDatum(cache_sync::store_rule(fcinfo)); });
}

// _delete_rules(relation regclass, key text) -> integer
Datum cache_sync_delete_rules(PG_FUNCTION_ARGS) {
    return cache_sync::entry(
        [&] { return Int32GetDatum(static_cast<int32>(cache_sync::delete_rules(fcinfo))); });
}

// _condition_error(relation oid, condition text) -> text
Datum cache_sync_condition_error(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        const char *const error =
            cache_sync::condition_error(PG_GETARG_OID(0), text_to_cstring(PG_GETARG_TEXT_PP(1)));
        if (error == nullptr)
            PG_RETURN_NULL();
        PG_RETURN_TEXT_P(cstring_to_text(error));
    });
}
