#include "refresh/cron.h"

#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "failure.h"

namespace cache_sync {
namespace {

using namespace std::chrono;

Seconds wall(int year, unsigned month, unsigned day, int hour = 0, int minute = 0) {
    const sys_days date = std::chrono::year(year) / std::chrono::month(month) / std::chrono::day(day);
    return date.time_since_epoch().count() * kDay + hour * kHour + minute * kMinute;
}

std::optional<Seconds> first(const char *expression, Seconds from) {
    return Cron::parse(expression).first_at(from);
}

TEST(Cron, FindsTheFirstTimeFromThereOn) {
    const Seconds noon = wall(2024, 5, 15, 12);  // a Wednesday
    EXPECT_EQ(first("* * * * *", noon), noon);
    EXPECT_EQ(first("* * * * *", noon + 1), noon + 60);
    EXPECT_EQ(first("* * * * *", noon + 59), noon + 60);
    EXPECT_EQ(first("30 * * * *", noon + 31 * 60), wall(2024, 5, 15, 13, 30));
    EXPECT_EQ(first("0 12 * * *", noon + 1), wall(2024, 5, 16, 12));
    EXPECT_EQ(first("59 23 * * *", wall(2024, 5, 15, 23, 59) + 1), wall(2024, 5, 16, 23, 59));
    EXPECT_EQ(first("0 0 1 1 *", noon), wall(2025, 1, 1));
    EXPECT_EQ(first("0 0 * * tue", noon), wall(2024, 5, 21));
    EXPECT_EQ(first("0 0 31 * *", wall(2024, 6, 1)), wall(2024, 7, 31));
    EXPECT_EQ(first("0 0 29 2 *", wall(2024, 3, 1)), wall(2028, 2, 29));
    EXPECT_EQ(first("0 0 29 2 *", wall(2097, 1, 1)), wall(2104, 2, 29));
    EXPECT_EQ(first("0 0 29 feb *", wall(1896, 3, 1)), wall(1904, 2, 29));
    EXPECT_EQ(first("5 4 3 2 *", wall(1950, 2, 3, 4, 6)), wall(1951, 2, 3, 4, 5));
}

TEST(Cron, EitherDayFieldIsEnoughIfBothAreRestricted) {
    const Seconds start = wall(2024, 9, 1);  // the 13th is a Friday
    EXPECT_EQ(first("0 0 13 * 5", start), wall(2024, 9, 6));
    EXPECT_EQ(first("0 0 13 * fri", wall(2024, 10, 12)), wall(2024, 10, 13));
    EXPECT_EQ(first("0 0 13 * *", start), wall(2024, 9, 13));
    EXPECT_EQ(first("0 0 * * 5", start), wall(2024, 9, 6));
    // A field that begins with * is not restricted, so both must match.
    EXPECT_EQ(first("0 0 */2 * 5", start), wall(2024, 9, 13));
    EXPECT_EQ(first("0 0 9 * */2", start), wall(2024, 11, 9));
    // A day that never comes leaves the other one.
    EXPECT_EQ(first("0 0 30 2 1", wall(2024, 2, 1)), wall(2024, 2, 5));
}

TEST(Cron, SundayIsZeroSevenAndAName) {
    const Seconds saturday = wall(2024, 5, 18);
    for (const char *day : {"0", "7", "sun", "SUN", "0,7", "sat-sun/7", "7-7", "sun-sun"})
        EXPECT_EQ(first((std::string("0 0 * * ") + day).c_str(), saturday + 1),
                  std::string(day) == "sat-sun/7" ? wall(2024, 5, 25) : wall(2024, 5, 19))
            << day;
    EXPECT_EQ(first("0 0 * * fri-sun", wall(2024, 5, 19)), wall(2024, 5, 19));
    EXPECT_EQ(first("0 0 * * fri-sun", wall(2024, 5, 20)), wall(2024, 5, 24));
    EXPECT_EQ(first("0 0 * * 5-7", wall(2024, 5, 20)), wall(2024, 5, 24));
    EXPECT_EQ(first("0 0 * * sun-tue", wall(2024, 5, 22)), wall(2024, 5, 26));
    EXPECT_EQ(first("0 0 * * 0-7", wall(2024, 5, 22)), wall(2024, 5, 22));
}

TEST(Cron, WordsStandForFields) {
    const std::vector<std::pair<const char *, const char *>> words = {
        {"@hourly", "0 * * * *"},   {"@daily", "0 0 * * *"},     {"@midnight", "0 0 * * *"},
        {"@weekly", "0 0 * * 0"},   {"@monthly", "0 0 1 * *"},   {"@yearly", "0 0 1 1 *"},
        {"@Annually", "0 0 1 1 *"}, {"  @daily\t", "0 0 * * *"},
    };
    for (const auto &[word, fields] : words)
        for (Seconds from = wall(2023, 12, 25, 5); from < wall(2024, 2, 1); from += 7 * kHour + 11)
            ASSERT_EQ(first(word, from), first(fields, from)) << word;
    EXPECT_FALSE(Cron::parse("@hourly").has_fixed_times());
    EXPECT_TRUE(Cron::parse("@daily").has_fixed_times());
}

TEST(Cron, TimesOfDayAreThoseWithoutAStar) {
    for (const char *fixed : {"0 0 * * *", "0-59 2 * * *", "1,2 0-23 * * *", "0-40/20 2-4/2 */2 * *"})
        EXPECT_TRUE(Cron::parse(fixed).has_fixed_times()) << fixed;
    for (const char *wild : {"* 2 * * *", "*/5 2 * * *", "0 * * * *", "0 */2 1 1 *", "*,5 2 * * *"})
        EXPECT_FALSE(Cron::parse(wild).has_fixed_times()) << wild;
}

// A field made at random, with the values that it stands for.
struct RandomField {
    std::string text;
    std::set<int> values;
    bool starred = false;
};

class CronAgainstEveryMinute : public testing::Test {
 protected:
    int below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(random_); }

    void add_range(RandomField &field, int from, int to, int step) {
        for (int value = from; value <= to; value += step)
            field.values.insert(value);
    }

    RandomField make(int low, int high) {
        RandomField field;
        const int first = low + below(high - low + 1);
        const int last = first + below(high - first + 1);
        const int step = 1 + below(high);
        switch (below(5)) {
            case 0:
                add_range(field, low, high, 1);
                return {"*", field.values, true};
            case 1:
                add_range(field, low, high, step);
                return {"*/" + std::to_string(step), field.values, true};
            case 2:
                add_range(field, first, last, 1);
                return {std::to_string(first) + "-" + std::to_string(last), field.values, false};
            case 3:
                add_range(field, first, last, step);
                return {std::to_string(first) + "-" + std::to_string(last) + "/" + std::to_string(step),
                        field.values, false};
            default:
                field.values = {first, last};
                return {std::to_string(last) + "," + std::to_string(first), field.values, false};
        }
    }

    std::mt19937 random_{7};
};

bool matches(const RandomField (&fields)[5], Seconds when) {
    const sys_days date{days{when / kDay}};
    const year_month_day calendar{date};
    const int weekday_number = static_cast<int>(weekday{date}.c_encoding());
    const bool by_day = fields[2].values.count(static_cast<int>(static_cast<unsigned>(calendar.day()))) != 0;
    const bool by_weekday = fields[4].values.count(weekday_number) != 0 ||
                            (weekday_number == 0 && fields[4].values.count(7) != 0);
    return fields[0].values.count(static_cast<int>(when / kMinute % 60)) != 0 &&
           fields[1].values.count(static_cast<int>(when / kHour % 24)) != 0 &&
           fields[3].values.count(static_cast<int>(static_cast<unsigned>(calendar.month()))) != 0 &&
           (!fields[2].starred && !fields[4].starred ? by_day || by_weekday : by_day && by_weekday);
}

// The same found by looking at every minute; that covers what the reference data leave out.
TEST_F(CronAgainstEveryMinute, IsTheSame) {
    for (int n = 0; n < 150; ++n) {
        const RandomField fields[5] = {make(0, 59), make(0, 23), make(1, 31), make(1, 12), make(0, 7)};
        if (*fields[2].values.begin() > 29)
            continue;  // may never come true
        std::string text;
        for (const RandomField &field : fields)
            text += (text.empty() ? "" : " ") + field.text;
        const Seconds from = wall(2023, 1, 1) + below(500) * kDay + below(1440) * kMinute;
        Seconds expected = from;
        while (expected < from + 15 * kDay && !matches(fields, expected))
            expected += kMinute;
        const auto found = first(text.c_str(), from);
        ASSERT_TRUE(found) << text;
        if (expected < from + 15 * kDay) {
            ASSERT_EQ(*found, expected) << text << " from " << from;
        } else {
            ASSERT_GE(*found, expected) << text << " from " << from;
            ASSERT_TRUE(matches(fields, *found)) << text << " from " << from;
        }
    }
}

std::string error_of(const std::string &expression) {
    try {
        Cron::parse(expression);
    } catch (const Failure &failure) {
        EXPECT_STREQ(failure.sqlstate(), "22023") << expression;
        EXPECT_STRNE(failure.hint_text(), "") << expression;
        return failure.what();
    }
    return "accepted";
}

TEST(Cron, ErrorsNameTheFieldAndWhatItMayBe) {
    const std::vector<std::pair<const char *, const char *>> errors = {
        {"60 * * * *", "bad minute \"60\" in the schedule: 60 is not from 0 to 59"},
        {"* 24 * * *", "bad hour \"24\" in the schedule: 24 is not from 0 to 23"},
        {"* * 0 * *", "bad day of month \"0\" in the schedule: 0 is not from 1 to 31"},
        {"* * * 13 *", "bad month \"13\" in the schedule: 13 is not from 1 to 12"},
        {"* * * * 8", "bad day of week \"8\" in the schedule: 8 is not from 0 to 7"},
        {"0,99999999999 * * * *",
         "bad minute \"0,99999999999\" in the schedule: 99999999999 is not from 0 to 59"},
        {"x * * * *", "bad minute \"x\" in the schedule: \"x\" is not a number"},
        {"-5 * * * *", "bad minute \"-5\" in the schedule: a value is missing"},
        {"5- * * * *", "bad minute \"5-\" in the schedule: a value is missing"},
        {"1,,2 * * * *", "bad minute \"1,,2\" in the schedule: a value is missing"},
        {"1, * * * *", "bad minute \"1,\" in the schedule: a value is missing"},
        {"1-2-3 * * * *", "bad minute \"1-2-3\" in the schedule: \"2-3\" is not a number"},
        {"** * * * *", "bad minute \"**\" in the schedule: \"**\" is not a number"},
        {"? * * * *", "bad minute \"?\" in the schedule: \"?\" is not a number"},
        {"0 0 L * *", "bad day of month \"L\" in the schedule: \"L\" is not a number"},
        {"0 0 * * 5#2", "bad day of week \"5#2\" in the schedule: \"5#2\" is neither a number nor a name"},
        {"0 0 * * monday",
         "bad day of week \"monday\" in the schedule: \"monday\" is neither a number nor a name"},
        {"0 0 * mon *", "bad month \"mon\" in the schedule: \"mon\" is neither a number nor a name"},
        {"*/0 * * * *", "bad minute \"*/0\" in the schedule: the step \"0\" is not from 1 to 59"},
        {"*/90 * * * *", "bad minute \"*/90\" in the schedule: the step \"90\" is not from 1 to 59"},
        {"*/ * * * *", "bad minute \"*/\" in the schedule: the step \"\" is not from 1 to 59"},
        {"*/5/2 * * * *", "bad minute \"*/5/2\" in the schedule: the step \"5/2\" is not from 1 to 59"},
        {"5/10 * * * *", "bad minute \"5/10\" in the schedule: a step needs a range or *, so write 5-59/10"},
        {"0 22-6 * * *",
         "bad hour \"22-6\" in the schedule: the range ends before it begins; write it as two, such as "
         "22-23,0-6"},
        {"0 0 * * fri-mon",
         "bad day of week \"fri-mon\" in the schedule: the range ends before it begins; write it as two, "
         "such as "
         "fri-sat,sun-mon"},
        {"0 0 * nov-2 *",
         "bad month \"nov-2\" in the schedule: the range ends before it begins; write it as two, such as "
         "nov-12,1-2"},
        {"* * * *", "a schedule has 5 fields, not 4"},
        {"", "a schedule has 5 fields, not 0"},
        {"0 * * * * *", "a schedule has 5 fields, not 6"},
        {"@reboot", "unknown word \"@reboot\" in the schedule"},
        {"@often", "unknown word \"@often\" in the schedule"},
        {"0 0 30 2 *", "the schedule never comes true: none of its months has a day 30"},
        {"0 0 31 feb,apr,jun,sep,nov *", "the schedule never comes true: none of its months has a day 31"},
        {"0 0 30-31 2 */2", "the schedule never comes true: none of its months has a day 30"},
    };
    for (const auto &[expression, expected] : errors)
        EXPECT_EQ(error_of(expression), expected) << expression;
}

// Whatever comes in, it is read or refused, and a message is whole characters.
TEST(Cron, SurvivesAnything) {
    std::mt19937 random(11);
    const std::string alphabet = "0123456789*/-, @monfebsun\xC3\xA9";
    for (int n = 0; n < 5000; ++n) {
        std::string text;
        for (std::size_t left = random() % 200; left > 0; --left)
            text += alphabet[random() % alphabet.size()];
        error_of(text);
    }
    for (int length = 50; length < 70; ++length) {
        std::string text(static_cast<std::size_t>(length), 'x');
        for (int n = 0; n < 200; ++n)
            text += "\xC3\xA9";
        const std::string message = error_of(text + " * * * *");
        EXPECT_NE(message.find('"'), message.npos);
        EXPECT_NE(static_cast<unsigned char>(message[message.rfind('"') - 1]), 0xC3) << message;
    }
}

}  // namespace
}  // namespace cache_sync
