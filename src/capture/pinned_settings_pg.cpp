#include "capture/pinned_settings_pg.h"

#include "pg.h"

extern "C" {
#include "miscadmin.h"       // DateStyle, DateOrder, IntervalStyle
#include "pgtime.h"          // session_timezone
#include "utils/builtins.h"  // quote_all_identifiers
#include "utils/bytea.h"
#include "utils/float.h"
}

namespace cache_sync {

FormatSettings FormatSettings::of_session() {
    return {DateStyle,          DateOrder,    IntervalStyle,
            extra_float_digits, bytea_output, quote_all_identifiers,
            session_timezone};
}

FormatSettings FormatSettings::pinned() {
    static pg_tz *utc = nullptr;
    if (utc == nullptr)
        utc = pg_tzset("UTC");
    return {USE_ISO_DATES, DATEORDER_YMD, INTSTYLE_POSTGRES, 1, BYTEA_OUTPUT_HEX, false, utc};
}

void FormatSettings::apply() const noexcept {
    DateStyle = date_style;
    DateOrder = date_order;
    IntervalStyle = interval_style;
    extra_float_digits = float_digits;
    bytea_output = bytea_format;
    quote_all_identifiers = quote_all;
    session_timezone = time_zone;
}

}  // namespace cache_sync
