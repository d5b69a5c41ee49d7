// Entry point of a refresh process: its job, its connection as the view's owner, its settings, its end.
#include "boundary.h"
#include "refresh/jobs_pg.h"
#include "refresh/run_pg.h"
#include "settings_pg.h"

extern "C" {
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"    // proc_exit
#include "tcop/tcopprot.h"  // die, StatementCancelHandler
#include "utils/guc.h"

PGDLLEXPORT void cache_sync_refresh_main(Datum job);
}

namespace cache_sync {
namespace {

// Settings that the view's owner, or the database's, may have given another value to. A refresh must run as
// itself, write, see what was committed before each attempt, and end.
void pin_settings() {
    struct Setting {
        const char *name, *value;
    } const settings[] = {{"role", "none"},
                          {"application_name", "cache_sync refresh"},
                          {"search_path", "pg_catalog, pg_temp"},
                          {"synchronous_commit", "local"},
                          {"default_transaction_isolation", "read committed"},
                          {"default_transaction_read_only", "off"},
                          {"default_transaction_deferrable", "off"},
                          {"session_replication_role", "origin"},
                          {"row_security", "on"},
                          {"statement_timeout", "0"},
                          {"transaction_timeout", "0"},
                          {"idle_in_transaction_session_timeout", "0"},
                          {"idle_session_timeout", "0"},
                          {"cache_sync.enabled", "on"}};
    for (const Setting &setting : settings)
        SetConfigOption(setting.name, setting.value, PGC_SUSET, PGC_S_OVERRIDE);
    char timeout[32];
    snprintf(timeout, sizeof(timeout), "%dms", setting_refresh_lock_timeout);
    SetConfigOption("lock_timeout", timeout, PGC_SUSET, PGC_S_OVERRIDE);
}

void enter_and_run(Datum argument) {
    const auto packed = static_cast<std::uint64_t>(argument);
    // Before connecting, so that it ends after the locks are given back, and even if there is no connection.
    const std::optional<RefreshJob> job = call([&] {
        return enter_job(static_cast<int>(packed & 0xffffffff), static_cast<std::uint32_t>(packed >> 32));
    });
    if (!job)
        return;
    call([&] {
        BackgroundWorkerInitializeConnectionByOid(job->database, job->owner,
                                                  BGWORKER_BYPASS_ALLOWCONN | BGWORKER_BYPASS_ROLELOGINCHECK);
        pin_settings();
    });
    run_job(*job);
    call([] { pgstat_report_stat(true); });
}

}  // namespace
}  // namespace cache_sync

void cache_sync_refresh_main(Datum job) {
    using namespace cache_sync;
    pqsignal(SIGHUP, SIG_IGN);  // it lives for one refresh
    pqsignal(SIGTERM, die);
    pqsignal(SIGINT, StatementCancelHandler);
    BackgroundWorkerUnblockSignals();
    entry([&] { enter_and_run(job); });
    proc_exit(0);
}
