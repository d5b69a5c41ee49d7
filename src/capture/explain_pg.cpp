// SQL functions that show what capture would do: key() and explain()'s inner part.
#include "boundary.h"
#include "capture/row_change_pg.h"
#include "capture/rule_check_pg.h"

extern "C" {
#include "access/relation.h"
#include "catalog/pg_class.h"
#include "fmgr.h"
#include "funcapi.h"  // extract_variadic_args
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"  // get_rel_relkind
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(cache_sync_key);
PG_FUNCTION_INFO_V1(cache_sync_explain_row);
}

namespace cache_sync {
namespace {

constinit TouchText scratch;

// The values of a call of key(), and how to render them.
struct KeyValues {
    int count;
    Datum *values;
    Oid *types;
    bool *nulls;
};

// Renderers are kept from call to call of one query: key() is made for select lists.
struct KeptRenderers {
    int count;
    Oid *types;
    ValueRenderer *renderers;
    unsigned pins;

    bool fit(const KeyValues &values) const {
        return count == values.count && memcmp(types, values.types, sizeof(Oid) * count) == 0;
    }
};

KeptRenderers &renderers_for(FunctionCallInfo call_info, const KeyValues &values) {
    auto *kept = static_cast<KeptRenderers *>(call_info->flinfo->fn_extra);
    if (kept != nullptr && kept->fit(values))
        return *kept;
    const MemoryContext memory = call_info->flinfo->fn_mcxt;
    kept = static_cast<KeptRenderers *>(MemoryContextAllocZero(memory, sizeof(KeptRenderers)));
    kept->types = static_cast<Oid *>(MemoryContextAlloc(memory, sizeof(Oid) * (values.count + 1)));
    kept->renderers =
        static_cast<ValueRenderer *>(MemoryContextAlloc(memory, sizeof(ValueRenderer) * (values.count + 1)));
    for (int n = 0; n < values.count; ++n) {
        if (has_unstable_text(values.types[n]))
            throw Failure("0A000", "a value of type money cannot be used in a template")
                .detail("Its text depends on lc_monetary, so that a key would differ from writer to writer.")
                .hint("Cast it to numeric.");
        kept->types[n] = values.types[n];
        kept->renderers[n] = ValueRenderer::prepare(values.types[n], memory);
        kept->pins |= kept->renderers[n].pins;
    }
    kept->count = values.count;
    call_info->flinfo->fn_extra = kept;
    return *kept;
}

// Numbers the distinct columns of a template in the order of their first appearance.
class ColumnNumbers {
 public:
    explicit ColumnNumbers(std::size_t most)
        : names_(static_cast<std::string_view *>(palloc(sizeof(std::string_view) * (most + 1)))) {}

    int number_of(std::string_view name) {
        for (int n = 0; n < count_; ++n)
            if (names_[n] == name)
                return n;
        names_[count_] = name;
        return count_++;
    }
    int count() const { return count_; }

 private:
    std::string_view *names_;
    int count_ = 0;
};

// Throws Failure unless the template is right and has as many distinct columns as there are values.
void check_values(std::string_view key_template, int count) {
    if (const auto error = check_key_template(key_template))
        throw Failure("22023", "bad key template at offset %zu: %s", error->offset, error->message)
            .detail("The template is \"%.*s\".", static_cast<int>(key_template.size()), key_template.data())
            .hint("%s", error->hint);
    ColumnNumbers columns(key_template.size());
    TemplateReader reader(key_template);
    while (const auto part = reader.next())
        if (part->is_column)
            columns.number_of(part->text);
    if (columns.count() != count)
        throw Failure("22023", "wrong number of values for the template")
            .detail("It names %d distinct column%s; %d value%s given.", columns.count(),
                    columns.count() == 1 ? "" : "s", count, count == 1 ? " is" : "s are")
            .hint("Give one value for each column, in the order of their first appearance.");
}

// False if a value is NULL: then there is no key.
bool render_key(FunctionCallInfo call_info, std::string_view key_template, const KeyValues &values) {
    check_values(key_template, values.count);
    for (int n = 0; n < values.count; ++n)
        if (values.nulls[n])
            return false;
    const KeptRenderers &kept = renderers_for(call_info, values);
    scratch.clear();
    with_pinned_settings(kept.pins, [&] {
        ColumnNumbers columns(key_template.size());
        TemplateReader reader(key_template);
        while (const auto part = reader.next()) {
            if (!part->is_column) {
                scratch.append(part->text);
                continue;
            }
            const int n = columns.number_of(part->text);
            kept.renderers[n].append(values.values[n], part->is_raw, false, scratch);
        }
    });
    if (scratch.size() > kMaxTouchLength)
        throw Failure("54000", "the key is longer than %zu bytes", kMaxTouchLength)
            .hint("Changes of such a row invalidate every key that begins the same; use shorter keys.");
    return true;
}

bool render_key(FunctionCallInfo call_info) {
    if (call_info->args[0].isnull)
        return false;
    KeyValues values{};
    if (call_info->nargs > 1) {
        values.count =
            extract_variadic_args(call_info, 1, true, &values.values, &values.types, &values.nulls);
        if (values.count < 0)
            throw Failure("22004", "the values must not be a NULL array")
                .hint("Give an empty array for none.");
    }
    const auto *const key_template = DatumGetTextPP(call_info->args[0].value);
    return render_key(call_info, {VARDATA_ANY(key_template), VARSIZE_ANY_EXHDR(key_template)}, values);
}

void explain_row(FunctionCallInfo call_info) {
    InitMaterializedSRF(call_info, 0);
    if (call_info->args[0].isnull || call_info->args[1].isnull)
        return;
    const Oid relation = DatumGetObjectId(call_info->args[0].value);
    const Relation table = get_rel_relkind(relation) == RELKIND_MATVIEW ? open_view_for_rules(relation)
                                                                        : open_table_for_rules(relation);
    if (pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_SELECT) != ACLCHECK_OK)
        throw Failure("42501", "permission denied for table %s", RelationGetRelationName(table))
            .hint("It takes the right to SELECT from the table.");
    const HeapTupleHeader row = DatumGetHeapTupleHeader(call_info->args[1].value);
    if (HeapTupleHeaderGetTypeId(row) != table->rd_rel->reltype)
        throw Failure("42804", "the row is not one of table \"%s\"", RelationGetRelationName(table))
            .hint("Give a value of the table's row type.");
    HeapTupleData tuple{};
    tuple.t_len = HeapTupleHeaderGetDatumLength(row);
    tuple.t_data = row;
    const RowChange change{RelationGetDescr(table), nullptr, &tuple};
    auto *const result = reinterpret_cast<ReturnSetInfo *>(call_info->resultinfo);
    touch_change(rules_of(table), change, scratch,
                 [&](const CompiledRule &rule, TouchKind kind, std::string_view name) {
                     const int length = static_cast<int>(name.size());
                     Datum values[] = {Int64GetDatum(rule.id), CStringGetTextDatum(kind_name(kind)),
                                       PointerGetDatum(cstring_to_text_with_len(name.data(), length))};
                     bool nulls[] = {false, false, false};
                     tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
                 });
    relation_close(table, AccessShareLock);
}

}  // namespace
}  // namespace cache_sync

// key(template text, VARIADIC "any") -> text
Datum cache_sync_key(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        if (!cache_sync::render_key(fcinfo))
            PG_RETURN_NULL();
        const std::string_view key = cache_sync::scratch.view();
        PG_RETURN_TEXT_P(cstring_to_text_with_len(key.data(), static_cast<int>(key.size())));
    });
}

// _explain_row(relation regclass, row_value record) -> setof (rule bigint, kind text, name text)
Datum cache_sync_explain_row(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::explain_row(fcinfo);
        return Datum{0};
    });
}
