// Cron expressions of five fields: what they may say, and which wall-clock times they match. SCHEDULES.md is
// the definition.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace cache_sync {

// Seconds since 1970-01-01 00:00:00, of UTC or of a wall clock, as the function says.
using Seconds = std::int64_t;

inline constexpr Seconds kMinute = 60;
inline constexpr Seconds kHour = 60 * kMinute;
inline constexpr Seconds kDay = 24 * kHour;

class Cron {
 public:
    // Reads `minute hour day-of-month month day-of-week`, or a word such as @hourly. Throws Failure 22023,
    // which names the field, what it says and what it may say.
    static Cron parse(std::string_view text);

    // The first wall-clock time from `from` on, `from` included, that matches. Empty if the next century has
    // none.
    std::optional<Seconds> first_at(Seconds from) const;

    // Whether neither the minute nor the hour begins with `*`: such a job has times of day, which a change of
    // the clock must neither lose nor repeat. Others follow the clock minute by minute.
    bool has_fixed_times() const { return fixed_times_; }

 private:
    void require_possible(std::string_view text) const;
    std::uint32_t days_of_month(unsigned length, unsigned first_weekday) const;
    std::optional<std::int64_t> first_day(std::int64_t from) const;
    std::optional<int> first_minute(int from) const;

    // Bit n is the value n; Sunday is bit 0 only.
    std::uint64_t minutes_ = 0;
    std::uint32_t hours_ = 0;
    std::uint32_t days_ = 0;
    std::uint32_t months_ = 0;
    std::uint32_t weekdays_ = 0;
    bool either_day_ = false;  // both day fields are restricted: one of them is enough
    bool fixed_times_ = false;
};

}  // namespace cache_sync
