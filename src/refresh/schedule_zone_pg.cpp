#include "refresh/schedule_zone_pg.h"

#include "boundary.h"
#include "settings_pg.h"

extern "C" {
#include "pgtime.h"
#include "storage/dsm_registry.h"
#include "storage/spin.h"
#include "utils/guc_tables.h"
}

namespace cache_sync {
namespace {

struct AnnouncedZone {
    slock_t lock;
    char name[TZ_STRLEN_MAX + 1];  // empty: none yet
};

AnnouncedZone *announced_zone() {
    bool found;
    return static_cast<AnnouncedZone *>(GetNamedDSMSegment(
        "cache_sync time zone", sizeof(AnnouncedZone),
        [](void *memory) {
            auto *const zone = static_cast<AnnouncedZone *>(memory);
            SpinLockInit(&zone->lock);
            zone->name[0] = '\0';
        },
        &found));
}

// What RESET would make of TimeZone, and whether that is the configuration's: schedules of one server should
// agree.
const char *reset_time_zone(bool &from_configuration) {
    const config_generic *const option = find_option("TimeZone", false, true, 0);
    from_configuration = option->reset_source <= PGC_S_ARGV;
    return GetConfigOptionResetString("TimeZone");
}

pg_tz *find_zone() {
    pg_tz *zone = nullptr;
    if (setting_timezone != nullptr && setting_timezone[0] != '\0') {
        zone = pg_tzset(setting_timezone);
    } else {
        bool from_configuration;
        char name[TZ_STRLEN_MAX + 1];
        strlcpy(name, reset_time_zone(from_configuration), sizeof(name));
        if (!from_configuration) {
            AnnouncedZone *const announced = announced_zone();
            SpinLockAcquire(&announced->lock);
            if (announced->name[0] != '\0')
                strlcpy(name, announced->name, sizeof(name));
            SpinLockRelease(&announced->lock);
        }
        zone = pg_tzset(name);
    }
    // A file that is gone since; or an interval instead of a zone, which TimeZone may be.
    return zone != nullptr ? zone : log_timezone;
}

class ServerZone : public TimeZone {
 public:
    ZoneSpan span_at(Seconds instant) const override {
        const pg_time_t time = instant;
        long offset = 0;
        long later_offset;
        int is_summer, later_is_summer;
        pg_time_t until;
        const int found =
            pg_next_dst_boundary(&time, &offset, &is_summer, &until, &later_offset, &later_is_summer, zone);
        return {offset, found > 0 ? until : ZoneSpan::kForever};
    }

    pg_tz *zone = nullptr;
};

}  // namespace

const TimeZone &configured_zone() {
    static ServerZone zone;
    zone.zone = call([] { return find_zone(); });
    return zone;
}

void announce_configured_zone() {
    call([] {
        bool from_configuration;
        const char *const name = reset_time_zone(from_configuration);
        AnnouncedZone *const announced = announced_zone();
        SpinLockAcquire(&announced->lock);
        strlcpy(announced->name, name, sizeof(announced->name));
        SpinLockRelease(&announced->lock);
    });
}

}  // namespace cache_sync
