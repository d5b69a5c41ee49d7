#include "refresh/row_difference_pg.h"

#include <algorithm>
#include <cstring>

#include "boundary.h"
#include "capture/row_change_pg.h"
#include "capture/transaction_pg.h"

extern "C" {
#include "access/detoast.h"
#include "access/htup_details.h"
#include "catalog/pg_operator.h"
#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#include "varatt.h"
}

namespace cache_sync {
namespace {

constexpr std::size_t kHashSize = 16;
constexpr std::size_t kHeadSize = kHashSize + 1;  // and the sign
constexpr std::size_t kMostSeen = 16 * 1024 * 1024;

constinit TouchText scratch;

// A hash over what is added, gathered into chunks. Two independent halves: rows of different contents do not
// meet by accident.
class RowHash {
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

    // Ends it, and puts kHashSize bytes at `to`.
    void finish(char *to) {
        flush();
        std::memcpy(to, &low_, sizeof(low_));
        std::memcpy(to + sizeof(low_), &high_, sizeof(high_));
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

// Equal values give equal bytes however they are stored: compressed, out of line, with a short header.
void add_value(RowHash &hash, Datum value, const FormData_pg_attribute &column) {
    if (column.attbyval) {
        hash.add_number(value);
    } else if (column.attlen == -1) {
        const varlena *const flat = pg_detoast_datum_packed(reinterpret_cast<varlena *>(value));
        hash.add_number(VARSIZE_ANY_EXHDR(flat));
        hash.add(VARDATA_ANY(flat), VARSIZE_ANY_EXHDR(flat));
    } else {
        const char *const bytes = DatumGetPointer(value);
        const std::size_t size = column.attlen == -2 ? std::strlen(bytes) + 1 : column.attlen;
        hash.add_number(size);
        hash.add(bytes, size);
    }
}

void *resize(void *block, std::size_t bytes) {
    if (bytes == 0) {
        pfree(block);
        return nullptr;
    }
    constexpr int flags = MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM;
    return block != nullptr ? repalloc_extended(block, bytes, flags) : palloc_extended(bytes, flags);
}

// Touches names and counts the different ones. Of very many it forgets which it saw; the count is too high
// then.
class NameCounter {
 public:
    explicit NameCounter(ChangedCounts &counts) : counts_(counts) {}

    void touch_all(std::string_view records) {
        while (const auto record = take_record(records)) {
            touch(record->kind, record->text);
            if (seen_.memory() > kMostSeen)
                seen_.reset();
            if (seen_.add(record->kind, record->text, 1) == TouchedSet::Added::duplicate)
                continue;
            counts_.keys += record->kind == TouchKind::key ? 1 : 0;
            counts_.tags += record->kind == TouchKind::tag ? 1 : 0;
        }
    }

 private:
    ChangedCounts &counts_;
    TouchedSet seen_{resize};
};

// An entry of the sort, as it comes out.
struct Entry {
    std::string_view hash;
    bool is_added;
    std::string_view names;

    static Entry of(Datum datum) {
        const auto *const bytes = reinterpret_cast<const varlena *>(DatumGetPointer(datum));
        const std::string_view all(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
        return {all.substr(0, kHashSize), all[kHashSize] != 0, all.substr(kHeadSize)};
    }
};

// Rows of one hash, which are equal and so have equal names.
struct Group {
    char hash[kHashSize];
    std::int64_t balance = 0;
    std::string_view names;  // in a buffer of the caller
};

void close_group(const Group &group, ChangedCounts &counts, NameCounter &names) {
    if (group.balance == 0)
        return;
    counts.inserted += std::max<std::int64_t>(group.balance, 0);
    counts.removed += std::max<std::int64_t>(-group.balance, 0);
    names.touch_all(group.names);
}

}  // namespace

RowDifference *RowDifference::create(TupleDesc shape) {
    auto *const self = static_cast<RowDifference *>(palloc0(sizeof(RowDifference)));
    self->shape_ = CreateTupleDescCopy(shape);
    self->sort_ = tuplesort_begin_datum(BYTEAOID, lookup_type_cache(BYTEAOID, TYPECACHE_LT_OPR)->lt_opr,
                                        InvalidOid, false, maintenance_work_mem, nullptr, TUPLESORT_NONE);
    self->scratch_ =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync compared row", ALLOCSET_DEFAULT_SIZES);
    self->values_ = static_cast<Datum *>(palloc(sizeof(Datum) * (shape->natts + 1)));
    self->nulls_ = static_cast<bool *>(palloc(sizeof(bool) * (shape->natts + 1)));
    self->entry_room_ = 256;
    self->entry_ = static_cast<char *>(palloc(self->entry_room_));
    return self;
}

void RowDifference::append(const void *bytes, std::size_t size) {
    if (entry_size_ + size > entry_room_) {
        entry_room_ = std::max(2 * entry_room_, entry_size_ + size);
        entry_ = static_cast<char *>(repalloc(entry_, entry_room_));
    }
    std::memcpy(entry_ + entry_size_, bytes, size);
    entry_size_ += size;
}

void RowDifference::append_hash(HeapTuple row) {
    RowHash hash;
    heap_deform_tuple(row, shape_, values_, nulls_);
    for (int n = 0; n < shape_->natts; ++n) {
        const FormData_pg_attribute &column = *TupleDescAttr(shape_, n);
        if (column.attisdropped)
            continue;
        const char is_null = nulls_[n] ? 1 : 0;
        hash.add(&is_null, 1);
        if (!nulls_[n])
            add_value(hash, values_[n], column);
    }
    char bytes[kHashSize];
    hash.finish(bytes);
    append(bytes, kHashSize);
}

void RowDifference::append_names(HeapTuple row, const TableRules &rules) {
    touch_change(rules, {shape_, nullptr, row}, scratch,
                 [&](const CompiledRule &, TouchKind kind, std::string_view name) {
                     char *const record = static_cast<char *>(palloc(record_size(name.size())));
                     const char *const end = write_record(record, kind, name);
                     append(record, end - record);
                 });
}

void RowDifference::put(HeapTuple row, const TableRules &rules, bool is_added) {
    const MemoryContext caller = MemoryContextSwitchTo(scratch_);
    entry_size_ = VARHDRSZ;
    append_hash(row);
    const char sign = is_added ? 1 : 0;
    append(&sign, 1);
    append_names(row, rules);
    SET_VARSIZE(entry_, entry_size_);
    MemoryContextSwitchTo(caller);
    tuplesort_putdatum(sort_, PointerGetDatum(entry_), false);
    MemoryContextReset(scratch_);
}

ChangedCounts RowDifference::touch_changed() {
    ChangedCounts counts;
    NameCounter names(counts);
    Group group;
    bool is_first = true;
    Datum datum;
    bool is_null;
    tuplesort_performsort(sort_);
    while (tuplesort_getdatum(sort_, true, false, &datum, &is_null, nullptr)) {
        CHECK_FOR_INTERRUPTS();
        const Entry entry = Entry::of(datum);
        if (is_first || std::memcmp(group.hash, entry.hash.data(), kHashSize) != 0) {
            if (!is_first)
                close_group(group, counts, names);
            is_first = false;
            std::memcpy(group.hash, entry.hash.data(), kHashSize);
            group.balance = 0;
            entry_size_ = 0;  // the entry lasts until the next one is read
            append(entry.names.data(), entry.names.size());
            group.names = {entry_, entry_size_};
        }
        group.balance += entry.is_added ? 1 : -1;
    }
    if (!is_first)
        close_group(group, counts, names);
    tuplesort_end(sort_);
    MemoryContextDelete(scratch_);
    return counts;
}

}  // namespace cache_sync
