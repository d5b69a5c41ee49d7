// The refreshes that are under way, in shared memory: at most cache_sync.max_refresh_workers in the cluster,
// never two of one view. See the state diagram in README.md.
//
//   publisher   claim_job, start_job, look_at_job, free_job
//   process     enter_job, its phases and outcome; at its exit the job has ended, whatever ended it
//   others      terminate_jobs: DDL that would wait for a refresh
//
// All under one lock, held for a few instructions.
#pragma once

#include <cstdint>
#include <optional>

#include "refresh/reason.h"

#include "pg.h"

extern "C" {
#include "datatype/timestamp.h"
#include "postmaster/bgworker.h"
}

namespace cache_sync {

inline constexpr int kMaxRefreshJobs = 64;

enum class RefreshPhase : std::uint8_t { starting, locking, refreshing, comparing, retrying };
enum class RefreshOutcome : std::uint8_t {
    none,  // it runs, or its process died
    succeeded,
    failed,
    canceled,
    gone,  // no such view any more, or another owner's: read the views again
};

// As in refresh_run and in cache_sync._refresh_jobs().
const char *name_of(RefreshReason reason);
const char *name_of(RefreshPhase phase);

struct RefreshJob {
    Oid database, view, owner;
    std::uint32_t generation;  // another one: the place was given to another job
    bool used;
    bool ended;
    bool stopping;   // terminate_jobs() was called
    bool forgotten;  // nobody waits for its end: the place is free then
    int pid;         // 0: it has not started, or has ended
    RefreshReason reason;
    int timeout_ms;    // 0: none
    std::int64_t run;  // id in refresh_run; 0: none yet
    TimestampTz started;
    RefreshPhase phase;
    RefreshOutcome outcome;
    int sqlstate;  // of a failure
};

// Reserves the shared memory; from _PG_init.
void install_refresh_jobs();

// Takes a place. Nothing if as many refreshes as allowed run in the cluster, if the view's last one has not
// ended, or if the database's publisher is held off.
std::optional<int> claim_job(Oid database, Oid view, Oid owner, RefreshReason reason, int timeout_ms);

// Starts the process of a claimed job; this process is told of its start and end by its latch. False: out of
// background workers, the caller frees the job. May raise.
bool start_job(int job, BackgroundWorkerHandle **handle);

RefreshJob look_at_job(int job);
void free_job(int job);

// Ends the processes of the database's jobs, or of this view's only; those that did not start yet end
// themselves. Does not wait. Returns how many there were.
int terminate_jobs(Oid database, Oid view);

// Whether a process of the database's jobs runs, or of this view's only.
bool has_running_jobs(Oid database, Oid view);

// For a new publisher: ends and forgets what the one before left. What does not end in time stays, and keeps
// its view from being claimed. Interruptible.
void free_jobs_of(Oid database);

// For the refresh process. enter_job: nothing if nobody wants the job any more. From then on the job ends
// with the process.
std::optional<RefreshJob> enter_job(int job, std::uint32_t generation);
void report_phase(RefreshPhase phase);  // does nothing in other processes
void report_run(std::int64_t run);
void report_outcome(RefreshOutcome outcome, int sqlstate);

}  // namespace cache_sync
