// A hash over the values of a row. Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstddef>

#include "pg.h"

extern "C" {
#include "access/htup.h"
#include "access/tupdesc.h"
}

namespace cache_sync {

inline constexpr std::size_t kRowHashSize = 16;

// Equal for rows whose values are the same bytes, however they are stored: compressed, out of line, with a
// short header. Rows of different values do not have one hash by accident.
struct RowHash {
    char bytes[kRowHashSize];
};

class RowHasher {
 public:
    // Lives in the current memory context.
    static RowHasher create(TupleDesc shape);

    // Leaves copies of values in the current memory context.
    RowHash hash(HeapTuple row) const;

    TupleDesc shape() const { return shape_; }

 private:
    TupleDesc shape_;
    Datum *values_;
    bool *nulls_;
};

}  // namespace cache_sync
