#include "refresh/row_difference_pg.h"

#include <algorithm>
#include <cstring>

#include "capture/row_change_pg.h"
#include "capture/touched_set.h"
#include "capture/transaction_pg.h"

extern "C" {
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/typcache.h"
#include "varatt.h"
}

namespace cache_sync {
namespace {

constexpr std::size_t kMostSeen = 16 * 1024 * 1024;

constexpr double kMostExpected = 1 << 20;

constinit TouchText scratch;

void *resize(void *block, std::size_t bytes) {
    if (bytes == 0) {
        pfree(block);
        return nullptr;
    }
    constexpr int flags = MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM;
    return block != nullptr ? repalloc_extended(block, bytes, flags) : palloc_extended(bytes, flags);
}

// Touches the names of changed rows and counts the different ones. Of very many it forgets which it saw; the
// count is too high then.
class Toucher {
 public:
    void take(std::int64_t balance, std::string_view names) {
        if (balance == 0)
            return;
        counts_.inserted += std::max<std::int64_t>(balance, 0);
        counts_.removed += std::max<std::int64_t>(-balance, 0);
        while (const auto record = take_record(names))
            take_name(record->kind, record->text);
    }
    const ChangedCounts &counts() const { return counts_; }

 private:
    void take_name(TouchKind kind, std::string_view text) {
        touch(kind, text);
        if (seen_.memory() > kMostSeen)
            seen_.reset();
        if (seen_.add(kind, text, 1) == TouchedSet::Added::duplicate)
            return;
        counts_.keys += kind == TouchKind::key ? 1 : 0;
        counts_.tags += kind == TouchKind::tag ? 1 : 0;
    }

    ChangedCounts counts_;
    TouchedSet seen_{resize};
};

// Rows of one hash, which are equal and so have equal names.
struct KeptRow {
    RowHash hash;          // the key of the table
    std::int64_t balance;  // rows added less rows removed
    const char *names;
    std::size_t names_size;
};

uint32 table_hash(const void *key, Size) {
    uint32 hash;
    std::memcpy(&hash, key, sizeof(hash));
    return hash;
}

HTAB *make_table(MemoryContext memory, double rows) {
    HASHCTL control = {};
    control.keysize = kRowHashSize;
    control.entrysize = sizeof(KeptRow);
    control.hash = table_hash;
    control.hcxt = memory;
    return hash_create("cache_sync compared rows", std::clamp(rows, 256.0, kMostExpected), &control,
                       HASH_ELEM | HASH_FUNCTION | HASH_CONTEXT);
}

// What is sorted: a bytea of hash, balance and names.
struct SortHead {
    RowHash hash;
    std::int64_t balance;
};

struct Sorted {
    SortHead head;
    std::string_view names;

    static Sorted of(Datum datum) {
        const auto *const bytes = reinterpret_cast<const varlena *>(DatumGetPointer(datum));
        const std::string_view all(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes));
        Sorted sorted;
        std::memcpy(&sorted.head, all.data(), sizeof(SortHead));
        sorted.names = all.substr(sizeof(SortHead));
        return sorted;
    }
};

void touch_kept(HTAB *table, Toucher &toucher) {
    HASH_SEQ_STATUS status;
    hash_seq_init(&status, table);
    while (const auto *row = static_cast<const KeptRow *>(hash_seq_search(&status)))
        toucher.take(row->balance, {row->names, row->names_size});
}

void touch_sorted(Tuplesortstate *sort, Toucher &toucher) {
    SortHead group = {};
    bool has_group = false;
    Datum datum;
    bool is_null;
    const MemoryContext memory = CurrentMemoryContext;
    char *names = nullptr;  // of the group: an entry lasts until the next one is read
    std::size_t names_size = 0, names_room = 0;
    tuplesort_performsort(sort);
    while (tuplesort_getdatum(sort, true, false, &datum, &is_null, nullptr)) {
        CHECK_FOR_INTERRUPTS();
        const Sorted row = Sorted::of(datum);
        if (has_group && std::memcmp(&group.hash, &row.head.hash, kRowHashSize) == 0) {
            group.balance += row.head.balance;
            continue;
        }
        if (has_group)
            toucher.take(group.balance, {names, names_size});
        group = row.head;
        has_group = true;
        if (row.names.size() >= names_room) {
            names_room = 2 * row.names.size() + 64;
            names = static_cast<char *>(MemoryContextAlloc(memory, names_room));
        }
        names_size = row.names.copy(names, row.names.size());
    }
    if (has_group)
        toucher.take(group.balance, {names, names_size});
}

}  // namespace

RowDifference *RowDifference::create(TupleDesc shape, double expected_rows) {
    auto *const self = static_cast<RowDifference *>(palloc0(sizeof(RowDifference)));
    self->hasher_ = RowHasher::create(shape);
    self->memory_ =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync compared rows", ALLOCSET_DEFAULT_SIZES);
    self->kept_ = BumpContextCreate(self->memory_, "cache_sync names of rows", ALLOCSET_DEFAULT_SIZES);
    self->scratch_ =
        AllocSetContextCreate(CurrentMemoryContext, "cache_sync compared row", ALLOCSET_DEFAULT_SIZES);
    self->table_ = make_table(self->memory_, expected_rows);
    self->names_room_ = 256;
    self->names_ = static_cast<char *>(palloc(self->names_room_));
    return self;
}

void RowDifference::render_names(HeapTuple row, const TableRules &rules) {
    names_size_ = 0;
    touch_change(rules, {hasher_.shape(), nullptr, row}, scratch,
                 [&](const CompiledRule &, TouchKind kind, std::string_view name) {
                     const std::size_t wanted = names_size_ + record_size(name.size());
                     if (wanted > names_room_) {
                         names_room_ = 2 * wanted;
                         names_ = static_cast<char *>(repalloc(names_, names_room_));
                     }
                     names_size_ = write_record(names_ + names_size_, kind, name) - names_;
                 });
}

void RowDifference::put(HeapTuple row, const TableRules &rules, std::int64_t balance) {
    const MemoryContext caller = MemoryContextSwitchTo(scratch_);
    const RowHash hash = hasher_.hash(row);
    if (table_ != nullptr) {
        keep(hash, row, rules, balance);
    } else {
        render_names(row, rules);
        sort(hash, balance, rendered());
    }
    MemoryContextSwitchTo(caller);
    MemoryContextReset(scratch_);
}

// Most rows of a refresh are there twice, and are rendered once.
void RowDifference::keep(const RowHash &hash, HeapTuple row, const TableRules &rules, std::int64_t balance) {
    bool is_found;
    auto *const kept = static_cast<KeptRow *>(hash_search(table_, &hash, HASH_ENTER, &is_found));
    if (is_found) {
        kept->balance += balance;
        return;
    }
    kept->balance = balance;
    kept->names_size = 0;
    render_names(row, rules);
    auto *const names = static_cast<char *>(MemoryContextAlloc(kept_, names_size_ + 1));
    std::memcpy(names, names_, names_size_);
    kept->names = names;
    kept->names_size = names_size_;
    if (MemoryContextMemAllocated(memory_, true) > static_cast<Size>(maintenance_work_mem) * 1024)
        go_to_disk();
}

// From here on all rows are rendered and sorted.
void RowDifference::go_to_disk() {
    MemoryContextSwitchTo(GetMemoryChunkContext(this));
    sort_ = tuplesort_begin_datum(BYTEAOID, lookup_type_cache(BYTEAOID, TYPECACHE_LT_OPR)->lt_opr, InvalidOid,
                                  false, maintenance_work_mem, nullptr, TUPLESORT_NONE);
    MemoryContextSwitchTo(scratch_);
    HASH_SEQ_STATUS status;
    hash_seq_init(&status, table_);
    while (const auto *row = static_cast<const KeptRow *>(hash_seq_search(&status)))
        if (row->balance != 0)
            sort(row->hash, row->balance, {row->names, row->names_size});
    table_ = nullptr;
    MemoryContextDelete(memory_);
}

void RowDifference::sort(const RowHash &hash, std::int64_t balance, std::string_view names) {
    const SortHead head{hash, balance};
    const std::size_t size = VARHDRSZ + sizeof(head) + names.size();
    char *const entry = static_cast<char *>(palloc(size));
    SET_VARSIZE(entry, size);
    std::memcpy(VARDATA(entry), &head, sizeof(head));
    std::memcpy(VARDATA(entry) + sizeof(head), names.data(), names.size());
    tuplesort_putdatum(sort_, PointerGetDatum(entry), false);
    pfree(entry);
}

ChangedCounts RowDifference::touch_changed() {
    Toucher toucher;
    if (table_ != nullptr) {
        touch_kept(table_, toucher);
        MemoryContextDelete(memory_);
    } else {
        touch_sorted(sort_, toucher);
        tuplesort_end(sort_);
    }
    MemoryContextDelete(scratch_);
    return toucher.counts();
}

}  // namespace cache_sync
