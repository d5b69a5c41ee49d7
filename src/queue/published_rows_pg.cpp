#include "queue/published_rows_pg.h"

#include "boundary.h"

extern "C" {
#include "access/htup_details.h"  // MaxHeapTuplesPerPage
}

namespace cache_sync {
namespace {

constexpr std::uint32_t kPagesPerChunk = 1024;
constexpr std::size_t kBytesPerPage = (MaxHeapTuplesPerPage + 1 + 7) / 8;
constexpr std::size_t kChunkBytes = kPagesPerChunk * kBytesPerPage;

dsa_pointer *chunk_of(int place, RowPosition row) {
    AreaRoot *area = my_area();
    const std::uint32_t chunk = row.block / kPagesPerChunk;
    if (area == nullptr || chunk >= kMarkChunks)
        return nullptr;
    return &area->marks[place][row.table][chunk];
}

unsigned char *byte_of(RowPosition row, dsa_pointer chunk) {
    auto *bytes = static_cast<unsigned char *>(dsa_get_address(my_dsa(), chunk));
    return bytes + (row.block % kPagesPerChunk) * kBytesPerPage + row.offset / 8;
}

unsigned char bit_of(RowPosition row) {
    return static_cast<unsigned char>(1u << (row.offset % 8));
}

void forget(int place, int table) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return;
    LWLockAcquire(slot_lock(my_slot()), LW_EXCLUSIVE);
    for (auto &chunk : area->marks[place][table]) {
        if (DsaPointerIsValid(chunk))
            dsa_free(my_dsa(), chunk);
        chunk = InvalidDsaPointer;
    }
    LWLockRelease(slot_lock(my_slot()));
}

}  // namespace

void mark_confirmed(int place, RowPosition row) {
    dsa_pointer *chunk = chunk_of(place, row);
    if (chunk == nullptr)
        return;
    if (!DsaPointerIsValid(*chunk)) {
        const dsa_pointer fresh =
            dsa_allocate_extended(my_dsa(), kChunkBytes, DSA_ALLOC_NO_OOM | DSA_ALLOC_ZERO);
        if (!DsaPointerIsValid(fresh))
            return;
        LWLockAcquire(slot_lock(my_slot()), LW_EXCLUSIVE);
        *chunk = fresh;
        LWLockRelease(slot_lock(my_slot()));
    }
    *byte_of(row, *chunk) |= bit_of(row);
}

bool is_confirmed(Places places, RowPosition row) {
    for (int place = 0; place < kPlaces; ++place) {
        if ((places >> place & 1) == 0)
            continue;
        const dsa_pointer *chunk = chunk_of(place, row);
        if (chunk == nullptr || !DsaPointerIsValid(*chunk) || (*byte_of(row, *chunk) & bit_of(row)) == 0)
            return false;
    }
    return true;
}

Places places_to_keep_for() {
    const AreaRoot *area = my_area();
    Places places = 0;
    for (int place = 0; area != nullptr && place < kMaxTargets; ++place)
        if (OidIsValid(area->targets[place].server) && !area->targets[place].exempt)
            places |= Places{1} << place;
    if (area != nullptr && area->has_views)
        places |= Places{1} << kRefreshPlace;
    return places;
}

void forget_marks_of_table(int table) {
    for (int place = 0; place < kPlaces; ++place)
        forget(place, table);
}

void forget_marks_of_place(int place) {
    for (int table = 0; table < kQueueTables; ++table)
        forget(place, table);
}

}  // namespace cache_sync
