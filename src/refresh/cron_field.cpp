#include "refresh/cron_field.h"

#include <algorithm>
#include <cctype>
#include <string>

#include "failure.h"

namespace cache_sync {

const CronField kCronFields[5] = {
    {"minute", 0, 59, nullptr,
     "A minute is 0 to 59: a number, a range such as 10-20, a list such as 0,15,30-40, or *; "
     "a range or * may have a step: */5."},
    {"hour", 0, 23, nullptr,
     "An hour is 0 to 23: a number, a range such as 8-18, a list such as 0,6,12-18, or *; "
     "a range or * may have a step: */2."},
    {"day of month", 1, 31, nullptr,
     "A day of month is 1 to 31: a number, a range such as 1-7, a list such as 1,15, or *; "
     "a range or * may have a step: 1-15/2."},
    {"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec",
     "A month is 1 to 12 or jan to dec: a value, a range such as apr-sep, a list such as 1,7, or *; "
     "a range or * may have a step: */3."},
    {"day of week", 0, 7, "sunmontuewedthufrisat",
     "A day of week is 0 to 7, where 0 and 7 are Sunday, or sun to sat: a value, a range such as mon-fri, "
     "a list such as sat,sun, or *; a range or * may have a step: 1-5/2."},
};

std::string_view clip(std::string_view text, std::size_t longest) {
    if (text.size() <= longest)
        return text;
    while (longest > 0 && (static_cast<unsigned char>(text[longest]) & 0xC0) == 0x80)
        --longest;
    return text.substr(0, longest);
}

namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_number(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_digit);
}

// What a value of a list is read into.
struct Value {
    int number;
    bool named;
};

class FieldReader {
 public:
    FieldReader(const CronField &field, std::string_view text, std::string_view schedule)
        : field_(field), text_(text), schedule_(schedule) {}

    std::uint64_t read() const {
        std::uint64_t mask = 0;
        for (std::size_t start = 0;;) {
            const std::size_t comma = text_.find(',', start);
            mask |= read_item(text_.substr(start, comma == text_.npos ? comma : comma - start));
            if (comma == text_.npos)
                return mask;
            start = comma + 1;
        }
    }

 private:
    [[noreturn]] void fail(const std::string &problem) const {
        const std::string_view text = clip(text_);
        const std::string_view schedule = clip(schedule_, 200);
        throw Failure("22023", "bad %s \"%.*s\" in the schedule: %s", field_.name,
                      static_cast<int>(text.size()), text.data(), problem.c_str())
            .detail("The schedule is \"%.*s\".", static_cast<int>(schedule.size()), schedule.data())
            .hint("%s", field_.hint);
    }

    static std::string quoted(std::string_view text) { return "\"" + std::string(clip(text, 20)) + "\""; }

    // value | value-value[/step] | *[/step]
    std::uint64_t read_item(std::string_view item) const {
        if (item.empty())
            fail("a value is missing");
        const std::size_t slash = item.find('/');
        const std::string_view span = item.substr(0, slash);
        const std::size_t dash = span.find('-');
        int first = field_.low;
        int last = field_.high;
        if (dash != span.npos) {
            read_range(span.substr(0, dash), span.substr(dash + 1), first, last);
        } else if (span != "*") {
            first = last = read_value(span).number;
            if (slash != item.npos)
                fail("a step needs a range or *, so write " + std::string(span) + "-" +
                     std::to_string(field_.high) + std::string(clip(item.substr(slash), 20)));
        }
        const int step = slash == item.npos ? 1 : read_step(item.substr(slash + 1));
        std::uint64_t mask = 0;
        for (int value = first; value <= last; value += step)
            mask |= std::uint64_t{1} << value;
        return mask;
    }

    void read_range(std::string_view from, std::string_view to, int &first, int &last) const {
        first = read_value(from).number;
        const Value end = read_value(to);
        last = end.number;
        // Sunday begins a week and ends one: fri-sun can only mean the latter.
        if (end.named && last == 0 && first > 0)
            last = 7;
        if (first > last)
            fail("the range ends before it begins; write it as two, such as " + std::string(from) + "-" +
                 spell(field_.high == 7 ? 6 : field_.high, end.named) + "," + spell(field_.low, end.named) +
                 "-" + std::string(to));
    }

    std::string spell(int value, bool by_name) const {
        return by_name ? std::string(field_.names + 3 * (value - field_.low), 3) : std::to_string(value);
    }

    Value read_value(std::string_view text) const {
        if (text.empty())
            fail("a value is missing");
        if (is_number(text)) {
            const int number = text.size() > 3 ? 1000 : std::stoi(std::string(text));
            if (number < field_.low || number > field_.high)
                fail(std::string(clip(text, 20)) + " is not from " + std::to_string(field_.low) + " to " +
                     std::to_string(field_.high));
            return {number, false};
        }
        return {read_name(text), true};
    }

    int read_name(std::string_view text) const {
        if (field_.names != nullptr && text.size() == 3) {
            std::string name(text);
            std::transform(name.begin(), name.end(), name.begin(),
                           [](unsigned char c) { return std::tolower(c); });
            const std::string_view names = field_.names;
            for (std::size_t at = 0; at < names.size(); at += 3)
                if (names.substr(at, 3) == name)
                    return field_.low + static_cast<int>(at / 3);
        }
        fail(quoted(text) +
             (field_.names != nullptr ? " is neither a number nor a name" : " is not a number"));
    }

    int read_step(std::string_view text) const {
        const int step = !is_number(text) ? 0 : text.size() > 3 ? 1000 : std::stoi(std::string(text));
        if (step < 1 || step > field_.high)
            fail("the step " + quoted(text) + " is not from 1 to " + std::to_string(field_.high));
        return step;
    }

    const CronField &field_;
    std::string_view text_;
    std::string_view schedule_;
};

}  // namespace

std::uint64_t parse_cron_field(const CronField &field, std::string_view text, std::string_view schedule) {
    return FieldReader(field, text, schedule).read();
}

}  // namespace cache_sync
