// What the publisher shows of its targets in shared memory, for cache_sync.targets and
// cache_sync.stat_targets.
#pragma once

#include <cstdint>

#include "publish/distribution.h"

namespace cache_sync {

// Gives every participant a place in shared memory for its figures and marks, and frees those of targets that
// are gone. A place that changes hands has no marks. Returns how many targets found no place.
int assign_places(Distribution &distribution);
// States and errors as they are now; cheap enough for every turn of the loop.
void show_figures(Distribution &distribution);
void count_settled(const Participant &participant, const Batch &batch, bool confirmed);
void count_flush(const Participant &participant);

}  // namespace cache_sync
