// What the scheduler reads and writes in the database. Every function runs in a transaction of the caller's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pg.h"

extern "C" {
#include "datatype/timestamp.h"
}

namespace cache_sync {

inline constexpr TimestampTz kNoTime = DT_NOBEGIN;

// What outlives the publisher: a row of cache_sync.view_state.
struct ViewState {
    TimestampTz dirty_since = kNoTime;     // something is not in the view since then; kNoTime: nothing
    TimestampTz scheduled_from = kNoTime;  // the next run by schedule is the first time after this
    TimestampTz last_started = kNoTime;
    TimestampTz next_attempt = kNoTime;  // not before this, because the last run failed
    int failures = 0;                    // in a row
};

// A registered view that may be refreshed.
struct ViewRow {
    Oid view = InvalidOid;
    Oid owner = InvalidOid;
    std::string schedule;  // empty: none
    bool on_change = false;
    std::int64_t min_interval_us = 0;
    int statement_timeout_ms = 0;  // 0: none
    bool is_known = false;         // has a state
    bool is_requested = false;     // somebody waits for a run
    ViewState state;
    std::vector<Oid> inputs;     // relations whose changes make it stale
    std::vector<Oid> ancestors;  // registered views that are below it, at any depth
};
std::vector<ViewRow> load_views();

// Writes the states of these views, and forgets those of views that are not registered any more.
struct NamedState {
    Oid view;
    ViewState state;
};
void save_view_states(const std::vector<NamedState> &states);

// The process of this run ended without a word. Closes all that it answered with one refresh.
void close_lost_run(std::int64_t run);
// The same for all runs but these: those of an earlier publisher, or of before a crash.
void close_lost_runs(const std::vector<std::int64_t> &live);

// Adds a run that ended to the counters of its view, and drops the view's oldest runs.
void count_run(std::int64_t run, Oid view);

}  // namespace cache_sync
