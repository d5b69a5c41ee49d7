// When a view is refreshed by schedule: a cron expression or an interval, and what the next time is in a time
// zone whose clocks change. SCHEDULES.md is the definition.
#pragma once

#include <limits>
#include <optional>
#include <string_view>
#include <variant>

#include "refresh/cron.h"

namespace cache_sync {

// A stretch of time in which the clocks of a zone do not change.
struct ZoneSpan {
    static constexpr Seconds kForever = std::numeric_limits<Seconds>::max();

    Seconds offset = 0;        // wall clock minus UTC
    Seconds until = kForever;  // UTC; the first instant after the stretch
};

class TimeZone {
 public:
    virtual ~TimeZone() = default;
    // The stretch that the instant (UTC) lies in. Changes that leave the offset as it was may or may not end
    // one.
    virtual ZoneSpan span_at(Seconds instant) const = 0;
};

class Schedule {
 public:
    // Reads '*/5 * * * *', '@hourly', '30 seconds', '5 minutes' ... Throws Failure 22023.
    static Schedule parse(std::string_view text);

    // The first time of the schedule after that instant, both UTC. Empty if the next century has none.
    std::optional<Seconds> next(Seconds after, const TimeZone &zone) const;

 private:
    explicit Schedule(Cron cron) : rule_(cron) {}
    explicit Schedule(Seconds interval) : rule_(interval) {}

    std::variant<Cron, Seconds> rule_;
};

}  // namespace cache_sync
