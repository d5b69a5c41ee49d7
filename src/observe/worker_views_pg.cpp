// The functions behind cache_sync.workers, targets, stat_targets and stat_capture: they read shared memory
// only. Plain frames: PostgreSQL errors pass through (see boundary.h).
#include "boundary.h"
#include "observe/set_returning_pg.h"
#include "observe/unpublished_pg.h"
#include "publish/target.h"
#include "queue/shared_state_pg.h"

extern "C" {
#include "miscadmin.h"

PG_FUNCTION_INFO_V1(cache_sync_workers);
PG_FUNCTION_INFO_V1(cache_sync_target_states);
PG_FUNCTION_INFO_V1(cache_sync_stat_targets);
PG_FUNCTION_INFO_V1(cache_sync_stat_capture);
PG_FUNCTION_INFO_V1(cache_sync_stat_reset);
}

namespace cache_sync {
namespace {

const char *name_of(WorkerState state) {
    switch (state) {
        case WorkerState::none:
            return "none";
        case WorkerState::starting:
            return "starting";
        case WorkerState::running:
            return "running";
        case WorkerState::absent:
            return "absent";
        case WorkerState::stopped:
            return "stopped";
    }
    return "unknown";
}

const char *state_of(const TargetFigures &figures) {
    switch (static_cast<TargetState>(figures.state)) {
        case TargetState::paused:
            return "paused";
        case TargetState::waiting:
            return figures.circuit_open ? "circuit open" : "backing off";
        case TargetState::connecting:
        case TargetState::greeting:
        case TargetState::arming:
            return "connecting";
        case TargetState::live:
            return "connected";
    }
    return "unknown";
}

const char *name_of(TargetMode mode) {
    switch (mode) {
        case TargetMode::unknown:
            return nullptr;
        case TargetMode::functions:
            return "functions";
        case TargetMode::unlink:
            return "unlink";
    }
    return nullptr;
}

void put_launcher(ReturnSetInfo *result) {
    LWLockAcquire(launcher_lock(), LW_SHARED);
    const LauncherState state = *launcher_state();
    LWLockRelease(launcher_lock());
    RowWriter row;
    row.null().pid(state.pid).text("launcher").text(state.pid != 0 ? "running" : "stopped");
    row.timestamp(state.pid != 0 ? state.started : 0).text(state.last_error).timestamp(state.last_error_at);
    row.put(result);
}

void put_publisher(ReturnSetInfo *result, DatabaseSlot *slot, Oid database) {
    char last_error[kErrorLength];
    LWLockAcquire(slot_lock(slot), LW_SHARED);
    const WorkerState state = slot->state;
    const int pid = slot->pid;
    const TimestampTz started = slot->started, error_at = slot->last_error_at;
    strlcpy(last_error, slot->last_error, sizeof(last_error));
    LWLockRelease(slot_lock(slot));
    if (state == WorkerState::absent || state == WorkerState::none)
        return;  // databases without the extension
    RowWriter row;
    row.oid(database).pid(pid).text("publisher").text(name_of(state)).timestamp(pid != 0 ? started : 0);
    row.text(last_error).timestamp(error_at).put(result);
}

template <typename Put>
void for_each_target(Put put) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return;
    for (auto &figures : area->targets)
        if (OidIsValid(figures.server))
            put(figures);
}

double milliseconds(double microseconds) {
    return microseconds / 1000.0;
}

void reset_target(TargetFigures &figures) {
    figures.published_keys = figures.published_tags = figures.published_patterns = 0;
    figures.batches = figures.coalesced = figures.retried = figures.flushes = 0;
    figures.lag.reset();
}

void reset_capture(CaptureCounters &capture) {
    for (auto *counter : {&capture.transactions, &capture.rows, &capture.keys, &capture.tags,
                          &capture.patterns, &capture.duplicates, &capture.queue_rows, &capture.queue_bytes,
                          &capture.ring_overflows, &capture.rotations})
        pg_atomic_write_u64(counter, 0);
}

}  // namespace
}  // namespace cache_sync

// _workers() -> (database, pid, role, state, started, last_error, last_error_at)
Datum cache_sync_workers(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        put_launcher(result);
        for (int n = 0; n < kMaxDatabases; ++n) {
            DatabaseSlot *slot = slot_at(n);
            if (const Oid database = pg_atomic_read_u32(&slot->database); OidIsValid(database))
                put_publisher(result, slot, database);
        }
        return static_cast<Datum>(0);
    });
}

// _target_states() -> (server, state, mode, pending_transactions, pending_bytes, in_flight, last_lag,
//                      connected_at, next_attempt, last_error, last_error_at); last_lag in ms.
Datum cache_sync_target_states(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        for_each_target([&](const TargetFigures &figures) {
            const Unpublished pending = count_unpublished(static_cast<int>(&figures - my_area()->targets));
            RowWriter row;
            row.oid(figures.server).text(state_of(figures));
            row.text(name_of(static_cast<TargetMode>(figures.mode)));
            row.number(pending.transactions).number(pending.bytes).number(figures.in_flight);
            if (figures.batches == 0)
                row.null();
            else
                row.real(milliseconds(figures.last_lag_us));
            row.timestamp(figures.connected_at).timestamp(figures.next_attempt);
            row.text(figures.last_error).timestamp(figures.last_error_at).put(result);
        });
        return static_cast<Datum>(0);
    });
}

// _stat_targets() -> (server, published_keys, published_tags, published_patterns, batches, coalesced,
// retried,
//                     errors, connections, flushes, lag_p50, lag_p95, lag_p99, lag_max, stats_reset); lags in
//                     ms
Datum cache_sync_stat_targets(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        for_each_target([&](const TargetFigures &figures) {
            RowWriter row;
            row.oid(figures.server).number(figures.published_keys).number(figures.published_tags);
            row.number(figures.published_patterns).number(figures.batches).number(figures.coalesced);
            row.number(figures.retried)
                .number(figures.errors)
                .number(figures.connections)
                .number(figures.flushes);
            if (figures.lag.count() == 0)
                row.null().null().null().null();
            else
                row.real(milliseconds(figures.lag.percentile(50)))
                    .real(milliseconds(figures.lag.percentile(95)))
                    .real(milliseconds(figures.lag.percentile(99)))
                    .real(milliseconds(static_cast<double>(figures.lag.max())));
            row.timestamp(my_slot()->stats_reset).put(result);
        });
        return static_cast<Datum>(0);
    });
}

// _stat_capture() -> (transactions, rows, keys, tags, patterns, duplicates, queue_rows, queue_bytes,
//                     ring_overflows, rotations, stats_reset)
Datum cache_sync_stat_capture(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        ReturnSetInfo *result = begin_result(fcinfo);
        DatabaseSlot *slot = my_slot();
        if (slot == nullptr)
            return static_cast<Datum>(0);
        CaptureCounters &capture = slot->capture;
        RowWriter row;
        for (auto *counter : {&capture.transactions, &capture.rows, &capture.keys, &capture.tags,
                              &capture.patterns, &capture.duplicates, &capture.queue_rows,
                              &capture.queue_bytes, &capture.ring_overflows, &capture.rotations})
            row.number(pg_atomic_read_u64(counter));
        row.timestamp(slot->stats_reset).put(result);
        return static_cast<Datum>(0);
    });
}

// stat_reset(): sets the counters of this database to zero.
Datum cache_sync_stat_reset(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        DatabaseSlot *slot = my_slot();
        if (slot != nullptr) {
            reset_capture(slot->capture);
            for_each_target(reset_target);
            slot->stats_reset = GetCurrentTimestamp();
        }
        PG_RETURN_VOID();
    });
}
