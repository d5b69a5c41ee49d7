// The difference of two multisets of rows, as the names of the rows that only one of them has.
//
//   remove(row) ... add(row) ...   each row as hash of its values, sign, names; sorted, on disk if there are
//   many touch()                        rows of one hash whose signs do not cancel out are changed
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "capture/rule_cache_pg.h"
#include "capture/touched_set.h"

extern "C" {
#include "access/htup.h"
#include "utils/tuplesort.h"
}

namespace cache_sync {

// What a refresh changed. -1: not known.
struct ChangedCounts {
    std::int64_t inserted = 0;
    std::int64_t removed = 0;
    std::int64_t keys = 0;
    std::int64_t tags = 0;
};

class RowDifference {
 public:
    // Lives in the current memory context, and belongs to the current resource owner.
    static RowDifference *create(TupleDesc shape);

    // The rules may be another compilation from row to row.
    void remove(HeapTuple row, const TableRules &rules) { put(row, rules, false); }
    void add(HeapTuple row, const TableRules &rules) { put(row, rules, true); }

    // Touches the names of all changed rows. Ends the object.
    ChangedCounts touch_changed();

 private:
    void put(HeapTuple row, const TableRules &rules, bool is_added);
    void append(const void *bytes, std::size_t size);
    void append_hash(HeapTuple row);
    void append_names(HeapTuple row, const TableRules &rules);

    TupleDesc shape_;
    Tuplesortstate *sort_;
    MemoryContext scratch_;
    Datum *values_;
    bool *nulls_;
    char *entry_;  // a bytea
    std::size_t entry_size_;
    std::size_t entry_room_;
};

}  // namespace cache_sync
