#include "capture/rule_load_pg.h"

#include <string_view>

#include "failure.h"

extern "C" {
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
}

namespace cache_sync {
namespace {

// The relation itself, then what it inherits from, to any depth.
List *with_ancestors(Oid relation) {
    List *found = list_make1_oid(relation);
    const ::Relation inherits = table_open(InheritsRelationId, AccessShareLock);
    for (int n = 0; n < list_length(found); ++n) {
        ScanKeyData key;
        ScanKeyInit(&key, Anum_pg_inherits_inhrelid, BTEqualStrategyNumber, F_OIDEQ,
                    ObjectIdGetDatum(list_nth_oid(found, n)));
        SysScanDesc scan = systable_beginscan(inherits, InheritsRelidSeqnoIndexId, true, nullptr, 1, &key);
        while (HeapTuple tuple = systable_getnext(scan)) {
            const auto *row = reinterpret_cast<Form_pg_inherits>(GETSTRUCT(tuple));
            found = list_append_unique_oid(found, row->inhparent);
        }
        systable_endscan(scan);
    }
    table_close(inherits, AccessShareLock);
    return found;
}

// Columns are found by name: an upgrade may add some.
struct RuleRow {
    TupleDesc shape;
    HeapTuple tuple;

    Datum get(const char *name, bool *is_null) const {
        for (int n = 0; n < shape->natts; ++n) {
            const Form_pg_attribute column = TupleDescAttr(shape, n);
            if (!column->attisdropped && std::string_view(name) == NameStr(column->attname))
                return heap_getattr(tuple, n + 1, shape, is_null);
        }
        throw Failure("42703", "table cache_sync.rule has no column \"%s\"", name)
            .hint("Run ALTER EXTENSION cache_sync UPDATE.");
    }
    Datum get(const char *name) const {
        bool is_null;
        return get(name, &is_null);
    }
    const char *get_text(const char *name) const {
        bool is_null;
        const Datum value = get(name, &is_null);
        return is_null ? nullptr : TextDatumGetCString(value);
    }
};

// An array of text or name; its NULLs are left out.
const char **texts_of(Datum array, Oid element, int *count) {
    Datum *values;
    bool *nulls;
    int total;
    const bool is_name = element == NAMEOID;
    deconstruct_array(DatumGetArrayTypeP(array), element, is_name ? NAMEDATALEN : -1, false,
                      is_name ? TYPALIGN_CHAR : TYPALIGN_INT, &values, &nulls, &total);
    auto **const texts = static_cast<const char **>(palloc(sizeof(char *) * (total + 1)));
    *count = 0;
    for (int n = 0; n < total; ++n)
        if (!nulls[n])
            texts[(*count)++] =
                is_name ? pstrdup(NameStr(*DatumGetName(values[n]))) : TextDatumGetCString(values[n]);
    return texts;
}

StoredRule *copy_rule(const RuleRow &row) {
    auto *const rule = static_cast<StoredRule *>(palloc0(sizeof(StoredRule)));
    rule->id = DatumGetInt64(row.get("id"));
    rule->key = row.get_text("key");
    rule->tags = texts_of(row.get("tags"), TEXTOID, &rule->tag_count);
    bool is_null;
    const Datum columns = row.get("columns", &is_null);
    rule->has_columns = !is_null;
    if (!is_null)
        rule->columns = texts_of(columns, NAMEOID, &rule->column_count);
    rule->condition = row.get_text("condition");
    return rule;
}

}  // namespace

Oid rule_table() {
    const Oid schema = get_namespace_oid("cache_sync", true);
    const Oid table = OidIsValid(schema) ? get_relname_relid("rule", schema) : InvalidOid;
    if (!OidIsValid(table))
        throw Failure("42P01", "table cache_sync.rule does not exist")
            .hint("Run CREATE EXTENSION cache_sync in this database.");
    return table;
}

StoredRule *load_rules(Oid relation) {
    List *const relations = with_ancestors(relation);
    const ::Relation table = table_open(rule_table(), AccessShareLock);
    // The transaction's own snapshot may be older than the rule, which is there for every row from now on.
    const Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
    TableScanDesc scan = table_beginscan(table, snapshot, 0, nullptr);
    StoredRule *first = nullptr;
    StoredRule **last = &first;
    while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
        const RuleRow row{RelationGetDescr(table), tuple};
        if (!list_member_oid(relations, DatumGetObjectId(row.get("relation"))))
            continue;
        *last = copy_rule(row);
        last = &(*last)->next;
    }
    table_endscan(scan);
    UnregisterSnapshot(snapshot);
    table_close(table, AccessShareLock);
    return first;
}

}  // namespace cache_sync
