#include "settings_pg.h"

#include "pg.h"

extern "C" {
#include "pgtime.h"
#include "utils/guc.h"
}

namespace cache_sync {

bool setting_enabled = true;
int setting_ring_size = 4096;
int setting_batch_keys = 256;
int setting_max_backoff = 30000;
int setting_queue_limit = 1024;
bool setting_synchronous = false;
int setting_synchronous_timeout = 1000;
int setting_max_refresh_workers = 2;
int setting_refresh_lock_timeout = 2000;
int setting_history_limit = 100;
char *setting_timezone = nullptr;

namespace {

bool check_timezone(char **value, void **, GucSource) {
    if (**value == '\0' || pg_tzset(*value) != nullptr)
        return true;
    GUC_check_errdetail("\"%s\" is not a time zone that PostgreSQL knows.", *value);
    GUC_check_errhint("See pg_timezone_names; empty is the server\'s TimeZone.");
    return false;
}

void define_refresh_settings() {
    DefineCustomIntVariable("cache_sync.max_refresh_workers",
                            "Refreshes of materialized views that run at the same time in the cluster.",
                            "Each takes a background worker of \"max_worker_processes\". 0: none is started.",
                            &setting_max_refresh_workers, 2, 0, 64, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.refresh_lock_timeout",
                            "How long a refresh waits for the lock on its view before it gives way.",
                            "It tries again, and does not hold up in between who waits behind it.",
                            &setting_refresh_lock_timeout, 2000, 1, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable(
        "cache_sync.history_limit", "Refreshes of each view that cache_sync.refresh_history keeps.", nullptr,
        &setting_history_limit, 100, 1, 1000000, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomStringVariable("cache_sync.timezone", "Time zone of schedules.",
                               "Empty: the TimeZone of the server\'s configuration.", &setting_timezone, "",
                               PGC_SIGHUP, 0, check_timezone, nullptr, nullptr);
}

}  // namespace

void define_settings() {
    DefineCustomBoolVariable("cache_sync.enabled", "Captures the changes that this session makes.",
                             "Off captures nothing, for a bulk load that is followed by cache_sync.flush().",
                             &setting_enabled, true, PGC_SUSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.ring_size",
                            "Shared memory of each database for handing committed changes to its publisher.",
                            "A transaction that does not fit is read from the queue table instead.",
                            &setting_ring_size, 4096, 64, 1024 * 1024, PGC_POSTMASTER, GUC_UNIT_KB, nullptr,
                            nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.batch_keys", "Keys and tags that are published in one go.", nullptr,
                            &setting_batch_keys, 256, 1, 10000, PGC_SIGHUP, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.max_backoff", "Longest pause between attempts to reach a target.",
                            nullptr, &setting_max_backoff, 30000, 100, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS,
                            nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.queue_limit",
                            "Size of the queue above which a target that is away is flushed as a whole.",
                            "Until then the queue keeps what such a target missed.", &setting_queue_limit,
                            1024, 1, 1024 * 1024, PGC_SIGHUP, GUC_UNIT_MB, nullptr, nullptr, nullptr);
    DefineCustomBoolVariable("cache_sync.synchronous",
                             "COMMIT returns once every target that is not paused has confirmed it.",
                             "Or after cache_sync.synchronous_timeout, with a warning.", &setting_synchronous,
                             false, PGC_USERSET, 0, nullptr, nullptr, nullptr);
    DefineCustomIntVariable("cache_sync.synchronous_timeout",
                            "How long a commit waits for the targets, with cache_sync.synchronous on.",
                            nullptr, &setting_synchronous_timeout, 1000, 1, 3600 * 1000, PGC_USERSET,
                            GUC_UNIT_MS, nullptr, nullptr, nullptr);
    define_refresh_settings();
    MarkGUCPrefixReserved("cache_sync");
}

}  // namespace cache_sync
