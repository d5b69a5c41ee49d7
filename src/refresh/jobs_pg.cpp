#include "refresh/jobs_pg.h"

#include "boundary.h"
#include "observe/set_returning_pg.h"
#include "queue/shared_state_pg.h"
#include "settings_pg.h"

extern "C" {
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(cache_sync_refresh_jobs);
}

namespace cache_sync {
namespace {

constexpr const char *kTranche = "cache_sync_refresh";
constexpr int kFreeTimeoutMs = 10000;

struct JobTable {
    ConditionVariable ended;
    std::uint32_t generations;
    RefreshJob jobs[kMaxRefreshJobs];
};

shmem_request_hook_type previous_request = nullptr;
shmem_startup_hook_type previous_startup = nullptr;
JobTable *table = nullptr;
LWLock *lock = nullptr;
RefreshJob *mine = nullptr;  // in a refresh process

void request_shared_memory() {
    if (previous_request != nullptr)
        previous_request();
    RequestAddinShmemSpace(sizeof(JobTable));
    RequestNamedLWLockTranche(kTranche, 1);
}

void startup_shared_memory() {
    if (previous_startup != nullptr)
        previous_startup();
    LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
    bool found;
    table = static_cast<JobTable *>(ShmemInitStruct(kTranche, sizeof(JobTable), &found));
    lock = &GetNamedLWLockTranche(kTranche)->lock;
    if (!found) {
        std::memset(static_cast<void *>(table), 0, sizeof(JobTable));
        ConditionVariableInit(&table->ended);
    }
    LWLockRelease(AddinShmemInitLock);
}

// Runs fn(job) for each used job of the database, or of this view only, under the lock.
template <typename Fn>
void for_each_job(Oid database, Oid view, Fn fn) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    for (auto &job : table->jobs)
        if (job.used && job.database == database && (!OidIsValid(view) || job.view == view))
            fn(job);
    LWLockRelease(lock);
}

// Nobody will free it: a new publisher starts by forgetting what it finds.
bool is_orphan(const RefreshJob &job) {
    if (!job.ended)
        return false;
    const DatabaseSlot *slot = find_slot(job.database);
    return slot == nullptr || slot->pid == 0;
}

// A place for a job of this view; nullptr: there must be none now.
RefreshJob *free_place(Oid database, Oid view) {
    int running = 0;
    RefreshJob *place = nullptr;
    for (auto &job : table->jobs) {
        const bool is_same = job.used && job.database == database && job.view == view;
        if (job.used && !job.ended) {
            if (is_same)
                return nullptr;
            ++running;
        } else if (is_same || (place == nullptr && (!job.used || is_orphan(job)))) {
            place = &job;
        }
    }
    return running < setting_max_refresh_workers ? place : nullptr;
}

void end_job(int, Datum) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    mine->ended = true;
    mine->pid = 0;
    mine->used = !mine->forgotten;
    LWLockRelease(lock);
    mine = nullptr;
    ConditionVariableBroadcast(&table->ended);
    if (DatabaseSlot *slot = my_slot())
        wake_publisher(slot);
}

// Ends and forgets what can be; true: nothing is left.
bool forget_jobs(Oid database) {
    bool done = true;
    for_each_job(database, InvalidOid, [&](RefreshJob &job) {
        if (job.pid != 0 && !job.ended) {
            kill(job.pid, SIGTERM);
            job.forgotten = true;
            done = false;
        } else {
            job.used = false;  // one that starts now finds that it is not wanted
        }
    });
    return done;
}

}  // namespace

const char *name_of(RefreshReason reason) {
    switch (reason) {
        case RefreshReason::change:
            return "change";
        case RefreshReason::schedule:
            return "schedule";
        case RefreshReason::request:
            return "request";
    }
    return "unknown";
}

const char *name_of(RefreshPhase phase) {
    switch (phase) {
        case RefreshPhase::starting:
            return "starting";
        case RefreshPhase::locking:
            return "locking";
        case RefreshPhase::refreshing:
            return "refreshing";
        case RefreshPhase::comparing:
            return "comparing";
        case RefreshPhase::retrying:
            return "retrying";
    }
    return "unknown";
}

void install_refresh_jobs() {
    previous_request = shmem_request_hook;
    shmem_request_hook = request_shared_memory;
    previous_startup = shmem_startup_hook;
    shmem_startup_hook = startup_shared_memory;
}

std::optional<int> claim_job(Oid database, Oid view, Oid owner, RefreshReason reason, int timeout_ms) {
    DatabaseSlot *slot = find_slot(database);
    if (slot != nullptr && pg_atomic_read_u32(&slot->held) != 0)
        return std::nullopt;
    const TimestampTz now = GetCurrentTimestamp();
    LWLockAcquire(lock, LW_EXCLUSIVE);
    RefreshJob *const job = free_place(database, view);
    if (job != nullptr) {
        *job = RefreshJob{};
        job->database = database;
        job->view = view;
        job->owner = owner;
        job->generation = ++table->generations;
        job->used = true;
        job->reason = reason;
        job->timeout_ms = timeout_ms;
        job->started = now;
    }
    LWLockRelease(lock);
    if (job == nullptr)
        return std::nullopt;
    return static_cast<int>(job - table->jobs);
}

bool start_job(int job, BackgroundWorkerHandle **handle) {
    BackgroundWorker worker = {};
    worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
    worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
    worker.bgw_restart_time = BGW_NEVER_RESTART;
    strlcpy(worker.bgw_library_name, "cache_sync", sizeof(worker.bgw_library_name));
    strlcpy(worker.bgw_function_name, "cache_sync_refresh_main", sizeof(worker.bgw_function_name));
    strlcpy(worker.bgw_type, "cache_sync refresh", sizeof(worker.bgw_type));
    const RefreshJob claimed = look_at_job(job);
    snprintf(worker.bgw_name, sizeof(worker.bgw_name), "cache_sync refresh of view %u", claimed.view);
    worker.bgw_main_arg = UInt64GetDatum(static_cast<std::uint64_t>(claimed.generation) << 32 |
                                         static_cast<std::uint32_t>(job));
    worker.bgw_notify_pid = MyProcPid;
    return RegisterDynamicBackgroundWorker(&worker, handle);
}

RefreshJob look_at_job(int job) {
    LWLockAcquire(lock, LW_SHARED);
    const RefreshJob copy = table->jobs[job];
    LWLockRelease(lock);
    return copy;
}

void free_job(int job) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    table->jobs[job].used = false;
    LWLockRelease(lock);
}

int terminate_jobs(Oid database, Oid view) {
    int count = 0;
    for_each_job(database, view, [&](RefreshJob &job) {
        if (job.ended)
            return;
        job.stopping = true;
        if (job.pid != 0)
            kill(job.pid, SIGTERM);
        ++count;
    });
    return count;
}

bool has_running_jobs(Oid database, Oid view) {
    bool found = false;
    for_each_job(database, view,
                 [&](const RefreshJob &job) { found = found || (!job.ended && job.pid != 0); });
    return found;
}

void free_jobs_of(Oid database) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kFreeTimeoutMs);
    ConditionVariablePrepareToSleep(&table->ended);
    while (!forget_jobs(database) && GetCurrentTimestamp() < until)
        ConditionVariableTimedSleep(&table->ended, 100, PG_WAIT_EXTENSION);
    ConditionVariableCancelSleep();
}

std::optional<RefreshJob> enter_job(int number, std::uint32_t generation) {
    if (number < 0 || number >= kMaxRefreshJobs)
        return std::nullopt;
    RefreshJob &job = table->jobs[number];
    RefreshJob copy = {};
    LWLockAcquire(lock, LW_EXCLUSIVE);
    const bool is_mine = job.used && !job.ended && job.pid == 0 && job.generation == generation;
    if (is_mine) {
        job.pid = MyProcPid;
        mine = &job;
        copy = job;
    }
    LWLockRelease(lock);
    if (!is_mine)
        return std::nullopt;
    before_shmem_exit(end_job, 0);
    if (copy.stopping)
        return std::nullopt;
    return copy;
}

void report_phase(RefreshPhase phase) {
    if (mine == nullptr)
        return;
    LWLockAcquire(lock, LW_EXCLUSIVE);
    mine->phase = phase;
    LWLockRelease(lock);
}

void report_run(std::int64_t run) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    mine->run = run;
    LWLockRelease(lock);
}

void report_outcome(RefreshOutcome outcome, int sqlstate) {
    LWLockAcquire(lock, LW_EXCLUSIVE);
    mine->outcome = outcome;
    mine->sqlstate = sqlstate;
    LWLockRelease(lock);
}

}  // namespace cache_sync

// _refresh_jobs() -> (view, pid, reason, phase, run, started) of this database
Datum cache_sync_refresh_jobs(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        for (int n = 0; n < kMaxRefreshJobs; ++n) {
            const RefreshJob job = look_at_job(n);
            if (!job.used || job.ended || job.database != MyDatabaseId)
                continue;
            RowWriter row;
            row.oid(job.view).pid(job.pid).text(name_of(job.reason)).text(name_of(job.phase));
            if (job.run != 0)
                row.number(static_cast<std::uint64_t>(job.run));
            else
                row.null();
            row.timestamp(job.started).put(result);
        }
        return static_cast<Datum>(0);
    });
}
