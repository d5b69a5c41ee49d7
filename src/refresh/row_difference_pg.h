// The difference of two multisets of rows, as the names of the rows that only one of them has.
//
//   remove(row) ... add(row) ...   each row by the hash of its values; equal ones of both sides cancel out
//   touch_changed()                what is left is changed
//
// Kept in a hash table with the names of each row; what grows beyond maintenance_work_mem is sorted on disk
// instead.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>
#include <string_view>

#include "capture/rule_cache_pg.h"
#include "refresh/row_hash_pg.h"

extern "C" {
#include "access/htup.h"
#include "utils/hsearch.h"
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
    static RowDifference *create(TupleDesc shape, double expected_rows);

    // The rules may be another compilation from row to row.
    void remove(HeapTuple row, const TableRules &rules) { put(row, rules, -1); }
    void add(HeapTuple row, const TableRules &rules) { put(row, rules, 1); }

    // Touches the names of all changed rows. Ends the object.
    ChangedCounts touch_changed();

 private:
    void put(HeapTuple row, const TableRules &rules, std::int64_t balance);
    void keep(const RowHash &hash, HeapTuple row, const TableRules &rules, std::int64_t balance);
    void go_to_disk();
    void sort(const RowHash &hash, std::int64_t balance, std::string_view names);
    void render_names(HeapTuple row, const TableRules &rules);
    std::string_view rendered() const { return {names_, names_size_}; }

    RowHasher hasher_;
    MemoryContext memory_;   // of the table
    MemoryContext kept_;     // names in the table
    MemoryContext scratch_;  // of one row
    HTAB *table_;            // nullptr: it has become a sort
    Tuplesortstate *sort_;
    char *names_;  // of one row
    std::size_t names_size_;
    std::size_t names_room_;
};

}  // namespace cache_sync
