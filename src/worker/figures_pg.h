// What the publisher shows of its targets in shared memory, for cache_sync.targets and
// cache_sync.stat_targets.
#pragma once

#include <cstdint>

#include "publish/distribution.h"

namespace cache_sync {

// Frees the figures of targets that are not configured any more.
void keep_figures(Distribution &distribution);
// States and errors as they are now; cheap enough for every turn of the loop.
void show_figures(Distribution &distribution);
void count_settled(std::uint32_t server, const Batch &batch, bool confirmed);
void count_flush(std::uint32_t server);

}  // namespace cache_sync
