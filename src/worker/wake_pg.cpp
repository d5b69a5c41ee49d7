#include "worker/wake_pg.h"

#include "boundary.h"
#include "queue/shared_state_pg.h"

extern "C" {
#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/resowner.h"
#include "utils/fmgrprotos.h"  // timestamptz_pl_interval
#include "utils/timestamp.h"
#include "utils/wait_event.h"

PG_FUNCTION_INFO_V1(cache_sync_wake);
PG_FUNCTION_INFO_V1(cache_sync_drain);
}

namespace cache_sync {
namespace {

bool reload_wanted = false;
bool launcher_wanted = false;

bool committed = false;

void note_end(XactEvent event, void *) {
    if (event == XACT_EVENT_COMMIT)
        committed = true;
    else if (event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
        reload_wanted = launcher_wanted = false;
}

// After the invalidations of the transaction were sent: who is woken earlier reads the catalogue as it was.
void wake_after_release(ResourceReleasePhase phase, bool, bool is_top_level, void *) {
    if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !committed)
        return;
    committed = false;
    if (!reload_wanted && !launcher_wanted)
        return;
    DatabaseSlot *slot = my_slot();
    if (reload_wanted && slot != nullptr) {
        pg_atomic_write_u32(&slot->reload, 1);
        wake_publisher(slot);
    }
    if (launcher_wanted) {
        if (slot != nullptr)
            pg_atomic_write_u32(&slot->probe, 1);
        wake_launcher();
    }
    reload_wanted = launcher_wanted = false;
}

std::uint32_t drain_event() {
    static std::uint32_t event = 0;
    if (event == 0)
        event = WaitEventExtensionNew("CacheSyncDrain");
    return event;
}

// True: everything that was committed before the call is published to every target that is not paused.
bool drain(const Interval *timeout) {
    DatabaseSlot *slot = my_slot();
    const TimestampTz until = DatumGetTimestampTz(DirectFunctionCall2(
        timestamptz_pl_interval, TimestampTzGetDatum(GetCurrentTimestamp()), IntervalPGetDatum(timeout)));
    if (slot == nullptr)
        return false;
    const std::uint64_t ticket = pg_atomic_fetch_add_u64(&slot->drain_asked, 1) + 1;
    wake_publisher(slot);
    ConditionVariablePrepareToSleep(&slot->drained);
    bool done = false;
    while (!(done = pg_atomic_read_u64(&slot->drain_done) >= ticket)) {
        const long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (left <= 0)
            break;
        // In slices: a publisher that was just started did not hear the call.
        ConditionVariableTimedSleep(&slot->drained, left < 1000 ? left : 1000, drain_event());
        wake_publisher(slot);
    }
    ConditionVariableCancelSleep();
    return done;
}

}  // namespace

void register_wake_callback() {
    RegisterXactCallback(note_end, nullptr);
    RegisterResourceReleaseCallback(wake_after_release, nullptr);
}
void reload_publisher_at_commit() {
    reload_wanted = true;
}
void wake_launcher_at_commit() {
    launcher_wanted = true;
}

}  // namespace cache_sync

// _wake(): the publisher of this database reads its configuration when the calling transaction commits.
Datum cache_sync_wake(PG_FUNCTION_ARGS) {
    cache_sync::reload_publisher_at_commit();
    PG_RETURN_VOID();
}

// drain(timeout interval) -> boolean
Datum cache_sync_drain(PG_FUNCTION_ARGS) {
    using namespace cache_sync;
    return entry([&]() -> Datum {
        if (PG_ARGISNULL(0))
            PG_RETURN_NULL();
        const Interval *timeout = PG_GETARG_INTERVAL_P(0);
        if (timeout->month < 0 || timeout->day < 0 || timeout->time < 0)
            throw Failure("22023", "timeout of cache_sync.drain() must not be negative");
        return BoolGetDatum(drain(timeout));
    });
}
