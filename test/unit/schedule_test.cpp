#include "refresh/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "failure.h"

namespace cache_sync {
namespace {

// A zone made of its clock changes.
class ListedZone : public TimeZone {
 public:
    ListedZone() = default;
    ListedZone(Seconds first, std::vector<std::pair<Seconds, Seconds>> changes)
        : first_(first), changes_(std::move(changes)) {}

    ZoneSpan span_at(Seconds instant) const override {
        const auto following =
            std::upper_bound(changes_.begin(), changes_.end(), instant,
                             [](Seconds when, const auto &change) { return when < change.first; });
        return {following == changes_.begin() ? first_ : std::prev(following)->second,
                following == changes_.end() ? ZoneSpan::kForever : following->first};
    }

 private:
    Seconds first_ = 0;
    std::vector<std::pair<Seconds, Seconds>> changes_;
};

std::ifstream open_data(const std::string &name) {
    std::ifstream file(std::string(CACHE_SYNC_TEST_DATA) + "/" + name);
    EXPECT_TRUE(file.is_open()) << name;
    return file;
}

std::vector<std::string> split(const std::string &line, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(line);
    for (std::string part; std::getline(stream, part, separator);)
        parts.push_back(part);
    return parts;
}

// The clock changes of 2005 to 2045 as the reference implementation knew them: no test depends on this
// machine's.
const std::map<std::string, ListedZone> &zones() {
    static const std::map<std::string, ListedZone> all = [] {
        std::map<std::string, ListedZone> read;
        std::ifstream file = open_data("cron_zones.tsv");
        for (std::string line; std::getline(file, line);) {
            const std::vector<std::string> columns = split(line, '\t');
            std::vector<std::pair<Seconds, Seconds>> changes;
            for (const std::string &change : split(columns.size() > 2 ? columns[2] : "", ' ')) {
                const auto colon = change.find(':');
                changes.emplace_back(std::stol(change.substr(0, colon)), std::stol(change.substr(colon + 1)));
            }
            read.emplace(columns[0], ListedZone(std::stol(columns[1]), changes));
        }
        return read;
    }();
    return all;
}

const ListedZone &zone(const std::string &name) {
    return zones().at(name);
}

std::string utc(std::optional<Seconds> when) {
    if (!when)
        return "never";
    const std::time_t time = *when;
    std::tm parts{};
    gmtime_r(&time, &parts);
    char text[40];
    std::strftime(text, sizeof(text), *when % 60 == 0 ? "%Y-%m-%d %H:%M" : "%Y-%m-%d %H:%M:%S", &parts);
    return text;
}

// "2024-03-10 07:00", with seconds or without.
Seconds at(const char *text) {
    std::tm parts{};
    const char *const rest = strptime(text, "%Y-%m-%d %H:%M", &parts);
    if (rest != nullptr && *rest == ':')
        strptime(rest, ":%S", &parts);
    return timegm(&parts);
}

// The next `count` times after that one, in UTC, each told from the one before; ", " between them.
std::string nexts(const char *schedule, const char *zone_name, const char *after, int count) {
    const Schedule parsed = Schedule::parse(schedule);
    std::string text;
    std::optional<Seconds> when = at(after);
    for (int n = 0; n < count && when; ++n) {
        when = parsed.next(*when, zone(zone_name));
        text += (n > 0 ? ", " : "") + utc(when);
    }
    return text;
}

// Rows of "zone, expression, after, next times" from column `first` on, in minutes since 1970.
bool agrees(const std::vector<std::string> &columns, std::size_t first, std::string &difference) {
    const Schedule schedule = Schedule::parse(columns[first + 1]);
    Seconds after = std::stol(columns[first + 2]) * 60;
    for (const std::string &minutes : split(columns[first + 3], ' ')) {
        const Seconds expected = std::stol(minutes) * 60;
        const auto found = schedule.next(after, zone(columns[first]));
        if (found != expected) {
            difference = columns[first] + " '" + columns[first + 1] + "' after " + utc(after) +
                         ": expected " + utc(expected) + ", got " + utc(found);
            return false;
        }
        after = expected;
    }
    return true;
}

TEST(Schedule, AgreesWithAnIndependentImplementation) {
    std::ifstream file = open_data("cron_next.tsv");
    int rows = 0;
    int wrong = 0;
    std::string difference;
    for (std::string line; std::getline(file, line); ++rows)
        if (!agrees(split(line, '\t'), 0, difference) && ++wrong <= 20)
            ADD_FAILURE() << difference;
    EXPECT_EQ(wrong, 0);
    EXPECT_GT(rows, 2000);
}

// Rows where cache_sync means to differ, by reason, and how many of them do:
// starred-day    one day field begins with *, such as */2: as in Vixie's cron both must match then; there,
// one is enough. stepped-range  0-40/20 in the hour or minute of a job with times of day: there it counts as
// a wildcard, so that it is lost
//                where the clock jumps; here only a * does.
// skipped-day    a day that a zone leaves out: there its times are lost; here they are made up for, as after
// any jump.
TEST(Schedule, DiffersFromItForThreeReasonsOnly) {
    std::ifstream file = open_data("cron_next_other.tsv");
    std::map<std::string, int> differing;
    std::string difference;
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> columns = split(line, '\t');
        differing[columns[0]] += agrees(columns, 1, difference) ? 0 : 1;
    }
    EXPECT_EQ(differing.size(), 3u);
    for (const auto &[reason, count] : differing)
        EXPECT_GT(count, 5) << reason;
}

TEST(Schedule, TimesThatTheClockJumpsOverRunRightAfterTheJump) {
    const char *const new_york = "America/New_York";  // 2024-03-10 07:00 UTC: 02:00 becomes 03:00
    EXPECT_EQ(nexts("30 2 * * *", new_york, "2024-03-09 12:00", 2), "2024-03-10 07:00, 2024-03-11 06:30");
    EXPECT_EQ(nexts("30 2 * * *", new_york, "2024-03-10 06:59", 1), "2024-03-10 07:00");
    EXPECT_EQ(nexts("30 2 * * *", new_york, "2024-03-10 06:59:59", 1), "2024-03-10 07:00");
    EXPECT_EQ(nexts("30 2 * * *", new_york, "2024-03-10 07:00", 1), "2024-03-11 06:30");
    // Once, however many were jumped over, and together with what is due then anyway.
    EXPECT_EQ(nexts("0,15,30 2 * * *", new_york, "2024-03-09 12:00", 2),
              "2024-03-10 07:00, 2024-03-11 06:00");
    EXPECT_EQ(nexts("0-40/20 2 * * *", new_york, "2024-03-09 12:00", 2),
              "2024-03-10 07:00, 2024-03-11 06:00");
    EXPECT_EQ(nexts("0 2,3 * * *", new_york, "2024-03-09 12:00", 2), "2024-03-10 07:00, 2024-03-11 06:00");
    // A day that is left out as a whole.
    EXPECT_EQ(nexts("0 12 30 12 *", "Pacific/Apia", "2011-12-01 00:00", 2),
              "2011-12-30 10:00, 2012-12-29 22:00");
    EXPECT_EQ(nexts("0 12 * * *", "Pacific/Apia", "2011-12-29 00:00", 3),
              "2011-12-29 22:00, 2011-12-30 10:00, 2011-12-30 22:00");
    // Midnight is what is left out.
    EXPECT_EQ(nexts("@daily", "America/Havana", "2024-03-09 12:00", 2), "2024-03-10 05:00, 2024-03-11 04:00");
    // Half an hour: 02:00 becomes 02:30.
    EXPECT_EQ(nexts("15 2 * * *", "Australia/Lord_Howe", "2024-10-05 00:00", 2),
              "2024-10-05 15:30, 2024-10-06 15:15");
    EXPECT_EQ(nexts("30 2 * * *", "Australia/Lord_Howe", "2024-10-05 00:00", 2),
              "2024-10-05 15:30, 2024-10-06 15:30");
}

TEST(Schedule, TimesThatTheClockShowsTwiceRunOnce) {
    const char *const new_york = "America/New_York";  // 2024-11-03 06:00 UTC: 02:00 becomes 01:00
    EXPECT_EQ(nexts("30 1 * * *", new_york, "2024-11-03 00:00", 2), "2024-11-03 05:30, 2024-11-04 06:30");
    for (const char *after : {"2024-11-03 05:45", "2024-11-03 06:00", "2024-11-03 06:15", "2024-11-03 06:30"})
        EXPECT_EQ(nexts("30 1 * * *", new_york, after, 1), "2024-11-04 06:30") << after;
    EXPECT_EQ(nexts("0,30 0-2 * * *", new_york, "2024-11-03 05:00", 3),
              "2024-11-03 05:30, 2024-11-03 07:00, 2024-11-03 07:30");
    EXPECT_EQ(nexts("45 1 * * *", "Australia/Lord_Howe", "2024-04-06 00:00", 2),
              "2024-04-06 14:45, 2024-04-07 15:15");
    // Midnight comes twice.
    EXPECT_EQ(nexts("@daily", "America/Havana", "2024-11-03 00:00", 2), "2024-11-03 04:00, 2024-11-04 05:00");
}

TEST(Schedule, WildcardsFollowTheClockMinuteByMinute) {
    const char *const new_york = "America/New_York";
    EXPECT_EQ(nexts("30 * * * *", new_york, "2024-03-10 06:00", 2), "2024-03-10 06:30, 2024-03-10 07:30");
    EXPECT_EQ(nexts("*/20 2 * * *", new_york, "2024-03-09 12:00", 1), "2024-03-11 06:00");
    EXPECT_EQ(nexts("30 * * * *", new_york, "2024-11-03 05:00", 3),
              "2024-11-03 05:30, 2024-11-03 06:30, 2024-11-03 07:30");
    EXPECT_EQ(nexts("*/30 1 * * *", new_york, "2024-11-03 04:59", 5),
              "2024-11-03 05:00, 2024-11-03 05:30, 2024-11-03 06:00, 2024-11-03 06:30, 2024-11-04 06:00");
    EXPECT_EQ(nexts("@hourly", "Australia/Lord_Howe", "2024-10-05 14:30", 3),
              "2024-10-05 16:00, 2024-10-05 17:00, 2024-10-05 18:00");
    EXPECT_EQ(nexts("@hourly", "Australia/Lord_Howe", "2024-04-06 13:30", 3),
              "2024-04-06 14:00, 2024-04-06 15:30, 2024-04-06 16:30");
}

// What a list of next times must keep, wherever one begins to look.
TEST(Schedule, NextTimesDoNotDependOnWhereOneLooksFrom) {
    for (const auto &[name, clock] : zones())
        for (const char *text :
             {"30 2 * * *", "0,30 0-3 * * *", "*/7 1,2 * * *", "0 * * * *", "59 23 * * 0,6"}) {
            const Schedule schedule = Schedule::parse(text);
            const Seconds start = at("2024-03-01 00:00");
            for (Seconds after = start; after < start + 300 * kDay; after += 5 * kHour + 1777) {
                const Seconds next = schedule.next(after, clock).value();
                ASSERT_GT(next, after) << name << " " << text;
                ASSERT_EQ(schedule.next((after + next) / 2, clock), next)
                    << name << " " << text << " " << utc(after);
                ASSERT_EQ(schedule.next(next - 1, clock), next) << name << " " << text << " " << utc(after);
            }
        }
}

TEST(Schedule, OffsetsOfSecondsAndTimesFarAway) {
    const ListedZone monrovia(-2670, {{at("1972-01-07 00:44:30"), 0}});
    EXPECT_EQ(utc(Schedule::parse("0 12 * * *").next(at("1971-06-01 00:00"), monrovia)),
              "1971-06-01 12:44:30");
    EXPECT_EQ(utc(Schedule::parse("10 0 7 1 *").next(at("1972-01-01 00:00"), monrovia)),
              "1972-01-07 00:44:30");
    const ListedZone plain;
    EXPECT_EQ(utc(Schedule::parse("0 0 29 2 *").next(at("2096-03-01 00:00"), plain)), "2104-02-29 00:00");
    // The calendar's types of C++ end in the year 32767, PostgreSQL's in 294276.
    constexpr Seconds kCycle = 146097 * kDay;
    EXPECT_EQ(*Schedule::parse("0 0 29 2 1").next(at("2024-03-01 00:00") + 700 * kCycle, plain),
              *Schedule::parse("0 0 29 2 1").next(at("2024-03-01 00:00"), plain) + 700 * kCycle);
    EXPECT_EQ(utc(Schedule::parse("0 0 1 1 *").next(at("1969-01-01 00:00"), plain)), "1970-01-01 00:00");
}

TEST(Schedule, Intervals) {
    const std::map<const char *, Seconds> intervals = {
        {"30 seconds", 30},
        {"1 second", 1},
        {"30s", 30},
        {"45 sec", 45},
        {"5 minutes", 300},
        {"1 min", 60},
        {"1 hour", 3600},
        {"2 hrs", 7200},
        {"1 day", 86400},
        {"2 weeks", 14 * 86400},
        {" 10  Seconds ", 10},
        {"366 days", 366 * 86400},
        {"31622400 seconds", 366 * 86400},
    };
    for (const auto &[text, length] : intervals)
        EXPECT_EQ(Schedule::parse(text).next(1000, ListedZone()), 1000 + length) << text;
}

std::string error_of(const char *text) {
    try {
        Schedule::parse(text);
    } catch (const Failure &failure) {
        EXPECT_STREQ(failure.sqlstate(), "22023");
        EXPECT_STRNE(failure.hint_text(), "");
        return failure.what();
    }
    return "accepted";
}

TEST(Schedule, BadIntervalsSayWhy) {
    for (const char *text : {"0 seconds", "00 min"})
        EXPECT_EQ(error_of(text), "bad interval \"" + std::string(text) + "\" as schedule: it is too short");
    for (const char *text : {"367 days", "31622401 seconds", "99999999999999999999 hours"})
        EXPECT_EQ(error_of(text), "bad interval \"" + std::string(text) + "\" as schedule: it is too long");
    for (const char *text : {"5 fortnights", "3 months", "1 year", "10 m"})
        EXPECT_EQ(error_of(text),
                  "bad interval \"" + std::string(text) + "\" as schedule: the unit is unknown");
    for (const char *text : {"-5 seconds", "1.5 hours", "1 hour 30 minutes", "00:05:00", "30"})
        EXPECT_EQ(error_of(text), "bad interval \"" + std::string(text) +
                                      "\" as schedule: it is not a whole number and a unit");
    for (const char *text : {"", "  ", "every minute"})
        EXPECT_EQ(error_of(text).substr(0, 24), "a schedule has 5 fields,") << text;
}

}  // namespace
}  // namespace cache_sync
