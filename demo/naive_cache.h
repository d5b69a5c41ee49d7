#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cache.h"
#include "redis.h"
#include "settings.h"

namespace cache_sync::demo {

inline constexpr std::string_view kNaivePrefix = "naive:";
// Stands in the cache for "there is no such thing".
inline constexpr std::string_view kNaiveAbsent = "-";

// The application as it is often written: GET; on a miss read the row and SET it for five minutes.
class NaiveCache : public Cache {
 public:
    NaiveCache(const Settings &settings, SideCounters &counters);
    Reading read(const Item &item) override;
    Reading look(const Item &item) override;

 private:
    Redis redis_;
    Source source_;
    SideCounters &counters_;
    std::mt19937_64 random_;
};

// Its writer's half: delete the keys of what was changed, before COMMIT.
class NaiveInvalidation {
 public:
    explicit NaiveInvalidation(const Settings &settings);
    void forget(const std::vector<Item> &items);

 private:
    Redis redis_;
};

}  // namespace cache_sync::demo
