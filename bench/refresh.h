#pragma once

#include "options.h"
#include "report.h"

namespace cache_sync::bench {

// The parts of the command refresh; each prints its tables.

// What managing adds to a REFRESH.
void measure_refresh_overhead(const Options &options, Tsv &tsv);
// Base change committed -> the keys of the view's rows gone.
void measure_view_lag(const Options &options, Tsv &tsv);
// What a running refresh does to the lag of keys that have nothing to do with it.
void measure_lag_beside_refreshes(const Options &options, Tsv &tsv);

}  // namespace cache_sync::bench
