// The time zone of schedules.
#pragma once

#include "refresh/schedule.h"

namespace cache_sync {

// That of cache_sync.timezone; if it is empty, TimeZone as the server's configuration has it, whatever this
// session, its role or its database says. Good until the next call.
const TimeZone &configured_zone();

// Lets sessions with a TimeZone of their own know the configuration's, which they cannot see. To be called by
// a process that has none (the launcher), when it starts and after each reload of the configuration.
void announce_configured_zone();

}  // namespace cache_sync
