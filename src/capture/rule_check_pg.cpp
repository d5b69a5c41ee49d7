#include "capture/rule_check_pg.h"

#include <string_view>

#include "boundary.h"
#include "capture/key_template.h"
#include "capture/render_pg.h"

extern "C" {
#include "access/relation.h"
#include "catalog/catalog.h"  // IsSystemRelation
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
}

namespace cache_sync {
namespace {

struct OtherKind {
    char relkind;
    const char *name;
    const char *hint;
};

constexpr OtherKind kOtherKinds[] = {
    {RELKIND_VIEW, "a view", "Register the tables that it reads."},
    {RELKIND_MATVIEW, "a materialized view", "Register it with cache_sync.register_view()."},
    {RELKIND_FOREIGN_TABLE, "a foreign table", "Changes on the other server are not seen here."},
    {RELKIND_INDEX, "an index", "Register its table."},
    {RELKIND_PARTITIONED_INDEX, "an index", "Register its table."},
    {RELKIND_SEQUENCE, "a sequence", "Register a table."},
    {RELKIND_COMPOSITE_TYPE, "a composite type", "Register a table."},
    {RELKIND_TOASTVALUE, "a TOAST table", "Register the table that it belongs to."},
};

void check_kind(Relation relation) {
    const char *const name = RelationGetRelationName(relation);
    const char relkind = relation->rd_rel->relkind;
    for (const OtherKind &kind : kOtherKinds)
        if (relkind == kind.relkind)
            throw Failure("42809", "\"%s\" is %s, not a table", name, kind.name).hint("%s", kind.hint);
    if (relkind != RELKIND_RELATION && relkind != RELKIND_PARTITIONED_TABLE)
        throw Failure("42809", "\"%s\" is not a table", name).hint("Register a table.");
    if (IsSystemRelation(relation))
        throw Failure("42809", "\"%s\" is a system catalogue", name)
            .hint("Triggers do not fire on catalogues.");
    if (relation->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
        throw Failure("42809", "\"%s\" is a temporary table", name)
            .hint("Nobody else reads its rows; register a permanent table.");
    const char *const schema = get_namespace_name(RelationGetNamespace(relation));
    if (schema != nullptr && std::string_view(schema) == "cache_sync")
        throw Failure("42809", "\"%s\" is a table of cache_sync itself", name)
            .hint("Register a table of your application.");
}

[[noreturn]] void unknown_column(Relation table, std::string_view column) {
    StringInfoData names;
    initStringInfo(&names);
    const TupleDesc shape = RelationGetDescr(table);
    for (int n = 0; n < shape->natts; ++n) {
        const Form_pg_attribute attribute = TupleDescAttr(shape, n);
        if (!attribute->attisdropped)
            appendStringInfo(&names, "%s%s", names.len == 0 ? "" : ", ",
                             quote_identifier(NameStr(attribute->attname)));
    }
    throw Failure("42703", "column \"%.*s\" of %s \"%s\" does not exist", static_cast<int>(column.size()),
                  column.data(), table->rd_rel->relkind == RELKIND_MATVIEW ? "materialized view" : "table",
                  RelationGetRelationName(table))
        .hint("The columns are: %s.", names.data);
}

const FormData_pg_attribute &find_column(Relation table, std::string_view column) {
    const TupleDesc shape = RelationGetDescr(table);
    for (int n = 0; n < shape->natts; ++n) {
        const FormData_pg_attribute &attribute = *TupleDescAttr(shape, n);
        if (!attribute.attisdropped && column == NameStr(attribute.attname))
            return attribute;
    }
    unknown_column(table, column);
}

[[noreturn]] void bad_template(const char *what, const char *text, const TemplateError &error) {
    throw Failure("22023", "bad %s template at offset %zu: %s", what, error.offset, error.message)
        .detail("The template is \"%s\".", text)
        .hint("%s", error.hint);
}

void check_columns_of(Relation table, std::string_view text) {
    TemplateReader reader(text);
    while (const auto part = reader.next()) {
        if (!part->is_column)
            continue;
        const FormData_pg_attribute &column = find_column(table, part->text);
        if (has_unstable_text(column.atttypid))
            throw Failure("0A000", "column \"%s\" cannot be used in a template", NameStr(column.attname))
                .detail("Its text depends on lc_monetary, so that a key would differ from writer to writer.")
                .hint("Use a generated column of type numeric.");
    }
}

}  // namespace

Relation open_table_for_rules(Oid relation) {
    const Relation table = try_relation_open(relation, AccessShareLock);
    if (table == nullptr)
        throw Failure("42P01", "relation with OID %u does not exist", relation)
            .hint("It may have been dropped.");
    check_kind(table);
    return table;
}

Relation open_view_for_rules(Oid view) {
    const Relation opened = try_relation_open(view, AccessShareLock);
    if (opened == nullptr)
        throw Failure("42P01", "relation with OID %u does not exist", view).hint("It may have been dropped.");
    return opened;
}

void check_owner(Relation table) {
    if (!object_ownercheck(RelationRelationId, RelationGetRelid(table), GetUserId()))
        throw Failure("42501", "must be owner of table %s", RelationGetRelationName(table))
            .hint("Have its owner, or a member of that role, do it.");
}

void check_key(Relation table, const char *key) {
    if (const auto error = check_key_template(key))
        bad_template("key", key, *error);
    check_columns_of(table, key);
}

void check_tags(Relation table, Datum tags) {
    Datum *values;
    bool *nulls;
    int count;
    deconstruct_array_builtin(DatumGetArrayTypeP(tags), TEXTOID, &values, &nulls, &count);
    for (int n = 0; n < count; ++n) {
        if (nulls[n])
            throw Failure("22004", "a tag must not be NULL").hint("Leave it out.");
        const char *const tag = TextDatumGetCString(values[n]);
        if (const auto error = check_tag_template(tag))
            bad_template("tag", tag, *error);
        check_columns_of(table, tag);
    }
}

void check_columns(Relation table, Datum columns) {
    Datum *values;
    bool *nulls;
    int count;
    deconstruct_array(DatumGetArrayTypeP(columns), NAMEOID, NAMEDATALEN, false, TYPALIGN_CHAR, &values,
                      &nulls, &count);
    if (count == 0)
        throw Failure("22023", "\"columns\" names no column")
            .hint("Leave it NULL for every UPDATE to count.");
    for (int n = 0; n < count; ++n) {
        if (nulls[n])
            throw Failure("22004", "a column must not be NULL").hint("Leave it out.");
        find_column(table, NameStr(*DatumGetName(values[n])));
    }
}

}  // namespace cache_sync
