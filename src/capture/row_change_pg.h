// From a changed row to what it touches, by the rules of its table.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <string_view>

#include "capture/key_template.h"
#include "capture/rule_cache_pg.h"

extern "C" {
#include "access/htup_details.h"
#include "utils/datum.h"
}

namespace cache_sync {

// Old and new row of an UPDATE, or one of them and nullptr.
struct RowChange {
    TupleDesc shape;
    HeapTuple old_row;
    HeapTuple new_row;

    bool is_update() const { return old_row != nullptr && new_row != nullptr; }
};

// An UPDATE that wrote the very bytes that were there.
bool is_unchanged(const RowChange &change);

// Whether an UPDATE gave the column another value, byte by byte.
bool has_changed(const RowChange &change, const RuleColumn &column);

// Puts the name that the row has by this (usable) template into `text`. False if it has none: a column is
// NULL.
bool render(const NameTemplate &name, TupleDesc shape, HeapTuple row, TouchText &text);

// By a template of one number: that of the old row, and that of the new row if it is another one.
struct NumberNames {
    bool has_old, has_new;
    std::int64_t old_number, new_number;
};
NumberNames numbers_of(const NameTemplate &name, const RowChange &change);
// Valid until the next one by this template.
std::string_view render_number(const NameTemplate &name, std::int64_t number);

// Whether the rule has to do with this change at all: `columns` and condition.
bool concerns(const CompiledRule &rule, const RowChange &change);

// Calls touched(kind, text) for everything that the change touches by this template. `text` is a scratch
// buffer.
template <typename Touched>
void touch_names(const NameTemplate &name, const RowChange &change, TouchText &text, Touched &&touched) {
    if (!name.is_usable) {
        if (name.kind == TouchKind::key)
            touched(TouchKind::pattern, name.glob);
        else
            touched(TouchKind::flush, std::string_view());
        return;
    }
    if (name.number != nullptr) {
        const NumberNames numbers = numbers_of(name, change);
        if (numbers.has_old)
            touched(name.kind, render_number(name, numbers.old_number));
        if (numbers.has_new)
            touched(name.kind, render_number(name, numbers.new_number));
        return;
    }
    const HeapTuple first = change.old_row != nullptr ? change.old_row : change.new_row;
    if (render(name, change.shape, first, text))
        touched(name.kind, text.view());
    if (!change.is_update())
        return;
    for (int n = 0; n < name.column_count; ++n) {
        if (!has_changed(change, *name.columns[n]))
            continue;
        if (render(name, change.shape, change.new_row, text))
            touched(name.kind, text.view());
        return;
    }
}

// Calls touched(rule, kind, text) for everything that the change touches.
template <typename Touched>
void touch_change(const TableRules &rules, const RowChange &change, TouchText &text, Touched &&touched) {
    if (change.is_update() && is_unchanged(change))
        return;
    with_pinned_settings(rules.pins, [&] {
        for (int r = 0; r < rules.rule_count; ++r) {
            const CompiledRule &rule = rules.rules[r];
            if (!concerns(rule, change))
                continue;
            for (int n = 0; n < rule.name_count; ++n)
                touch_names(rule.names[n], change, text,
                            [&](TouchKind kind, std::string_view name) { touched(rule, kind, name); });
        }
    });
}

}  // namespace cache_sync
