// The scheduler of refreshes: a step of the publisher's loop. It learns from the queue what changed, keeps of
// each registered view how it is, and starts a process for each refresh. When, and in which order, is decided
// in round.h.
//
//   queue --> ChangeReader --> dirty, asked for --> decide_round() --> job --> refresh process
//                                   ^                                             |
//                                   +---- done, failed, changed meanwhile <-------+
//
// What outlives the publisher is in cache_sync.view_state. A change that is not there yet is still in the
// queue, whose tables are not emptied before (has_unsaved_changes), or told by AreaRoot::changes_unsaved.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "clock.h"
#include "refresh/change_reader_pg.h"
#include "refresh/jobs_pg.h"
#include "refresh/round.h"
#include "refresh/schedule.h"
#include "refresh/view_catalog_pg.h"

namespace cache_sync {

class RefreshScheduler {
 public:
    explicit RefreshScheduler(DatabaseSlot *slot) : slot_(slot) {}

    // The registered views, or what they read, may be others.
    void reload() { reload_wanted_ = true; }

    // Gets the rows of the queue as they come.
    ChangeReader &changes() { return changes_; }

    // The step. all_read: nothing that committed before is still on its way to us.
    void work(bool all_read);

    // Is a change known to us alone? Then no queue table may be emptied.
    bool has_unsaved_changes() const { return unsaved_changes_; }
    TimePoint deadline() const { return deadline_; }

 private:
    struct View {
        ViewRow row;
        bool is_registered = true;
        std::optional<Schedule> schedule;
        TimestampTz requested_at = kNoTime;
        TimestampTz scheduled_at = kNoTime;      // the next time of the schedule, or one that was missed
        TimestampTz covered_since = kNoTime;     // since when the run that is under way makes up for changes
        TimestampTz previous_started = kNoTime;  // the start before last_started
        bool is_unsaved = false;
        int job = -1;  // of the run that is under way
        BackgroundWorkerHandle *handle = nullptr;
    };
    struct EndedRun {
        std::int64_t run;
        Oid view;
        bool is_lost;  // its process wrote no end
    };

    bool begin_life();
    bool reload_views();
    void adopt(ViewRow &&row, TimestampTz now);
    void forget_unregistered();
    void index_inputs();
    void take_changes(TimestampTz now);
    void mark_changed(Oid relation, TimestampTz now);
    void mark_dirty(View &view, TimestampTz now);
    void reap(bool all_read);
    void finish(View &view, const RefreshJob &job, TimestampTz now);
    void note_failure(View &view, bool is_canceled, TimestampTz now);
    void save();
    void decide(TimestampTz now);
    bool start(View &view, RefreshReason reason, TimestampTz now);
    void complain_about_slots();
    void wake_at(TimestampTz when, TimestampTz now);

    DatabaseSlot *slot_;
    ChangeReader changes_;
    std::map<Oid, View> views_;
    std::multimap<Oid, Oid> views_over_;  // from what is read to who reads it
    std::set<Oid> strangers_;             // relations that no view reads, as far as was looked
    std::set<Oid> running_;
    std::vector<EndedRun> ended_;

    bool is_new_ = true;  // what an earlier publisher left was not looked at yet
    bool reload_wanted_ = true;
    bool decision_wanted_ = false;
    bool states_unsaved_ = false;
    bool unsaved_changes_ = false;
    bool slots_said_ = false;
    TimePoint deadline_{};
    TimePoint not_before_{};            // the last attempt to load or save failed
    TimePoint patience_ends_ = kNever;  // with a run that ended before all was read
};

}  // namespace cache_sync
