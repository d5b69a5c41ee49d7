#include "capture/row_change_pg.h"

#include <charconv>
#include <cstring>

extern "C" {
#include "access/htup_details.h"
#include "utils/datum.h"
}

namespace cache_sync {
namespace {

// Cheaper than datum_image_eq for what is the same: no detoasting.
bool has_same_bytes(Datum left, Datum right, const RuleColumn &column) {
    if (column.is_by_value)
        return left == right;
    if (column.length == -1) {
        const auto *const a = reinterpret_cast<const char *>(DatumGetPointer(left));
        const auto *const b = reinterpret_cast<const char *>(DatumGetPointer(right));
        const std::size_t size = VARSIZE_ANY(a);
        if (size == VARSIZE_ANY(b) && std::memcmp(a, b, size) == 0)
            return true;
    }
    return datum_image_eq(left, right, false, column.length);
}

// False: it is NULL.
bool read_number(HeapTuple row, const RuleColumn &column, TupleDesc shape, std::int64_t &number) {
    const HeapTupleHeader header = row->t_data;
    const int offset = TupleDescAttr(shape, column.number - 1)->attcacheoff;
    // What heap_getattr() comes to for such a row, after all its tests.
    if (offset >= 0 && !HeapTupleHasNulls(row) && HeapTupleHeaderGetNatts(header) >= column.number) {
        number = column.renderer.integer_at(reinterpret_cast<const char *>(header) + header->t_hoff + offset);
        return true;
    }
    bool is_null;
    const Datum value = heap_getattr(row, column.number, shape, &is_null);
    number = is_null ? 0 : column.renderer.integer_of(value);
    return !is_null;
}

bool satisfies(Condition &condition, HeapTuple row) {
    return row != nullptr && condition.holds(row);
}

}  // namespace

bool is_unchanged(const RowChange &change) {
    const HeapTuple old_row = change.old_row, new_row = change.new_row;
    constexpr std::size_t header = SizeofHeapTupleHeader;
    return old_row->t_len == new_row->t_len && old_row->t_data->t_hoff == new_row->t_data->t_hoff &&
           HeapTupleHeaderGetNatts(old_row->t_data) == HeapTupleHeaderGetNatts(new_row->t_data) &&
           HeapTupleHasNulls(old_row) == HeapTupleHasNulls(new_row) &&
           std::memcmp(reinterpret_cast<const char *>(old_row->t_data) + header,
                       reinterpret_cast<const char *>(new_row->t_data) + header,
                       old_row->t_len - header) == 0;
}

bool has_changed(const RowChange &change, const RuleColumn &column) {
    bool old_is_null, new_is_null;
    const Datum old_value = heap_getattr(change.old_row, column.number, change.shape, &old_is_null);
    const Datum new_value = heap_getattr(change.new_row, column.number, change.shape, &new_is_null);
    if (old_is_null || new_is_null)
        return old_is_null != new_is_null;
    return !has_same_bytes(old_value, new_value, column);
}

bool render(const NameTemplate &name, TupleDesc shape, HeapTuple row, TouchText &text) {
    const bool is_tag = name.kind == TouchKind::tag;
    text.clear();
    for (int n = 0; n < name.part_count; ++n) {
        const NamePart &part = name.parts[n];
        if (part.column == nullptr) {
            text.append(part.text);
            continue;
        }
        bool is_null;
        const Datum value = heap_getattr(row, part.column->number, shape, &is_null);
        if (is_null)
            return false;
        part.column->renderer.append(value, part.is_raw, is_tag, text);
    }
    return text.size() != 0;
}

NumberNames numbers_of(const NameTemplate &name, const RowChange &change) {
    const RuleColumn &column = *name.number;
    NumberNames numbers{};
    if (change.old_row != nullptr)
        numbers.has_old = read_number(change.old_row, column, change.shape, numbers.old_number);
    if (change.new_row != nullptr)
        numbers.has_new = read_number(change.new_row, column, change.shape, numbers.new_number) &&
                          !(numbers.has_old && numbers.new_number == numbers.old_number);
    return numbers;
}

std::string_view render_number(const NameTemplate &name, std::int64_t number) {
    char *end = name.buffer + name.before;
    end = std::to_chars(end, end + kNumberSize, number).ptr;
    if (!name.after.empty())
        std::memcpy(end, name.after.data(), name.after.size());
    return {name.buffer, static_cast<std::size_t>(end - name.buffer) + name.after.size()};
}

bool concerns(const CompiledRule &rule, const RowChange &change) {
    if (rule.has_watched && change.is_update()) {
        bool is_watched = false;
        for (int n = 0; n < rule.watched_count && !is_watched; ++n)
            is_watched = has_changed(change, *rule.watched[n]);
        // A row that enters or leaves the condition counts, whatever took it there.
        if (!is_watched)
            return rule.condition != nullptr &&
                   satisfies(*rule.condition, change.old_row) != satisfies(*rule.condition, change.new_row);
    }
    return rule.condition == nullptr || satisfies(*rule.condition, change.old_row) ||
           satisfies(*rule.condition, change.new_row);
}

}  // namespace cache_sync
