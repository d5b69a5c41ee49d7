// The launcher: one for the cluster, connected to no database. It keeps one publisher running in every
// database that has the extension.
//
//   none ---start---> starting ---> running ---ends---> stopped ---after a pause---> starting
//                        |                                 (held: not before the holder is done)
//                        +--- no extension there ---> absent ---CREATE EXTENSION---> none
#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "boundary.h"
#include "clock.h"
#include "queue/shared_state_pg.h"
#include "refresh/schedule_zone_pg.h"
#include "worker/transaction_pg.h"
#include "worker/workers_pg.h"

extern "C" {
#include "access/heapam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PGDLLEXPORT void cache_sync_launcher_main(Datum unused);
}

namespace cache_sync {
namespace {

constexpr Milliseconds kLookAgain{60000};    // for databases that appeared without a word
constexpr Milliseconds kNoSlotRetry{5000};   // when the cluster is out of worker slots
constexpr Milliseconds kShortestPause{100};  // before a publisher that ended is started again
constexpr Milliseconds kLongestPause{10000};
constexpr Milliseconds kLivedLong{5000};  // a publisher that lived so long starts again at once

struct Watched {
    BackgroundWorkerHandle *handle = nullptr;
    TimePoint started{}, start_after{};
    Milliseconds pause{0};
    bool seen = false;
};

class Launcher {
 public:
    void run();

 private:
    std::vector<Oid> databases();
    void look();
    void look_after(Oid database, TimePoint now);
    void notice_end(Watched &watched, DatabaseSlot *slot, TimePoint now);
    void start(Watched &watched, DatabaseSlot *slot, Oid database, TimePoint now);
    void forget_dropped();
    void wait(TimePoint now);

    std::map<Oid, Watched> watched_;
    TimePoint look_at_{};
    TimePoint next_{};  // the earliest time at which something is to be started
    bool out_of_slots_said_ = false;
};

void Launcher::run() {
    for (;;) {
        call([] {
            CHECK_FOR_INTERRUPTS();
            if (ConfigReloadPending) {
                ConfigReloadPending = false;
                ProcessConfigFile(PGC_SIGHUP);
                announce_configured_zone();
            }
        });
        const TimePoint now = Clock::now();
        next_ = kNever;
        if (take_flag(launcher_state()->wake) || now >= look_at_) {
            look();
            look_at_ = now + kLookAgain;
        }
        for (auto &[database, watched] : watched_)
            look_after(database, now);
        wait(now);
    }
}

std::vector<Oid> Launcher::databases() {
    std::vector<Oid> found;
    in_transaction("looking for databases", [&] {
        List *oids = call([] {
            List *list = NIL;
            Relation relation = table_open(DatabaseRelationId, AccessShareLock);
            TableScanDesc scan = table_beginscan_catalog(relation, 0, nullptr);
            while (HeapTuple tuple = heap_getnext(scan, ForwardScanDirection)) {
                const auto *form = reinterpret_cast<Form_pg_database>(GETSTRUCT(tuple));
                if (form->datallowconn && !database_is_invalid_form(const_cast<Form_pg_database>(form)))
                    list = lappend_oid(list, form->oid);
            }
            table_endscan(scan);
            table_close(relation, AccessShareLock);
            return list;
        });
        for (int n = 0; n < list_length(oids); ++n)
            found.push_back(list_nth_oid(oids, n));
    });
    return found;
}

void Launcher::look() {
    const std::vector<Oid> found = databases();
    if (found.empty())
        return;  // the look failed; there is always template1
    for (auto &[database, watched] : watched_)
        watched.seen = false;
    for (const Oid database : found)
        watched_[database].seen = true;
    forget_dropped();
}

void Launcher::forget_dropped() {
    for (auto at = watched_.begin(); at != watched_.end();) {
        const bool running = at->second.handle != nullptr;
        if (at->second.seen || running) {
            ++at;
            continue;
        }
        if (DatabaseSlot *slot = find_slot(at->first))
            call([&] { free_slot(slot); });
        at = watched_.erase(at);
    }
}

void Launcher::look_after(Oid database, TimePoint now) {
    Watched &watched = watched_[database];
    DatabaseSlot *slot = call([&] { return claim_slot(database); });
    if (slot == nullptr)
        return;
    notice_end(watched, slot, now);
    const bool absent = slot->state == WorkerState::absent && pg_atomic_read_u32(&slot->probe) == 0;
    const bool wanted = watched.handle == nullptr && slot->pid == 0 && watched.seen && !absent &&
                        pg_atomic_read_u32(&slot->held) == 0;
    if (!wanted)
        return;
    if (now >= watched.start_after)
        start(watched, slot, database, now);
    else
        next_ = std::min(next_, watched.start_after);
}

void Launcher::notice_end(Watched &watched, DatabaseSlot *slot, TimePoint now) {
    if (watched.handle == nullptr)
        return;
    pid_t pid;
    const BgwHandleStatus status = GetBackgroundWorkerPid(watched.handle, &pid);
    if (status == BGWH_STARTED || status == BGWH_NOT_YET_STARTED)
        return;
    pfree(watched.handle);
    watched.handle = nullptr;
    const bool lived_long = now - watched.started > kLivedLong;
    watched.pause =
        lived_long ? kShortestPause : std::clamp(watched.pause * 2, kShortestPause, kLongestPause);
    watched.start_after = lived_long ? now : now + watched.pause;
    if (slot->state == WorkerState::starting)  // it died before it said anything
        slot->state = WorkerState::stopped;
    look_at_ = std::min(look_at_, now);  // its database may be gone
}

void Launcher::start(Watched &watched, DatabaseSlot *slot, Oid database, TimePoint now) {
    const bool started = call([&] {
        BackgroundWorker worker{};
        worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
        worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
        worker.bgw_restart_time = BGW_NEVER_RESTART;
        worker.bgw_main_arg = ObjectIdGetDatum(database);
        worker.bgw_notify_pid = MyProcPid;
        strlcpy(worker.bgw_library_name, "cache_sync", sizeof(worker.bgw_library_name));
        strlcpy(worker.bgw_function_name, "cache_sync_publisher_main", BGW_MAXLEN);
        snprintf(worker.bgw_name, BGW_MAXLEN, "cache_sync publisher");
        snprintf(worker.bgw_type, BGW_MAXLEN, "cache_sync publisher");
        pg_atomic_write_u32(&slot->probe, 0);
        LWLockAcquire(slot_lock(slot), LW_EXCLUSIVE);
        slot->state = WorkerState::starting;
        LWLockRelease(slot_lock(slot));
        const MemoryContext outer = MemoryContextSwitchTo(TopMemoryContext);
        const bool done = RegisterDynamicBackgroundWorker(&worker, &watched.handle);
        MemoryContextSwitchTo(outer);
        return done;
    });
    watched.started = now;
    if (started) {
        out_of_slots_said_ = false;
        return;
    }
    watched.handle = nullptr;
    slot->state = WorkerState::stopped;
    watched.start_after = now + kNoSlotRetry;
    next_ = std::min(next_, watched.start_after);
    LauncherState *shown = launcher_state();
    strlcpy(shown->last_error, "out of background worker slots", sizeof(shown->last_error));
    shown->last_error_at = GetCurrentTimestamp();
    if (!std::exchange(out_of_slots_said_, true))
        call([&] {
            ereport(
                WARNING,
                (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                 errmsg("cache_sync: out of background worker slots"),
                 errdetail("No publisher can be started for database %u; trying again every 5 s.", database),
                 errhint("Increase \"max_worker_processes\".")));
        });
}

void Launcher::wait(TimePoint now) {
    static std::uint32_t event = 0;
    const TimePoint deadline = std::min(next_, look_at_);
    const long timeout =
        std::max<long>(0, static_cast<long>(std::chrono::ceil<Milliseconds>(deadline - now).count()));
    call([&] {
        if (event == 0)
            event = WaitEventExtensionNew("CacheSyncLauncherMain");
        WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, event);
        ResetLatch(MyLatch);
    });
}

void leave(int, Datum) {
    LWLockAcquire(launcher_lock(), LW_EXCLUSIVE);
    launcher_state()->latch = nullptr;
    launcher_state()->pid = 0;
    LWLockRelease(launcher_lock());
}

void introduce() {
    LWLockAcquire(launcher_lock(), LW_EXCLUSIVE);
    LauncherState *state = launcher_state();
    state->latch = MyLatch;
    state->pid = MyProcPid;
    state->started = GetCurrentTimestamp();
    LWLockRelease(launcher_lock());
    before_shmem_exit(leave, 0);
}

}  // namespace

void register_launcher() {
    BackgroundWorker worker{};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = 1;
    strlcpy(worker.bgw_library_name, "cache_sync", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "cache_sync_launcher_main", BGW_MAXLEN);
    strlcpy(worker.bgw_name, "cache_sync launcher", BGW_MAXLEN);
    strlcpy(worker.bgw_type, "cache_sync launcher", BGW_MAXLEN);
    RegisterBackgroundWorker(&worker);
}

}  // namespace cache_sync

void cache_sync_launcher_main(Datum) {
    using namespace cache_sync;
    pqsignal(SIGHUP, SignalHandlerForConfigReload);
    pqsignal(SIGTERM, die);
    BackgroundWorkerUnblockSignals();
    entry([] {
        call([] {
            BackgroundWorkerInitializeConnection(nullptr, nullptr, 0);
            introduce();
            announce_configured_zone();
        });
        auto *launcher = new Launcher;  // never destroyed, as the publisher
        launcher->run();
    });
    proc_exit(1);
}
