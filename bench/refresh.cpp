// Managed refreshes of materialized views, beside the bare statement.
#include "refresh.h"

namespace cache_sync::bench {

void run_refresh(const Options &options) {
    Tsv tsv(options.tsv, options.command);
    measure_refresh_overhead(options, tsv);
    measure_view_lag(options, tsv);
    measure_lag_beside_refreshes(options, tsv);
}

}  // namespace cache_sync::bench
