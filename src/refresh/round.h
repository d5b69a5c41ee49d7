// Which views to refresh now, and when to ask again. Pure: the time and all that is known of the views come
// in, a decision comes out, nothing is kept.
//
// A view is due when it was asked for, when a time of its schedule has come, or when it is dirty and its last
// start is min_interval ago; the latter two not before not_before, which follows failures. A due view waits
// - while an ancestor runs;
// - while an ancestor is due: that saves the view a second run;
// - if only changes made it due: while an ancestor is dirty and becomes due within the view's min_interval.
//
// Constant writes do not make it wait for ever, and it keeps nobody from running: of each ancestor it waits
// for one run that started since it became due. A due ancestor that had that one starts after the view, if
// both can start now. An ancestor that waits after failures is not waited for.
//
// The caller clears dirty_since, requested_at and the schedule's time when a run starts, and sets them again
// if it fails. It must tell of what a run changed (dirty_since of the views above) no later than of its end,
// else a view above both could slip in between.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "refresh/reason.h"

namespace cache_sync {

using Instant = std::int64_t;  // microseconds, since whatever the caller counts from

struct RoundView {
    std::uint32_t id = 0;
    std::vector<std::uint32_t> ancestors;  // registered views below it, to any depth; sorted
    bool running = false;
    std::optional<Instant> dirty_since;       // the first change that no started run has seen
    std::optional<Instant> last_started;      // of the running one, if it runs
    std::optional<Instant> previous_started;  // the start before that, if known
    std::optional<Instant> scheduled_at;      // the next time of the schedule, or the first that was missed
    std::optional<Instant> requested_at;
    std::optional<Instant> not_before;  // next attempt after failures
    Instant min_interval = 0;
};

struct RoundStart {
    std::uint32_t id;
    RefreshReason reason;
};

struct RoundDecision {
    std::vector<RoundStart> starts;   // in this order
    std::optional<Instant> again_at;  // ask then, if nothing happens before: later than now
    bool short_of_workers = false;    // more could start: ask when a worker may be free
};

// Views are asked about in any order; ids are unique. Ask again whenever anything of a view changes.
RoundDecision decide_round(std::span<const RoundView> views, Instant now, int free_workers);

}  // namespace cache_sync
