#include "refresh/cron.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <chrono>
#include <string>
#include <vector>

#include "failure.h"
#include "refresh/cron_field.h"

namespace cache_sync {
namespace {

// The calendar repeats after so many days, weekdays too.
constexpr std::int64_t kCalendarCycle = 146097;
constexpr int kSearchedMonths = 100 * 12;
constexpr int kMinutesOfDay = 24 * 60;

constexpr std::pair<std::string_view, std::string_view> kWords[] = {
    {"@hourly", "0 * * * *"},  {"@daily", "0 0 * * *"},  {"@midnight", "0 0 * * *"}, {"@weekly", "0 0 * * 0"},
    {"@monthly", "0 0 1 * *"}, {"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
};

bool is_blank(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

std::vector<std::string_view> split(std::string_view text) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t start = at;
        while (at < text.size() && !is_blank(text[at]))
            ++at;
        if (at > start)
            words.push_back(text.substr(start, at - start));
        while (at < text.size() && is_blank(text[at]))
            ++at;
    }
    return words;
}

std::string_view expand_word(std::string_view word) {
    std::string lower(word);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    for (const auto &[name, fields] : kWords)
        if (lower == name)
            return fields;
    const std::string_view shown = clip(word);
    Failure failure("22023", "unknown word \"%.*s\" in the schedule", static_cast<int>(shown.size()),
                    shown.data());
    if (lower == "@reboot")
        failure.detail("A schedule is about the time of day; a start of the server is none.");
    throw failure.hint("The words are @hourly, @daily, @midnight, @weekly, @monthly, @yearly and @annually.");
}

[[noreturn]] void refuse_count(std::string_view text, std::size_t count) {
    const std::string_view shown = clip(text, 200);
    throw Failure("22023", "a schedule has 5 fields, not %zu", count)
        .detail("The schedule is \"%.*s\".", static_cast<int>(shown.size()), shown.data())
        .hint("%s", count == 6
                        ? "There is no field for seconds: write '30 seconds' for less than a minute."
                        : "Write minute, hour, day of month, month and day of week, such as '*/5 * * * *', "
                          "a word such as '@hourly', or an interval such as '30 seconds'.");
}

std::int64_t floor_divide(std::int64_t value, std::int64_t by) {
    return value / by - (value % by < 0 ? 1 : 0);
}

// The lowest bit of mask that is not below `from`; -1 if there is none.
int first_bit(std::uint64_t mask, int from) {
    const std::uint64_t rest = from > 63 ? 0 : mask >> from << from;
    return rest == 0 ? -1 : std::countr_zero(rest);
}

}  // namespace

Cron Cron::parse(std::string_view text) {
    std::vector<std::string_view> fields = split(text);
    if (fields.size() == 1 && fields[0][0] == '@')
        fields = split(expand_word(fields[0]));
    if (fields.size() != 5)
        refuse_count(text, fields.size());
    std::uint64_t masks[5];
    for (int n = 0; n < 5; ++n)
        masks[n] = parse_cron_field(kCronFields[n], fields[n], text);

    const auto is_free = [&](int n) { return fields[n][0] == '*'; };
    Cron cron;
    cron.minutes_ = masks[0];
    cron.hours_ = static_cast<std::uint32_t>(masks[1]);
    cron.days_ = static_cast<std::uint32_t>(masks[2]);
    cron.months_ = static_cast<std::uint32_t>(masks[3]);
    cron.weekdays_ = static_cast<std::uint32_t>((masks[4] | masks[4] >> 7) & 0x7F);
    cron.either_day_ = !is_free(2) && !is_free(4);
    cron.fixed_times_ = !is_free(0) && !is_free(1);
    cron.require_possible(text);
    return cron;
}

void Cron::require_possible(std::string_view text) const {
    constexpr unsigned kLongest[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const unsigned first = static_cast<unsigned>(first_bit(days_, 0));
    for (int month = 1; month <= 12; ++month)
        if ((months_ >> month & 1) != 0 && first <= kLongest[month - 1])
            return;
    if (either_day_)
        return;
    const std::string_view shown = clip(text, 200);
    throw Failure("22023", "the schedule never comes true: none of its months has a day %u", first)
        .detail("The schedule is \"%.*s\".", static_cast<int>(shown.size()), shown.data())
        .hint("Look at the day of month and the month.");
}

// The matching days of a month as bits 1 to 31; first_weekday is that of its first day.
std::uint32_t Cron::days_of_month(unsigned length, unsigned first_weekday) const {
    std::uint64_t by_weekday = 0;
    for (unsigned day = 1; day <= length; ++day)
        by_weekday |= std::uint64_t{weekdays_ >> (first_weekday + day - 1) % 7 & 1} << day;
    const std::uint64_t exists = (std::uint64_t{2} << length) - 2;
    return static_cast<std::uint32_t>((either_day_ ? days_ | by_weekday : days_ & by_weekday) & exists);
}

// Days since 1970-01-01.
std::optional<std::int64_t> Cron::first_day(std::int64_t from) const {
    using namespace std::chrono;
    // The calendar's types know years up to 32767 only, PostgreSQL's go further.
    const std::int64_t cycle = floor_divide(from, kCalendarCycle) * kCalendarCycle;
    const year_month_day start{sys_days{days{from - cycle}}};
    year_month month{start.year(), start.month()};
    int day = static_cast<int>(static_cast<unsigned>(start.day()));
    for (int n = 0; n <= kSearchedMonths; ++n, month += months{1}, day = 1) {
        if ((months_ >> static_cast<unsigned>(month.month()) & 1) == 0)
            continue;
        const sys_days first = month / 1;
        const unsigned length = static_cast<unsigned>((month / last).day());
        const int found = first_bit(days_of_month(length, weekday{first}.c_encoding()), day);
        if (found >= 0)
            return cycle + first.time_since_epoch().count() + found - 1;
    }
    return std::nullopt;
}

std::optional<int> Cron::first_minute(int from) const {
    if (from >= kMinutesOfDay)
        return std::nullopt;
    int hour = first_bit(hours_, from / 60);
    if (hour == from / 60) {
        const int minute = first_bit(minutes_, from % 60);
        if (minute >= 0)
            return hour * 60 + minute;
        hour = first_bit(hours_, hour + 1);
    }
    if (hour < 0)
        return std::nullopt;
    return hour * 60 + first_bit(minutes_, 0);
}

std::optional<Seconds> Cron::first_at(Seconds from) const {
    const std::int64_t today = floor_divide(from, kDay);
    const auto minute = first_minute(static_cast<int>((from - today * kDay + kMinute - 1) / kMinute));
    const auto day = first_day(minute ? today : today + 1);
    if (!day)
        return std::nullopt;
    return *day * kDay + (*day == today ? *minute : *first_minute(0)) * kMinute;
}

}  // namespace cache_sync
