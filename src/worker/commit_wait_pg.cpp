#include "worker/commit_wait_pg.h"

#include <optional>

#include "boundary.h"
#include "queue/shared_state_pg.h"
#include "settings_pg.h"

extern "C" {
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

namespace cache_sync {
namespace {

// What is waited for; nothing: the transaction has nothing to wait for.
std::optional<std::uint64_t> expected;

constexpr long kSlice = 1000;  // a publisher that was just started did not hear the call

struct Ticket {
    DatabaseSlot *slot;
    std::uint64_t position;  // in the ring; 0: by drain
    std::uint64_t drain;

    bool is_confirmed() const {
        return position != 0 ? pg_atomic_read_u64(&slot->confirmed) >= position
                             : pg_atomic_read_u64(&slot->drain_done) >= drain;
    }
};

std::uint32_t wait_event() {
    static std::uint32_t event = 0;
    if (event == 0)
        event = WaitEventExtensionNew("CacheSyncCommit");
    return event;
}

void warn(const char *message) {
    ereport(WARNING,
            (errmsg("%s", message),
             errdetail("The transaction is committed, and will be published to the targets that have not "
                       "confirmed it."),
             errhint("See cache_sync.targets.")));
}

// Why not to wait any longer, if there is a reason. Interrupts are held here, so the flags are looked at by
// hand, as for synchronous replication.
bool is_interrupted() {
    if (ProcDiePending) {
        ereport(WARNING, (errcode(ERRCODE_ADMIN_SHUTDOWN),
                          errmsg("canceling the wait for cache_sync and terminating connection"),
                          errdetail("The transaction is committed, and will be published.")));
        whereToSendOutput = DestNone;
        return true;
    }
    if (QueryCancelPending) {
        QueryCancelPending = false;
        warn("canceling the wait for cache_sync due to user request");
        return true;
    }
    return false;
}

void wait_for(const Ticket &ticket) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), setting_synchronous_timeout);
    wake_publisher(ticket.slot);
    while (!ticket.is_confirmed() && !is_interrupted()) {
        const long left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until);
        if (left <= 0) {
            warn("cache_sync: a commit was not confirmed in time by every target");
            break;
        }
        // Anew each time: a broadcast takes us off the list.
        ConditionVariablePrepareToSleep(&ticket.slot->drained);
        if (ticket.is_confirmed())
            break;
        const int events = WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_POSTMASTER_DEATH,
                                     left < kSlice ? left : kSlice, wait_event());
        ResetLatch(MyLatch);
        ConditionVariableCancelSleep();
        if ((events & WL_POSTMASTER_DEATH) != 0)
            ProcDiePending = true;
        if ((events & WL_TIMEOUT) != 0)
            wake_publisher(ticket.slot);
    }
    ConditionVariableCancelSleep();
    SetLatch(MyLatch);  // somebody else's wake-up may have been ours to see
}

void wait_until_confirmed(std::uint64_t position) {
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr)
        return;
    Ticket ticket{slot, position, 0};
    if (position == 0)
        ticket.drain = pg_atomic_fetch_add_u64(&slot->drain_asked, 1) + 1;
    wait_for(ticket);
}

void wait_after_release(ResourceReleasePhase phase, bool is_commit, bool is_top_level, void *) {
    if (phase != RESOURCE_RELEASE_AFTER_LOCKS || !is_top_level || !expected)
        return;
    const std::uint64_t position = *expected;
    expected.reset();
    if (is_commit)
        wait_until_confirmed(position);
}

// Workers of this or other extensions wait for nobody.
bool wants_to_wait() {
    return setting_synchronous && MyBgworkerEntry == nullptr;
}

}  // namespace

void register_commit_wait() {
    RegisterResourceReleaseCallback(wait_after_release, nullptr);
}

void expect_confirmation(std::uint64_t position) noexcept {
    if (wants_to_wait())
        expected = position;
}

void wait_for_committed() {
    if (!wants_to_wait())
        return;
    HOLD_INTERRUPTS();
    wait_until_confirmed(0);
    RESUME_INTERRUPTS();
}

}  // namespace cache_sync
