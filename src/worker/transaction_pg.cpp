#include "worker/transaction_pg.h"

extern "C" {
#include "miscadmin.h"
}

namespace cache_sync::transaction_steps {

void begin(const char *activity) {
    call([&] {
        pgstat_report_activity(STATE_RUNNING, activity);
        SetCurrentStatementStartTimestamp();
        StartTransactionCommand();
        PushActiveSnapshot(GetTransactionSnapshot());
    });
}

void commit() {
    call([] {
        if (ActiveSnapshotSet())
            PopActiveSnapshot();
        CommitTransactionCommand();
        MemoryContextSwitchTo(TopMemoryContext);
        pgstat_report_stat(false);
        pgstat_report_activity(STATE_IDLE, nullptr);
    });
}

void abort() {
    call([] {
        AbortCurrentTransaction();
        MemoryContextSwitchTo(TopMemoryContext);
        pgstat_report_activity(STATE_IDLE, nullptr);
    });
}

void report(const char *activity, const Problem &problem) {
    call([&] { ereport(LOG, (errmsg("cache_sync: %s", problem.text.c_str()), errcontext("%s", activity))); });
}

}  // namespace cache_sync::transaction_steps
