// Entry point of a publisher process: its slot, its connection, its end.
#include "worker/publisher_pg.h"

#include "boundary.h"

extern "C" {
#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"  // die
#include "utils/guc.h"
#include "utils/timestamp.h"

PGDLLEXPORT void cache_sync_publisher_main(Datum database);
}

namespace cache_sync {
namespace {

WorkerState end_state = WorkerState::stopped;

void leave_slot(int, Datum) {
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr)
        return;
    LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
    slot->state = end_state;
    slot->pid = 0;
    slot->latch = nullptr;
    LWLockRelease(slot_lock(slot));
    ConditionVariableBroadcast(&slot->drained);  // who waits learns that nobody answers
    wake_launcher();
}

// False: the database has a publisher, left over from an earlier launcher.
bool enter_slot(DatabaseSlot *slot) {
    LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
    if (slot->pid != 0) {
        LWLockRelease(slot_lock(slot));
        return false;
    }
    slot->state = WorkerState::running;
    slot->pid = MyProcPid;
    slot->latch = MyLatch;
    slot->started = GetCurrentTimestamp();
    LWLockRelease(slot_lock(slot));
    before_shmem_exit(leave_slot, 0);
    return true;
}

// Settings that a worker must not take from the configuration: a publisher that waits for a standby that is
// gone, or is cut off by a timeout, publishes nothing.
void pin_settings() {
    struct Setting {
        const char *name, *value;
    } const settings[] = {{"search_path", "pg_catalog, pg_temp"},
                          {"synchronous_commit", "local"},
                          {"default_transaction_isolation", "read committed"},
                          {"default_transaction_read_only", "off"},
                          {"statement_timeout", "0"},
                          {"transaction_timeout", "0"},
                          {"idle_in_transaction_session_timeout", "0"},
                          {"lock_timeout", "2s"},
                          {"row_security", "off"}};
    for (const Setting &setting : settings)
        SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
}

void remember_error(DatabaseSlot *slot, const char *text) {
    LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
    strlcpy(slot->last_error, text, sizeof(slot->last_error));
    slot->last_error_at = GetCurrentTimestamp();
    LWLockRelease(slot_lock(slot));
}

bool extension_exists() {
    bool exists = false;
    in_transaction("looking for the extension",
                   [&] { exists = call([] { return queue_tables() != nullptr; }); });
    return exists;
}

void make_area(DatabaseSlot *slot) {
    try {
        if (call([&] { return ensure_area(slot); }))
            return;
    } catch (const PgError &) {
    }
    remember_error(slot, "no shared memory for the fast path; changes are read from the queue tables");
    call([] {
        ereport(WARNING, (errmsg("cache_sync: no shared memory for the fast path"),
                          errhint("Lower cache_sync.ring_size, or raise the limit of shared memory.")));
    });
}

void publish_until_gone(DatabaseSlot *slot) {
    if (!extension_exists()) {
        end_state = WorkerState::absent;
        return;
    }
    make_area(slot);
    // Never destroyed: a FATAL error ends the process without unwinding, and there is nothing to undo.
    auto *publisher = new Publisher(slot);
    try {
        publisher->run();
    } catch (const std::exception &error) {
        call([&] { remember_error(slot, error.what()); });
        throw;
    }
    end_state = WorkerState::absent;
}

}  // namespace
}  // namespace cache_sync

void cache_sync_publisher_main(Datum database) {
    using namespace cache_sync;
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    entry([&] {
        call([&] { BackgroundWorkerInitializeConnectionByOid(DatumGetObjectId(database), InvalidOid, 0); });
        DatabaseSlot *slot = my_slot();
        if (slot == nullptr)
            return;
        if (!call([&] { return enter_slot(slot); }))
            return;
        call([] { pin_settings(); });
        publish_until_gone(slot);
    });
    proc_exit(0);
}
