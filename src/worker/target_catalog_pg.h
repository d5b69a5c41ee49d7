// The targets of this database, read from PostgreSQL's catalogues: foreign servers of the wrapper cache_sync
// and their user mappings.
#pragma once

#include <string>
#include <vector>

#include "publish/target.h"

namespace cache_sync {

// Every target, by name. Needs a transaction. C++ code: throws PgError.
std::vector<TargetConfig> load_targets();

// Globs of all keys that the registered rules can name, without prefix. Needs a transaction; throws PgError.
std::vector<std::string> load_flush_patterns();

// The server's option as a duration ("500", "500ms", "2s") in milliseconds; false if it is none.
bool parse_duration(const char *text, int *milliseconds);

}  // namespace cache_sync
