#include "refresh/row_hash_pg.h"

#include <cstdint>
#include <cstring>

extern "C" {
#include "access/detoast.h"
#include "access/htup_details.h"
#include "common/hashfn.h"
#include "fmgr.h"  // pg_detoast_datum_packed
#include "varatt.h"
}

namespace cache_sync {
namespace {

// Takes in bytes in chunks: one call for most rows. Its two halves are independent of each other.
class Mixer {
 public:
    void add(const void *bytes, std::size_t size) {
        if (size > sizeof(chunk_) - used_)
            flush();
        if (size > sizeof(chunk_)) {
            mix(static_cast<const unsigned char *>(bytes), size);
        } else {
            std::memcpy(chunk_ + used_, bytes, size);
            used_ += size;
        }
    }
    void add_number(std::uint64_t number) { add(&number, sizeof(number)); }

    RowHash result() {
        flush();
        RowHash hash;
        std::memcpy(hash.bytes, &low_, sizeof(low_));
        std::memcpy(hash.bytes + sizeof(low_), &high_, sizeof(high_));
        return hash;
    }

 private:
    void flush() {
        mix(chunk_, used_);
        used_ = 0;
    }
    void mix(const unsigned char *bytes, std::size_t size) {
        low_ = hash_bytes_extended(bytes, static_cast<int>(size), low_);
        high_ = hash_bytes_extended(bytes, static_cast<int>(size), high_ ^ 0xff51afd7ed558ccd);
    }

    std::uint64_t low_ = 0x9e3779b97f4a7c15;
    std::uint64_t high_ = 0xc2b2ae3d27d4eb4f;
    std::size_t used_ = 0;
    unsigned char chunk_[1024];
};

void add_value(Mixer &mixer, Datum value, const FormData_pg_attribute &column) {
    if (column.attbyval) {
        mixer.add_number(value);
    } else if (column.attlen == -1) {
        const varlena *const flat = pg_detoast_datum_packed(reinterpret_cast<varlena *>(value));
        mixer.add_number(VARSIZE_ANY_EXHDR(flat));
        mixer.add(VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat));
    } else {
        const char *const bytes = DatumGetPointer(value);
        const std::size_t size = column.attlen == -2 ? std::strlen(bytes) + 1 : column.attlen;
        mixer.add_number(size);
        mixer.add(bytes, size);
    }
}

}  // namespace

RowHasher RowHasher::create(TupleDesc shape) {
    RowHasher hasher;
    hasher.shape_ = CreateTupleDescCopy(shape);
    hasher.values_ = static_cast<Datum *>(palloc(sizeof(Datum) * (shape->natts + 1)));
    hasher.nulls_ = static_cast<bool *>(palloc(sizeof(bool) * (shape->natts + 1)));
    return hasher;
}

RowHash RowHasher::hash(HeapTuple row) const {
    Mixer mixer;
    heap_deform_tuple(row, shape_, values_, nulls_);
    for (int n = 0; n < shape_->natts; ++n) {
        const FormData_pg_attribute &column = *TupleDescAttr(shape_, n);
        if (column.attisdropped)
            continue;
        const char is_null = nulls_[n] ? 1 : 0;
        mixer.add(&is_null, 1);
        if (!nulls_[n])
            add_value(mixer, values_[n], column);
    }
    return mixer.result();
}

}  // namespace cache_sync
