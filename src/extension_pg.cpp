// cache_sync: keeps Redis and Valkey right about what PostgreSQL holds. Where things are, in the order in
// which a change travels:
//
//   capture/   trigger functions render keys and tags; the transaction's set; written at PRE_COMMIT
//   queue/     queue tables, ring in shared memory, marks of published rows, rotation
//   worker/    launcher and publisher processes
//   publish/   batches, targets, the Redis protocol
//   refresh/   materialized views: what they read, when they are refreshed, what a refresh changed
//   refresh/   refreshing materialized views, and what that changes
//   observe/   what the system views show
//
// A file that ends in _pg.cpp touches the server; every other file builds and is tested without it. Here is
// only what PostgreSQL calls when the library is loaded.
#include "boundary.h"
#include "capture/transaction_pg.h"
#include "queue/shared_state_pg.h"
#include "refresh/jobs_pg.h"
#include "settings_pg.h"
#include "worker/commit_wait_pg.h"
#include "worker/wake_pg.h"
#include "worker/workers_pg.h"

extern "C" {
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(cache_sync_library_version);
PGDLLEXPORT void _PG_init(void);
}

#ifndef CACHE_SYNC_VERSION
#error "the Makefile gives CACHE_SYNC_VERSION"
#endif

void _PG_init(void) {
    using namespace cache_sync;
    entry([] {
        if (!process_shared_preload_libraries_in_progress)
            throw Failure("55000", "cache_sync must be loaded when the server starts")
                .detail("It needs shared memory and background workers.")
                .hint("Add cache_sync to \"shared_preload_libraries\" and restart the server.");
        call([] {
            define_settings();
            install_shared_memory_hooks();
            install_refresh_jobs();
            register_transaction_callbacks();
            register_wake_callback();
            register_commit_wait();
            install_utility_hook();
            if (!IsBinaryUpgrade)
                register_launcher();
        });
    });
}

// _library_version() -> text: of the loaded library, which may differ from the extension's after an upgrade.
Datum cache_sync_library_version(PG_FUNCTION_ARGS) {
    PG_RETURN_TEXT_P(cstring_to_text(CACHE_SYNC_VERSION));
}
