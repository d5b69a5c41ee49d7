// The rules of a table, compiled: templates with resolved columns, conditions ready to run. Kept for the life
// of the process, dropped when PostgreSQL says that the table or the rules have changed.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "capture/condition_pg.h"
#include "capture/render_pg.h"
#include "queue/payload.h"

extern "C" {
#include "utils/rel.h"
}

namespace cache_sync {

// A column that templates or `columns` lists of a table name.
struct RuleColumn {
    AttrNumber number;
    std::int16_t length;  // attlen
    bool is_by_value;
    ValueRenderer renderer;
};

struct NamePart {
    const RuleColumn *column;  // nullptr: literal text
    bool is_raw;
    std::string_view text;
};

// What a row touches by one template. A template that names columns which are gone is not usable: then
// everything that it may have named counts as touched.
struct NameTemplate {
    TouchKind kind;  // key or tag
    bool is_usable;
    int part_count;
    const NamePart *parts;
    int column_count;  // 0: every row touches the same name
    const RuleColumn *const *columns;
    std::string_view glob;  // of a key template

    // Of the usual template, an integer column with text before and after it: read as a number once per row,
    // without a look at the parts. nullptr: another template.
    const RuleColumn *number;
    std::string_view after;
    std::size_t before;  // length of the text before, which is in the buffer
    char *buffer;        // with room for all of a name
};

struct CompiledRule {
    std::int64_t id;
    int name_count;
    NameTemplate *names;
    bool has_watched;  // an UPDATE counts only if one of these changed
    int watched_count;
    const RuleColumn **watched;
    Condition *condition;  // nullptr: every row counts
};

struct TableRules {
    Oid relation;
    std::uint64_t generation;
    bool is_valid;
    bool uses_conditions;
    bool uses_functions;  // of users, in a condition
    unsigned pins;        // what rendering and conditions must run under
    int rule_count;
    CompiledRule *rules;
    MemoryContext memory;
    TableRules *next_dead;
};

// The rules of this relation and of all that it inherits from (parents of a partition included). Lives at
// least as long as the transaction. Says in a WARNING what is broken about a rule, but never fails because of
// it.
const TableRules &rules_of(Relation relation);

}  // namespace cache_sync
