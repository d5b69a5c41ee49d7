#include "publish/backoff.h"

#include <algorithm>

namespace cache_sync {

Milliseconds Backoff::next() {
    constexpr int kMostDoublings = 24;  // 50 ms * 2^24 is ten days
    const Milliseconds::rep longest = std::max<Milliseconds::rep>(longest_.count(), 1);
    const Milliseconds::rep full =
        failures_ >= kFailuresToOpen
            ? longest
            : std::min(longest, kShortest.count() << std::min(failures_, kMostDoublings));
    ++failures_;
    return Milliseconds(std::uniform_int_distribution<Milliseconds::rep>((full + 1) / 2, full)(random_));
}

}  // namespace cache_sync
