// Schedules for SQL: checking one, and asking for its next time.
#include <optional>
#include <string_view>

#include "boundary.h"
#include "refresh/schedule.h"
#include "refresh/schedule_zone_pg.h"

extern "C" {
#include "fmgr.h"
#include "utils/timestamp.h"
#include "varatt.h"

PG_FUNCTION_INFO_V1(cache_sync_next_run);
PG_FUNCTION_INFO_V1(cache_sync_check_schedule);
}

namespace cache_sync {
namespace {

constexpr std::int64_t kUnixEpoch = (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

Schedule parse(Datum schedule) {
    const text *const value = call([&] { return DatumGetTextPP(schedule); });
    return Schedule::parse(std::string_view(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
}

std::optional<TimestampTz> next_run(Datum text, TimestampTz after) {
    const Schedule schedule = parse(text);
    if (TIMESTAMP_NOT_FINITE(after))
        return std::nullopt;
    // Rounded down: the next time is a whole second, and must not be taken for one that has been.
    const std::int64_t seconds = after / USECS_PER_SEC - (after % USECS_PER_SEC < 0 ? 1 : 0);
    const auto next = schedule.next(seconds + kUnixEpoch, configured_zone());
    if (!next)
        return std::nullopt;
    TimestampTz result;
    if (__builtin_mul_overflow(*next - kUnixEpoch, USECS_PER_SEC, &result) || !IS_VALID_TIMESTAMP(result))
        return std::nullopt;
    return result;
}

}  // namespace
}  // namespace cache_sync

// _next_run(schedule, after)
Datum cache_sync_next_run(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        const auto next = cache_sync::next_run(PG_GETARG_DATUM(0), PG_GETARG_TIMESTAMPTZ(1));
        if (!next)
            PG_RETURN_NULL();
        PG_RETURN_TIMESTAMPTZ(*next);
    });
}

// _check_schedule(schedule)
Datum cache_sync_check_schedule(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::parse(PG_GETARG_DATUM(0));
        PG_RETURN_VOID();
    });
}
