#pragma once

#include <string>

#include "cache.h"
#include "redis.h"
#include "settings.h"

namespace cache_sync::demo {

// The application on the fill protocol: cs_get, and on a miss with a lease read the row and cs_fill it. The
// writer does nothing at all: cache_sync invalidates.
class ProtocolCache : public Cache {
 public:
    ProtocolCache(const Settings &settings, SideCounters &counters);
    Reading read(const Item &item) override;
    Reading look(const Item &item) override;
    // True if the publisher vouches for the cache: before that every read bypasses it.
    bool is_armed();

 private:
    enum class State { kHit, kAbsent, kStale, kMiss, kBypass };
    struct Answer {
        State state = State::kMiss;
        Body body;
        std::string token;  // not empty: this reader is the one who fills
        bool is_served() const {
            return state == State::kHit || state == State::kAbsent || state == State::kStale;
        }
    };

    Answer get(const std::string &key);
    Reading fill(const Item &item, const std::string &token);
    void drop(const std::string &key, const std::string &token);
    std::string nonce();

    Redis redis_;
    Source source_;
    std::string source_name_;
    SideCounters &counters_;
    std::mt19937_64 random_;
    std::random_device entropy_;
};

}  // namespace cache_sync::demo
