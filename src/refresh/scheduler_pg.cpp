#include "refresh/scheduler_pg.h"

#include <algorithm>
#include <utility>

#include "boundary.h"
#include "refresh/schedule_zone_pg.h"
#include "settings_pg.h"
#include "worker/transaction_pg.h"

extern "C" {
#include "miscadmin.h"
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

constexpr Milliseconds kRetry{1000};     // after a failure of our own
constexpr Milliseconds kPatience{1000};  // with what is still to be read, before a run counts as ended
constexpr std::int64_t kFirstPause = USECS_PER_SEC;
constexpr std::int64_t kLongestPause = 5 * USECS_PER_MINUTE;
constexpr std::int64_t kPauseAfterCancel = USECS_PER_MINUTE;
constexpr std::int64_t kSlotsRetry = 5 * USECS_PER_SEC;
constexpr std::int64_t kWorkerRetry = USECS_PER_SEC;  // other databases may have ended a refresh

constexpr std::int64_t kUnixEpoch =
    static_cast<std::int64_t>(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;

std::optional<Instant> instant(TimestampTz time) {
    return time == kNoTime ? std::nullopt : std::optional<Instant>(time);
}

// Of times, some of which are kNoTime, the earlier one.
TimestampTz earlier(TimestampTz a, TimestampTz b) {
    if (a == kNoTime || b == kNoTime)
        return a == kNoTime ? b : a;
    return std::min(a, b);
}

TimestampTz next_time(const Schedule &schedule, TimestampTz after) {
    const auto next = schedule.next(after / USECS_PER_SEC + kUnixEpoch, configured_zone());
    return next ? (*next - kUnixEpoch) * USECS_PER_SEC : kNoTime;
}

std::int64_t pause_after(int failures) {
    const int doublings = std::min(failures - 1, 10);
    return std::min(kFirstPause << doublings, kLongestPause);
}

}  // namespace

void RefreshScheduler::work(bool all_read) {
    const TimePoint now = Clock::now();
    const bool may_try = now >= not_before_;
    if (reload_wanted_ && may_try && !((is_new_ && !begin_life()) || !reload_views()))
        reload_wanted_ = false;
    if (is_new_ || views_.empty()) {
        deadline_ = reload_wanted_ ? not_before_ : kNever;
        return;
    }
    if (changes_.is_walking())
        changes_.walk_slice();
    const TimestampTz time = GetCurrentTimestamp();
    if (changes_.has_changes())
        take_changes(time);
    if (!running_.empty())
        reap(all_read && !changes_.is_walking());
    if (states_unsaved_ && may_try)
        save();
    if (decision_wanted_ || now >= deadline_)
        decide(time);
    if (states_unsaved_ || reload_wanted_)
        deadline_ = std::min(deadline_, not_before_);
    deadline_ = std::min(deadline_, patience_ends_);
}

// ---- what is registered ----

bool RefreshScheduler::begin_life() {
    const Problem problem = in_transaction("looking after earlier refreshes", [&] {
        call([] { free_jobs_of(MyDatabaseId); });
        close_lost_runs({});
    });
    is_new_ = static_cast<bool>(problem);
    if (problem)
        not_before_ = Clock::now() + kRetry;
    return !problem;
}

bool RefreshScheduler::reload_views() {
    std::vector<ViewRow> rows;
    if (in_transaction("loading views", [&] { rows = load_views(); })) {
        not_before_ = deadline_ = Clock::now() + kRetry;
        return false;
    }
    const AreaRoot *area = my_area();
    const bool has_missed = area != nullptr && area->changes_unsaved && !unsaved_changes_;
    for (auto &[oid, view] : views_)
        view.is_registered = false;
    const TimestampTz now = GetCurrentTimestamp();
    for (ViewRow &row : rows)
        adopt(std::move(row), now);
    forget_unregistered();
    index_inputs();
    changes_.watch(!views_.empty());
    if (has_missed)  // what a publisher that ended had read
        for (auto &[oid, view] : views_)
            if (view.row.on_change)
                mark_dirty(view, now);
    decision_wanted_ = states_unsaved_ = true;
    return true;
}

// A view that is known keeps its state: what the database has of it may be older.
void RefreshScheduler::adopt(ViewRow &&row, TimestampTz now) {
    const auto [at, is_new] = views_.try_emplace(row.view);
    View &view = at->second;
    if (!is_new)
        row.state = view.row.state;
    const bool other_schedule = is_new || row.schedule != view.row.schedule;
    view.row = std::move(row);
    view.is_registered = true;
    std::sort(view.row.ancestors.begin(), view.row.ancestors.end());
    if (is_new && view.row.is_requested)
        view.requested_at = now;
    if (is_new && !view.row.is_known) {
        view.row.state.scheduled_from = now;
        view.is_unsaved = true;
        if (view.row.on_change)
            mark_dirty(view, now);
    } else if (!is_new && other_schedule) {
        view.row.state.scheduled_from = now;
        view.is_unsaved = true;
    }
    view.schedule.reset();
    if (!view.row.schedule.empty())
        view.schedule = Schedule::parse(view.row.schedule);
    view.scheduled_at = view.schedule ? next_time(*view.schedule, view.row.state.scheduled_from) : kNoTime;
}

void RefreshScheduler::forget_unregistered() {
    std::erase_if(views_,
                  [](const auto &entry) { return !entry.second.is_registered && entry.second.job < 0; });
}

void RefreshScheduler::index_inputs() {
    views_over_.clear();
    for (const auto &[oid, view] : views_)
        for (const Oid input : view.row.inputs)
            views_over_.emplace(input, oid);
    if (reload_wanted_)
        strangers_.clear();
    std::erase_if(strangers_, [&](Oid relation) { return views_over_.contains(relation); });
    // Every refresh tells of its view, which most often nobody reads: that must not cost a reload each.
    for (const auto &[oid, view] : views_)
        if (!views_over_.contains(oid))
            strangers_.insert(oid);
}

// ---- what changed ----

void RefreshScheduler::take_changes(TimestampTz now) {
    for (const Oid relation : changes_.take_relations())
        mark_changed(relation, now);
    for (const Oid oid : changes_.take_views()) {
        auto at = views_.find(oid);
        if (at == views_.end() && reload_views())
            at = views_.find(oid);
        strangers_.clear();  // DDL asks for a view when it changes what the view reads
        if (at == views_.end())
            continue;
        at->second.requested_at = now;
        mark_dirty(at->second, now);
    }
}

// A relation that became an input just now is not known yet. If it is none, it is not looked for again.
void RefreshScheduler::mark_changed(Oid relation, TimestampTz now) {
    if (strangers_.contains(relation))
        return;
    if (!views_over_.contains(relation) && !reload_views()) {
        for (auto &[oid, view] : views_)
            if (view.row.on_change)
                mark_dirty(view, now);
        return;
    }
    const auto [first, last] = views_over_.equal_range(relation);
    if (first == last)
        strangers_.insert(relation);
    for (auto at = first; at != last; ++at)
        if (View &view = views_.at(at->second); view.row.on_change)
            mark_dirty(view, now);
}

void RefreshScheduler::mark_dirty(View &view, TimestampTz now) {
    decision_wanted_ = true;
    if (view.row.state.dirty_since != kNoTime)
        return;
    view.row.state.dirty_since = now;
    view.is_unsaved = states_unsaved_ = unsaved_changes_ = true;
    if (AreaRoot *area = my_area())
        area->changes_unsaved = true;
}

// ---- runs that ended ----

// What a run changed makes the views over it dirty, and that must be known before the run counts as ended:
// else a view over both could start in between.
void RefreshScheduler::reap(bool all_read) {
    std::vector<Oid> ended;
    for (const Oid oid : running_) {
        const View &view = views_.at(oid);
        pid_t pid;
        if (look_at_job(view.job).ended || GetBackgroundWorkerPid(view.handle, &pid) == BGWH_STOPPED)
            ended.push_back(oid);
    }
    if (ended.empty())
        return;
    const TimePoint now = Clock::now();
    if (!all_read && now < patience_ends_) {
        if (patience_ends_ == kNever)
            patience_ends_ = now + kPatience;
        return;
    }
    patience_ends_ = kNever;
    const TimestampTz time = GetCurrentTimestamp();
    for (const Oid oid : ended) {
        View &view = views_.at(oid);
        finish(view, look_at_job(view.job), time);
    }
    forget_unregistered();
}

void RefreshScheduler::finish(View &view, const RefreshJob &job, TimestampTz now) {
    call([&] {
        free_job(view.job);
        pfree(view.handle);
    });
    view.job = -1;
    view.handle = nullptr;
    running_.erase(view.row.view);
    if (job.run != 0)
        ended_.push_back({job.run, view.row.view, job.outcome == RefreshOutcome::none});
    if (job.outcome == RefreshOutcome::succeeded) {
        view.row.state.failures = 0;
        view.row.state.next_attempt = kNoTime;
        view.covered_since = kNoTime;
    } else if (job.outcome == RefreshOutcome::gone) {
        reload_wanted_ = true;
        view.row.state.dirty_since = std::exchange(view.covered_since, kNoTime);
    } else {
        note_failure(view, job.outcome == RefreshOutcome::canceled, now);
    }
    view.is_unsaved = states_unsaved_ = decision_wanted_ = true;
}

void RefreshScheduler::note_failure(View &view, bool is_canceled, TimestampTz now) {
    ViewState &state = view.row.state;
    state.dirty_since = earlier(state.dirty_since, std::exchange(view.covered_since, kNoTime));
    ++state.failures;
    const std::int64_t pause = pause_after(state.failures);
    state.next_attempt = now + (is_canceled ? std::max(pause, kPauseAfterCancel) : pause);
}

// ---- what outlives us ----

void RefreshScheduler::save() {
    std::vector<NamedState> states;
    for (const auto &[oid, view] : views_) {
        if (!view.is_unsaved || !view.is_registered)
            continue;
        ViewState state = view.row.state;
        state.dirty_since = earlier(state.dirty_since, view.covered_since);
        states.push_back({oid, state});
    }
    const Problem problem = in_transaction("saving the state of views", [&] {
        for (const EndedRun &ended : ended_)
            if (ended.is_lost)
                close_lost_run(ended.run);
        save_view_states(states);
        for (const EndedRun &ended : ended_)
            count_run(ended.run, ended.view);
    });
    if (problem) {
        not_before_ = Clock::now() + kRetry;
        return;
    }
    ended_.clear();
    for (auto &[oid, view] : views_)
        view.is_unsaved = false;
    states_unsaved_ = unsaved_changes_ = false;
    if (AreaRoot *area = my_area())
        area->changes_unsaved = false;
}

// ---- starting ----

void RefreshScheduler::decide(TimestampTz now) {
    decision_wanted_ = false;
    deadline_ = kNever;
    std::vector<RoundView> views;
    for (const auto &[oid, view] : views_) {
        if (!view.is_registered)
            continue;
        const ViewState &state = view.row.state;
        // After a failure the pause that it calls for counts, not min_interval.
        const bool is_failed = state.failures > 0 && view.job < 0;
        views.push_back({oid, view.row.ancestors, view.job >= 0, instant(state.dirty_since),
                         is_failed ? std::nullopt : instant(state.last_started),
                         instant(view.previous_started), instant(view.scheduled_at),
                         instant(view.requested_at), instant(state.next_attempt), view.row.min_interval_us});
    }
    const int free_workers = setting_max_refresh_workers - static_cast<int>(running_.size());
    const RoundDecision decision = decide_round(views, now, std::max(free_workers, 0));
    if (decision.again_at)
        wake_at(*decision.again_at, now);
    for (const RoundStart &next : decision.starts)
        if (!start(views_.at(next.id), next.reason, now))
            return;
    if (decision.short_of_workers && running_.empty())
        wake_at(now + kWorkerRetry, now);
}

bool RefreshScheduler::start(View &view, RefreshReason reason, TimestampTz now) {
    const auto job = call([&] {
        return claim_job(MyDatabaseId, view.row.view, view.row.owner, reason, view.row.statement_timeout_ms);
    });
    if (!job) {
        wake_at(now + kWorkerRetry, now);
        return false;
    }
    if (!call([&] { return start_job(*job, &view.handle); })) {
        call([&] { free_job(*job); });
        complain_about_slots();
        wake_at(now + kSlotsRetry, now);
        return false;
    }
    slots_said_ = false;
    ViewState &state = view.row.state;
    view.job = *job;
    running_.insert(view.row.view);
    view.previous_started = std::exchange(state.last_started, now);
    view.covered_since = state.dirty_since != kNoTime ? state.dirty_since : now;
    state.dirty_since = view.requested_at = kNoTime;
    if (view.scheduled_at != kNoTime && view.scheduled_at <= now) {
        state.scheduled_from = now;
        view.scheduled_at = next_time(*view.schedule, now);
    }
    view.is_unsaved = states_unsaved_ = true;
    return true;
}

void RefreshScheduler::complain_about_slots() {
    LWLockAcquire(slot_lock(slot_), LW_EXCLUSIVE);
    strlcpy(slot_->last_error, "out of background worker slots for refreshes", sizeof(slot_->last_error));
    slot_->last_error_at = GetCurrentTimestamp();
    LWLockRelease(slot_lock(slot_));
    if (std::exchange(slots_said_, true))
        return;
    call([] {
        ereport(WARNING, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
                          errmsg("cache_sync: out of background worker slots"),
                          errdetail("A view is due that cannot be refreshed; trying again every 5 s."),
                          errhint("Increase \"max_worker_processes\".")));
    });
}

void RefreshScheduler::wake_at(TimestampTz when, TimestampTz now) {
    const std::chrono::microseconds ahead(std::max<std::int64_t>(when - now, 0));
    deadline_ = std::min(deadline_, Clock::now() + ahead);
}

}  // namespace cache_sync
