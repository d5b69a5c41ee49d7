// The two kinds of background processes: one launcher for the cluster, one publisher for each database that
// has the extension. See worker/README.md.
#pragma once

#include "pg.h"

namespace cache_sync {

// From _PG_init: the launcher is started by the postmaster, and after any death of it.
void register_launcher();

// Installs the hook that keeps publishers out of the way of DROP, RENAME and CREATE DATABASE, and wakes
// workers after statements that concern them.
void install_utility_hook();

}  // namespace cache_sync
