#include "publish/walk.h"

#include <algorithm>

namespace cache_sync {

void WalkQueue::add(std::string_view glob, Ledger::Flight owner, std::uint64_t lsn, std::uint64_t batch) {
    const auto same = std::find_if(walks_.begin(), walks_.end(),
                                   [&](const Walk &walk) { return !walk.started && walk.glob == glob; });
    if (same == walks_.end()) {
        walks_.push_back({std::string(glob), {owner}, lsn, batch});
        return;
    }
    same->owners.push_back(owner);
    same->lsn = std::max(same->lsn, lsn);
    same->batch = std::max(same->batch, batch);
}

}  // namespace cache_sync
