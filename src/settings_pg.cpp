#include "settings_pg.h"

#include "pg.h"

extern "C" {
#include "utils/guc.h"
}

namespace cache_sync {

bool setting_enabled = true;
int setting_ring_size = 4096;
int setting_batch_keys = 256;
int setting_max_backoff = 30000;
int setting_queue_limit = 1024;

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
    MarkGUCPrefixReserved("cache_sync");
}

}  // namespace cache_sync
