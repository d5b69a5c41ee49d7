#include "refresh/schedule.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "failure.h"
#include "refresh/cron_field.h"

namespace cache_sync {
namespace {

constexpr Seconds kLongestInterval = 366 * kDay;
// How far back a clock may have been ahead of now: a fixed time between then and now has had its run.
constexpr Seconds kLongestOverlap = 2 * kDay;
constexpr Seconds kHorizon = 100 * 366 * kDay;

struct Unit {
    std::string_view names;  // each between blanks
    Seconds length;
};

constexpr Unit kUnits[] = {
    {" s sec secs second seconds ", 1}, {" min mins minute minutes ", kMinute},
    {" h hr hrs hour hours ", kHour},   {" d day days ", kDay},
    {" week weeks ", 7 * kDay},
};

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_letter(char c) {
    return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

std::string_view trim(std::string_view text) {
    constexpr std::string_view kBlanks = " \t\r\n";
    const std::size_t start = text.find_first_not_of(kBlanks);
    if (start == text.npos)
        return {};
    return text.substr(start, text.find_last_not_of(kBlanks) - start + 1);
}

Seconds unit_length(std::string_view unit) {
    std::string wanted = " " + std::string(unit) + " ";
    std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    for (const Unit &known : kUnits)
        if (known.names.find(wanted) != known.names.npos)
            return known.length;
    return 0;
}

[[noreturn]] void refuse_interval(std::string_view text, const char *problem) {
    const std::string_view shown = clip(text);
    throw Failure("22023", "bad interval \"%.*s\" as schedule: %s", static_cast<int>(shown.size()),
                  shown.data(), problem)
        .hint(
            "Write a whole number and a unit: seconds, minutes, hours, days or weeks, such as '30 seconds', "
            "from 1 second to 366 days.");
}

// An interval is a number, blanks and letters; anything else is left to cron. Empty: not an interval.
std::optional<Seconds> parse_interval(std::string_view text) {
    const auto digits_end = std::find_if_not(text.begin(), text.end(), is_digit);
    const auto unit_start =
        std::find_if_not(digits_end, text.end(), [](char c) { return c == ' ' || c == '\t'; });
    if (digits_end == text.begin() || unit_start == text.end() ||
        !std::all_of(unit_start, text.end(), is_letter))
        return std::nullopt;
    const std::string_view number = text.substr(0, static_cast<std::size_t>(digits_end - text.begin()));
    const Seconds unit = unit_length(text.substr(static_cast<std::size_t>(unit_start - text.begin())));
    if (unit == 0)
        refuse_interval(text, "the unit is unknown");
    const Seconds count = number.size() > 9 ? kLongestInterval + 1 : std::stol(std::string(number));
    if (count == 0)
        refuse_interval(text, "it is too short");
    if (count > kLongestInterval / unit)
        refuse_interval(text, "it is too long");
    return count * unit;
}

// What is neither one nor the other, but was meant as an interval: signs, fractions, several units, clock
// times.
bool looks_like_interval(std::string_view text) {
    return text.find('*') == text.npos && std::any_of(text.begin(), text.end(), is_digit) &&
           (is_digit(text.front()) || text.front() == '-' || text.front() == '+') &&
           (text.find_first_of(".:") != text.npos || text.find_first_of(" \t") == text.npos ||
            unit_length(trim(text.substr(text.find_last_of(" \t")))) != 0);
}

// Walks through the stretches of the zone. For a cron expression with times of day, what the clock jumps over
// is made up for by one run right after the jump, and what it shows again is not run again.
std::optional<Seconds> next_of_cron(const Cron &cron, Seconds after, const TimeZone &zone) {
    const bool fixed = cron.has_fixed_times();
    Seconds start = fixed ? after - kLongestOverlap : after;
    ZoneSpan span = zone.span_at(start);
    // Wall-clock times below this have had their run. Moves with fixed times only.
    Seconds done = std::numeric_limits<Seconds>::min();
    while (start <= after + kHorizon) {
        const bool last = span.until == ZoneSpan::kForever;
        const Seconds from = std::max(std::max(start, after + 1) + span.offset, done);
        if (last || from < span.until + span.offset) {
            const auto wall = cron.first_at(from);
            if (wall && (last || *wall < span.until + span.offset))
                return *wall - span.offset;
        }
        if (last)
            return std::nullopt;
        const ZoneSpan following = zone.span_at(span.until);
        const Seconds skipped_to = span.until + following.offset;
        if (fixed) {
            done = std::max(done, span.until + span.offset);
            if (done < skipped_to && span.until > after) {
                const auto skipped = cron.first_at(done);
                if (skipped && *skipped < skipped_to)
                    return span.until;
            }
            done = std::max(done, skipped_to);
        }
        start = span.until;
        span = following;
    }
    return std::nullopt;
}

}  // namespace

Schedule Schedule::parse(std::string_view text) {
    const std::string_view trimmed = trim(text);
    if (const auto interval = parse_interval(trimmed))
        return Schedule(*interval);
    if (!trimmed.empty() && looks_like_interval(trimmed))
        refuse_interval(trimmed, "it is not a whole number and a unit");
    return Schedule(Cron::parse(trimmed));
}

std::optional<Seconds> Schedule::next(Seconds after, const TimeZone &zone) const {
    if (const Seconds *const interval = std::get_if<Seconds>(&rule_))
        return after + *interval;
    return next_of_cron(std::get<Cron>(rule_), after, zone);
}

}  // namespace cache_sync
