// Runs a piece of code under settings that do not depend on the session: a key must be the same whoever
// writes.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include "boundary.h"

extern "C" {
#include "pgtime.h"     // pg_tz
#include "utils/guc.h"  // NewGUCNestLevel, RestrictSearchPath
}

namespace cache_sync {

// What a piece of code depends on. Sets are sums.
enum Pins : unsigned {
    kPinNothing = 0,
    kPinFormats =
        1,  // DateStyle, IntervalStyle, TimeZone, extra_float_digits, bytea_output: a few nanoseconds
    kPinSearchPath = 2,  // search_path: microseconds
};

// The format settings, taken from and given to PostgreSQL's own variables: the GUC machinery would be too
// slow for something that is done for every row.
struct FormatSettings {
    int date_style;
    int date_order;
    int interval_style;
    int float_digits;
    int bytea_format;
    bool quote_all;
    pg_tz *time_zone;

    static FormatSettings of_session();
    static FormatSettings pinned();
    void apply() const noexcept;
};

// Runs fn under pinned settings. An error leaves the search_path to the end of the (sub)transaction, as in
// PostgreSQL itself; the formats are put back at once.
template <typename Fn>
void with_pinned_settings(unsigned pins, Fn &&fn) {
    if (pins == kPinNothing) {
        fn();
        return;
    }
    const FormatSettings session = FormatSettings::of_session();
    const FormatSettings pinned = FormatSettings::pinned();
    with_cleanup(
        [&] {
            pinned.apply();
            const int level = (pins & kPinSearchPath) != 0 ? NewGUCNestLevel() : 0;
            if (level != 0)
                RestrictSearchPath();
            fn();
            if (level != 0)
                AtEOXact_GUC(false, level);
            return true;
        },
        [&] { session.apply(); });
}

}  // namespace cache_sync
