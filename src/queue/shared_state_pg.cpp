#include "queue/shared_state_pg.h"

#include "boundary.h"
#include "settings_pg.h"

extern "C" {
#include "miscadmin.h"      // MyDatabaseId, process_shared_preload_libraries_in_progress
#include "storage/ipc.h"    // hooks
#include "storage/shmem.h"  // ShmemInitStruct
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

constexpr const char *kTranche = "cache_sync";
constexpr const char *kAreaTranche = "cache_sync_area";

struct StaticState {
    LauncherState launcher;
    int area_tranche;
    DatabaseSlot slots[kMaxDatabases];
};

shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;
StaticState *state = nullptr;
LWLockPadded *locks = nullptr;  // one a slot, then the launcher's

DatabaseSlot *slot_of_mine = nullptr;
dsa_area *attached = nullptr;
AreaRoot *root = nullptr;
Ring *ring = nullptr;

void request_shared_memory() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(sizeof(StaticState));
    RequestNamedLWLockTranche(kTranche, kMaxDatabases + 1);
}

void init_slot(DatabaseSlot &slot) {
    for (auto *counter : {&slot.database, &slot.active, &slot.committing, &slot.need_walk, &slot.finishing,
                          &slot.reload, &slot.probe, &slot.held})
        pg_atomic_init_u32(counter, 0);
    pg_atomic_init_u64(&slot.drain_asked, 0);
    pg_atomic_init_u64(&slot.drain_done, 0);
    pg_atomic_init_u64(&slot.confirmed, 0);
    CaptureCounters &capture = slot.capture;
    for (auto *counter : {&capture.transactions, &capture.rows, &capture.keys, &capture.tags,
                          &capture.patterns, &capture.duplicates, &capture.queue_rows, &capture.queue_bytes,
                          &capture.ring_overflows, &capture.rotations})
        pg_atomic_init_u64(counter, 0);
    ConditionVariableInit(&slot.drained);
    slot.area = DSA_HANDLE_INVALID;
    slot.root = InvalidDsaPointer;
}

void startup_shared_memory() {
    if (previous_startup != nullptr)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    state = static_cast<StaticState *>(ShmemInitStruct("cache_sync", sizeof(StaticState), &found));
    locks = GetNamedLWLockTranche(kTranche);
    if (!found) {
        std::memset(static_cast<void *>(state), 0, sizeof(StaticState));
        pg_atomic_init_u32(&state->launcher.wake, 0);
        state->area_tranche = LWLockNewTrancheId();
        for (auto &slot : state->slots)
            init_slot(slot);
    }
    LWLockRelease(AddinShmemInitLock);
}

void attach(DatabaseSlot *slot) {
    const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
    LWLockRegisterTranche(state->area_tranche, kAreaTranche);
    attached = dsa_attach(slot->area);
    dsa_pin_mapping(attached);
    root = static_cast<AreaRoot *>(dsa_get_address(attached, slot->root));
    ring = static_cast<Ring *>(dsa_get_address(attached, root->ring));
    MemoryContextSwitchTo(outer);
}

}  // namespace

void install_shared_memory_hooks() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request_shared_memory;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup_shared_memory;
}

LauncherState *launcher_state() {
    return &state->launcher;
}
LWLock *launcher_lock() {
    return &locks[kMaxDatabases].lock;
}

void wake_launcher() {
    pg_atomic_write_u32(&state->launcher.wake, 1);
    LWLockAcquire(launcher_lock(), LW_SHARED);
    if (state->launcher.latch != nullptr)
        SetLatch(state->launcher.latch);
    LWLockRelease(launcher_lock());
}

DatabaseSlot *slot_at(int index) {
    return &state->slots[index];
}
LWLock *slot_lock(const DatabaseSlot *slot) {
    return &locks[slot - state->slots].lock;
}

DatabaseSlot *find_slot(Oid database) {
    for (auto &slot : state->slots)
        if (pg_atomic_read_u32(&slot.database) == database)
            return &slot;
    return nullptr;
}

// Slots are claimed and freed under the launcher's lock, so a database never has two.
DatabaseSlot *claim_slot(Oid database) {
    LWLockAcquire(launcher_lock(), LW_EXCLUSIVE);
    DatabaseSlot *slot = find_slot(database);
    if (slot == nullptr && (slot = find_slot(InvalidOid)) != nullptr) {
        init_slot(*slot);
        slot->state = WorkerState::none;
        slot->pid = 0;
        slot->latch = nullptr;
        slot->last_error[0] = '\0';
        slot->last_error_at = 0;
        slot->stats_reset = GetCurrentTimestamp();
        pg_atomic_write_u32(&slot->database, database);
    }
    LWLockRelease(launcher_lock());
    return slot;
}

// For the launcher, when the database is gone: nobody else can be attached to the area any more.
void free_slot(DatabaseSlot *slot) {
    if (slot->area != DSA_HANDLE_INVALID) {
        const dsa_handle handle = slot->area;
        LWLockRegisterTranche(state->area_tranche, kAreaTranche);
        dsa_area *area = dsa_attach(handle);
        dsa_unpin(area);
        dsa_detach(area);
    }
    LWLockAcquire(launcher_lock(), LW_EXCLUSIVE);
    slot->area = DSA_HANDLE_INVALID;
    slot->root = InvalidDsaPointer;
    pg_atomic_write_u32(&slot->database, InvalidOid);
    LWLockRelease(launcher_lock());
}

DatabaseSlot *my_slot() {
    if (slot_of_mine == nullptr && OidIsValid(MyDatabaseId))
        slot_of_mine = find_slot(MyDatabaseId);
    return slot_of_mine;
}

void wake_publisher(DatabaseSlot *slot) {
    Latch *latch = slot->latch;
    if (latch != nullptr)
        SetLatch(latch);
}

bool take_flag(pg_atomic_uint32 &flag) {
    return pg_atomic_read_u32(&flag) != 0 && pg_atomic_exchange_u32(&flag, 0) != 0;
}

AreaRoot *my_area() {
    if (root != nullptr)
        return root;
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr)
        return nullptr;
    LWLockAcquire(slot_lock(slot), LW_SHARED);
    const bool ready = slot->root != InvalidDsaPointer;
    LWLockRelease(slot_lock(slot));
    if (ready)
        attach(slot);
    return root;
}

Ring *my_ring() {
    return my_area() != nullptr ? ring : nullptr;
}
Ring *attached_ring() {
    return ring;
}

dsa_area *my_dsa() {
    return attached;
}

bool ensure_area(DatabaseSlot *slot) {
    if (my_area() != nullptr)
        return true;
    const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
    LWLockRegisterTranche(state->area_tranche, kAreaTranche);
    attached = dsa_create(state->area_tranche);
    dsa_pin(attached);
    dsa_pin_mapping(attached);
    MemoryContextSwitchTo(outer);

    const std::size_t capacity = static_cast<std::size_t>(setting_ring_size) * 1024;
    const int flags = DSA_ALLOC_NO_OOM | DSA_ALLOC_ZERO | DSA_ALLOC_HUGE;
    const dsa_pointer root_at = dsa_allocate_extended(attached, sizeof(AreaRoot), flags);
    const dsa_pointer ring_at = dsa_allocate_extended(attached, Ring::size(capacity), flags);
    if (!DsaPointerIsValid(root_at) || !DsaPointerIsValid(ring_at)) {
        dsa_unpin(attached);
        dsa_detach(attached);
        attached = nullptr;
        return false;
    }
    root = static_cast<AreaRoot *>(dsa_get_address(attached, root_at));
    root->ring = ring_at;
    ring = Ring::format(dsa_get_address(attached, ring_at), capacity);
    LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
    slot->area = dsa_get_handle(attached);
    slot->root = root_at;
    LWLockRelease(slot_lock(slot));
    return true;
}

}  // namespace cache_sync
