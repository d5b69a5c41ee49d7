// The cache_sync.* settings. Written by PostgreSQL's GUC machinery, read everywhere.
#pragma once

namespace cache_sync {

extern bool setting_enabled;              // off: this session captures nothing
extern int setting_ring_size;             // kB of shared memory for each database's fast path
extern int setting_batch_keys;            // entries published in one go
extern int setting_max_backoff;           // ms between attempts to reach a target
extern int setting_queue_limit;           // MB that the queue may hold for a target that is away
extern bool setting_synchronous;          // commits wait for the targets
extern int setting_synchronous_timeout;   // ms
extern int setting_max_refresh_workers;   // in the cluster
extern int setting_refresh_lock_timeout;  // ms
extern int setting_history_limit;         // refreshes of a view
extern char *setting_timezone;            // empty: the server's

void define_settings();

}  // namespace cache_sync
