// One field of a cron expression, read into a bit mask.
#pragma once

#include <cstdint>
#include <string_view>

namespace cache_sync {

struct CronField {
    const char *name;
    int low;
    int high;
    const char *names;  // of three letters each, for low, low + 1, ...; nullptr: the field has numbers only
    const char *hint;
};

extern const CronField kCronFields[5];

// Bit n of the result is the value n, of the day of the week too: 0 and 7 are two bits. `schedule` is the
// whole text, for messages. Throws Failure 22023.
std::uint64_t parse_cron_field(const CronField &field, std::string_view text, std::string_view schedule);

// What of `text` fits into a message, cut between characters of UTF-8.
std::string_view clip(std::string_view text, std::size_t longest = 60);

}  // namespace cache_sync
