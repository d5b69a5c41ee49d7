// From a column's value to its text in a key or tag.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>

#include "capture/key_template.h"
#include "capture/pinned_settings_pg.h"
#include "pg.h"

extern "C" {
#include "fmgr.h"
}

namespace cache_sync {

// Room that the text of an integer takes.
inline constexpr std::size_t kNumberSize = 20;

// How values of one type become text. Plain data; the memory given to prepare() holds the rest.
struct ValueRenderer {
    enum class Method : std::uint8_t { int2, int4, int8, oid, boolean, uuid, name, text, other };

    Method method;
    bool is_encoded;  // can hold what could be mistaken for the template's own text
    unsigned pins;    // what append() must run under, see with_pinned_settings()
    FmgrInfo output;

    // May raise.
    static ValueRenderer prepare(Oid type, MemoryContext memory);

    // Is the text that of a number which integer_at() reads?
    bool is_integer() const { return method <= Method::oid; }
    // From where a row has it.
    std::int64_t integer_at(const char *at) const {
        switch (method) {
            case Method::int2:
                return *reinterpret_cast<const std::int16_t *>(at);
            case Method::int4:
                return *reinterpret_cast<const std::int32_t *>(at);
            case Method::oid:
                return *reinterpret_cast<const Oid *>(at);
            default:
                return *reinterpret_cast<const std::int64_t *>(at);
        }
    }

    std::int64_t integer_of(Datum value) const {
        switch (method) {
            case Method::int2:
                return DatumGetInt16(value);
            case Method::int4:
                return DatumGetInt32(value);
            case Method::oid:
                return DatumGetObjectId(value);
            default:
                return DatumGetInt64(value);
        }
    }

    // Appends the text of a value that is not NULL. May raise.
    void append(Datum value, bool is_raw, bool is_tag, TouchText &to) const;
};

// Whether the text of this type depends on a setting that cannot be pinned (money: lc_monetary).
bool has_unstable_text(Oid type);

}  // namespace cache_sync
