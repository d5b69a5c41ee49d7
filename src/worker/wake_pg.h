// Telling workers about changes at the moment they become visible, and waiting for the publisher.
#pragma once

namespace cache_sync {

// Registers the transaction callback; once per process, from _PG_init.
void register_wake_callback();

// When the current transaction commits: the publisher of this database reads its targets and rules again.
void reload_publisher_at_commit();
// When the current transaction commits: the launcher looks for databases, and tries this one again.
void wake_launcher_at_commit();

}  // namespace cache_sync
