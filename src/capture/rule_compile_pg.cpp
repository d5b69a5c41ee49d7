#include "capture/rule_compile_pg.h"

#include "capture/key_template.h"
#include "capture/subtransaction_pg.h"

extern "C" {
#include "utils/memutils.h"
}

namespace cache_sync {
namespace {

class Compiler {
 public:
    Compiler(Relation relation, MemoryContext memory) : relation_(relation), memory_(memory) {}

    TableRules *compile(const StoredRule *stored);

 private:
    template <typename T>
    T *allocate(int count) {
        return static_cast<T *>(MemoryContextAllocZero(memory_, sizeof(T) * (count + 1)));
    }

    void compile_rule(const StoredRule &stored, CompiledRule &rule);
    void compile_name(const char *text, TouchKind kind, NameTemplate &name);
    void compile_parts(std::string_view text, NameTemplate &name);
    void recognise_number(NameTemplate &name);
    void compile_watched(const StoredRule &stored, CompiledRule &rule);
    void compile_condition(const StoredRule &stored, CompiledRule &rule);
    const RuleColumn *column(std::string_view name);
    void warn(const char *what, std::string_view which, const char *consequence);

    Relation relation_;
    MemoryContext memory_;
    TableRules *rules_ = nullptr;
    RuleColumn **columns_ = nullptr;  // by attribute number
    std::int64_t rule_ = 0;
};

TableRules *Compiler::compile(const StoredRule *stored) {
    rules_ = allocate<TableRules>(1);
    rules_->relation = RelationGetRelid(relation_);
    rules_->memory = memory_;
    columns_ = allocate<RuleColumn *>(RelationGetNumberOfAttributes(relation_) + 1);
    for (const StoredRule *rule = stored; rule != nullptr; rule = rule->next)
        ++rules_->rule_count;
    rules_->rules = allocate<CompiledRule>(rules_->rule_count);
    CompiledRule *rule = rules_->rules;
    for (; stored != nullptr; stored = stored->next)
        compile_rule(*stored, *rule++);
    return rules_;
}

void Compiler::compile_rule(const StoredRule &stored, CompiledRule &rule) {
    rule_ = rule.id = stored.id;
    rule.names = allocate<NameTemplate>(stored.tag_count + 1);
    if (stored.key != nullptr)
        compile_name(stored.key, TouchKind::key, rule.names[rule.name_count++]);
    for (int n = 0; n < stored.tag_count; ++n)
        compile_name(stored.tags[n], TouchKind::tag, rule.names[rule.name_count++]);
    compile_watched(stored, rule);
    compile_condition(stored, rule);
}

void Compiler::compile_name(const char *text, TouchKind kind, NameTemplate &name) {
    const std::string_view kept = MemoryContextStrdup(memory_, text);
    name.kind = kind;
    name.is_usable = true;
    if (kind == TouchKind::key) {
        static TouchText glob;  // too large for the stack of somebody's trigger
        glob.clear();
        append_glob(kept, glob);
        char *const copy = allocate<char>(static_cast<int>(glob.size()));
        memcpy(copy, glob.view().data(), glob.size());
        name.glob = {copy, glob.size()};
    }
    compile_parts(kept, name);
}

// [text] {integer column} [text]
void Compiler::recognise_number(NameTemplate &name) {
    const int first = name.part_count > 0 && name.parts[0].column == nullptr ? 1 : 0;
    if (name.column_count != 1 || name.part_count <= first || name.part_count > first + 2)
        return;
    const NamePart &middle = name.parts[first];
    const bool has_end = name.part_count == first + 2;
    if (middle.column == nullptr || !middle.column->renderer.is_integer() ||
        (has_end && name.parts[first + 1].column != nullptr))
        return;
    name.number = middle.column;
    name.after = has_end ? name.parts[first + 1].text : std::string_view();
    const std::string_view before = first == 1 ? name.parts[0].text : std::string_view();
    name.before = before.size();
    name.buffer = allocate<char>(static_cast<int>(before.size() + kNumberSize + name.after.size()));
    memcpy(name.buffer, before.data(), before.size());
}

void Compiler::compile_parts(std::string_view text, NameTemplate &name) {
    int most = 0;
    for (TemplateReader reader(text); reader.next();)
        ++most;
    auto *const parts = allocate<NamePart>(most);
    auto **const columns = allocate<const RuleColumn *>(most);
    TemplateReader reader(text);
    while (const auto part = reader.next()) {
        NamePart &compiled = parts[name.part_count++];
        compiled = {nullptr, part->is_raw, part->text};
        if (!part->is_column)
            continue;
        compiled.column = column(part->text);
        if (compiled.column == nullptr) {
            warn("names a column that does not exist", part->text,
                 "Until that is put right, whatever the template may stand for counts as changed.");
            name.is_usable = false;
        }
        bool is_known = false;
        for (int n = 0; n < name.column_count; ++n)
            is_known |= columns[n] == compiled.column;
        if (!is_known)
            columns[name.column_count++] = compiled.column;
    }
    if (reader.error()) {
        warn("has a bad template", text,
             "Until that is put right, whatever it may stand for counts as changed.");
        name.is_usable = false;
    }
    name.parts = parts;
    name.columns = columns;
    if (name.is_usable)
        recognise_number(name);
}

void Compiler::compile_watched(const StoredRule &stored, CompiledRule &rule) {
    rule.has_watched = stored.has_columns;
    int most = stored.column_count;
    for (int n = 0; n < rule.name_count; ++n)
        most += rule.names[n].column_count;
    rule.watched = allocate<const RuleColumn *>(most);
    for (int n = 0; n < stored.column_count; ++n) {
        const RuleColumn *const watched = column(stored.columns[n]);
        if (watched != nullptr) {
            rule.watched[rule.watched_count++] = watched;
        } else {
            warn("watches a column that does not exist", stored.columns[n],
                 "Until that is put right, every change of a row counts.");
            rule.has_watched = false;
        }
    }
    // A row that gets another key or tag leaves what is cached under the old one.
    for (int n = 0; n < rule.name_count; ++n) {
        const NameTemplate &name = rule.names[n];
        rule.has_watched = rule.has_watched && name.is_usable;
        for (int c = 0; c < name.column_count; ++c)
            rule.watched[rule.watched_count++] = name.columns[c];
    }
}

void Compiler::compile_condition(const StoredRule &stored, CompiledRule &rule) {
    if (stored.condition == nullptr)
        return;
    const Attempt compiled = attempt(
        [&] { rule.condition = Condition::compile(relation_, stored.condition, stored.id, memory_); });
    if (!compiled.succeeded) {
        rule.condition = nullptr;
        warn("has a condition that does not work", compiled.message,
             "Until that is put right, every row counts as satisfying it.");
    } else {
        rules_->uses_conditions = true;
        rules_->pins |= rule.condition->pins;
        rules_->uses_functions |= rule.condition->uses_functions;
    }
}

const RuleColumn *Compiler::column(std::string_view name) {
    const TupleDesc shape = RelationGetDescr(relation_);
    for (int n = 0; n < shape->natts; ++n) {
        const Form_pg_attribute attribute = TupleDescAttr(shape, n);
        if (attribute->attisdropped || name != NameStr(attribute->attname))
            continue;
        if (columns_[n] == nullptr) {
            columns_[n] = allocate<RuleColumn>(1);
            *columns_[n] = {attribute->attnum, attribute->attlen, attribute->attbyval,
                            ValueRenderer::prepare(attribute->atttypid, memory_)};
            rules_->pins |= columns_[n]->renderer.pins;
        }
        return columns_[n];
    }
    return nullptr;
}

void Compiler::warn(const char *what, std::string_view which, const char *consequence) {
    ereport(WARNING,
            (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
             errmsg("cache_sync rule %lld on table \"%s\" %s: %.*s", static_cast<long long>(rule_),
                    RelationGetRelationName(relation_), what, static_cast<int>(which.size()), which.data()),
             errdetail("%s", consequence),
             errhint("Register the table again with cache_sync.register_table(), or remove the rule with "
                     "cache_sync.unregister_table().")));
}

}  // namespace

TableRules *compile_rules(Relation relation, const StoredRule *stored) {
    const MemoryContext memory =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync rules", ALLOCSET_SMALL_SIZES);
    MemoryContextCopyAndSetIdentifier(memory, RelationGetRelationName(relation));
    return Compiler(relation, memory).compile(stored);
}

}  // namespace cache_sync
