#include "queue/published_rows_pg.h"

#include "boundary.h"

extern "C" {
#include "access/htup_details.h"  // MaxHeapTuplesPerPage
}

namespace cache_sync {
namespace {

constexpr std::uint32_t kPagesPerChunk = 256;
constexpr std::size_t kBytesPerPage = (MaxHeapTuplesPerPage + 1 + 7) / 8;
constexpr std::size_t kChunkBytes = kPagesPerChunk * kBytesPerPage;

dsa_pointer *chunk_of(RowPosition row) {
    AreaRoot *area = my_area();
    const std::uint32_t chunk = row.block / kPagesPerChunk;
    if (area == nullptr || chunk >= kMarkChunks)
        return nullptr;
    return &area->marks[row.table][chunk];
}

unsigned char *byte_of(RowPosition row, dsa_pointer chunk) {
    auto *bytes = static_cast<unsigned char *>(dsa_get_address(my_dsa(), chunk));
    return bytes + (row.block % kPagesPerChunk) * kBytesPerPage + row.offset / 8;
}

unsigned char bit_of(RowPosition row) {
    return static_cast<unsigned char>(1u << (row.offset % 8));
}

}  // namespace

bool mark_published(RowPosition row) {
    dsa_pointer *chunk = chunk_of(row);
    if (chunk == nullptr)
        return false;
    if (!DsaPointerIsValid(*chunk)) {
        const dsa_pointer fresh =
            dsa_allocate_extended(my_dsa(), kChunkBytes, DSA_ALLOC_NO_OOM | DSA_ALLOC_ZERO);
        if (!DsaPointerIsValid(fresh))
            return false;
        LWLockAcquire(slot_lock(my_slot()), LW_EXCLUSIVE);
        *chunk = fresh;
        LWLockRelease(slot_lock(my_slot()));
    }
    *byte_of(row, *chunk) |= bit_of(row);
    return true;
}

void unmark_published(RowPosition row) {
    const dsa_pointer *chunk = chunk_of(row);
    if (chunk != nullptr && DsaPointerIsValid(*chunk))
        *byte_of(row, *chunk) &= static_cast<unsigned char>(~bit_of(row));
}

bool is_published(RowPosition row) {
    const dsa_pointer *chunk = chunk_of(row);
    return chunk != nullptr && DsaPointerIsValid(*chunk) && (*byte_of(row, *chunk) & bit_of(row)) != 0;
}

void forget_marks(int table) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return;
    LWLockAcquire(slot_lock(my_slot()), LW_EXCLUSIVE);
    for (auto &chunk : area->marks[table]) {
        if (DsaPointerIsValid(chunk))
            dsa_free(my_dsa(), chunk);
        chunk = InvalidDsaPointer;
    }
    LWLockRelease(slot_lock(my_slot()));
}

void forget_all_marks() {
    for (int table = 0; table < kQueueTables; ++table)
        forget_marks(table);
}

}  // namespace cache_sync
