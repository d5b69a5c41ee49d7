#include "refresh/round.h"

#include <algorithm>
#include <limits>
#include <unordered_map>

namespace cache_sync {
namespace {

constexpr Instant kFirstInstant = std::numeric_limits<Instant>::min();
constexpr Instant kLastInstant = std::numeric_limits<Instant>::max();

Instant add(Instant instant, Instant duration) {
    return duration > kLastInstant - std::max<Instant>(instant, 0) ? kLastInstant : instant + duration;
}

bool contains(const std::vector<std::uint32_t> &sorted, std::uint32_t id) {
    return std::binary_search(sorted.begin(), sorted.end(), id);
}

// What the decision knows of a view besides what came in.
struct Outlook {
    const RoundView *view = nullptr;
    bool due = false;
    RefreshReason reason = RefreshReason::change;
    Instant due_since = 0;                            // when it became due
    std::optional<Instant> change_at = std::nullopt;  // dirty: when it becomes due for that
    bool held = false;
    Instant turn = 0;  // who starts first
};

class Decider {
 public:
    Decider(std::span<const RoundView> views, Instant now) : now_(now) {
        outlooks_.reserve(views.size());
        positions_.reserve(views.size());
        for (const RoundView &view : views) {
            positions_.emplace(view.id, outlooks_.size());
            outlooks_.push_back(look_at(view));
        }
    }

    RoundDecision decide(int free_workers) {
        std::vector<Outlook *> due;
        for (Outlook &outlook : outlooks_)
            if (outlook.due && !outlook.view->running)
                due.push_back(&outlook);
        for (Outlook *outlook : due)
            find_holders(*outlook);
        // What is above comes first here, so that its turn is known when what is below must come after it.
        std::sort(due.begin(), due.end(), [](const Outlook *a, const Outlook *b) {
            return a->view->ancestors.size() > b->view->ancestors.size();
        });
        for (Outlook *outlook : due)
            if (!outlook->held)
                let_go_first(*outlook);
        start(due, free_workers);
        return std::move(decision_);
    }

 private:
    void ask_again(Instant when) {
        if (when > now_ && (!decision_.again_at || when < *decision_.again_at))
            decision_.again_at = when;
    }

    // Notes one reason to refresh: from `when` on.
    void want(Outlook &outlook, Instant when, RefreshReason reason) {
        if (!outlook.view->running)
            ask_again(when);
        if (when > now_)
            return;
        outlook.due_since = outlook.due ? std::min(outlook.due_since, when) : when;
        outlook.due = true;
        outlook.reason = std::max(outlook.reason, reason);
        outlook.turn = outlook.due_since;
    }

    Outlook look_at(const RoundView &view) {
        Outlook outlook{.view = &view};
        const Instant earliest = view.not_before.value_or(kFirstInstant);
        if (view.dirty_since) {
            Instant when = std::max(*view.dirty_since, earliest);
            if (view.last_started)
                when = std::max(when, add(*view.last_started, view.min_interval));
            // After failures nobody waits for it.
            if (earliest <= now_)
                outlook.change_at = when;
            want(outlook, when, RefreshReason::change);
        }
        if (view.scheduled_at)
            want(outlook, std::max(*view.scheduled_at, earliest), RefreshReason::schedule);
        if (view.requested_at)
            want(outlook, std::min(*view.requested_at, now_), RefreshReason::request);
        return outlook;
    }

    // Calls fn with the outlook of every ancestor. Views that are above each other (a view that was replaced
    // can make such a circle) have no order.
    template <typename Fn>
    void for_each_ancestor(const Outlook &outlook, Fn &&fn) {
        for (const std::uint32_t id : outlook.view->ancestors) {
            const auto position = positions_.find(id);
            if (position == positions_.end())
                continue;
            Outlook &ancestor = outlooks_[position->second];
            if (ancestor.view != outlook.view && !contains(ancestor.view->ancestors, outlook.view->id))
                fn(ancestor);
        }
    }

    void find_holders(Outlook &outlook) {
        const bool may_wait_for_more = outlook.reason == RefreshReason::change;
        const Instant patience = add(outlook.due_since, outlook.view->min_interval);
        for_each_ancestor(outlook, [&](const Outlook &ancestor) {
            // Those that started since the view became due have seen all that made it due.
            const auto seen = [&](const std::optional<Instant> &start) {
                return start && *start >= outlook.due_since;
            };
            if (ancestor.view->running) {
                outlook.held |= !seen(ancestor.view->previous_started);
            } else if (!seen(ancestor.view->last_started)) {
                const bool soon = may_wait_for_more && ancestor.change_at && *ancestor.change_at <= patience;
                outlook.held |= ancestor.due || soon;
            }
        });
    }

    // The due ancestors of a view that is not held have had their run: now it is before them.
    void let_go_first(const Outlook &outlook) {
        for_each_ancestor(outlook, [&](Outlook &ancestor) {
            if (ancestor.due)
                ancestor.turn = std::max(ancestor.turn, add(outlook.turn, 1));
        });
    }

    void start(std::vector<Outlook *> &due, int free_workers) {
        std::erase_if(due, [](const Outlook *outlook) { return outlook->held; });
        std::sort(due.begin(), due.end(), [](const Outlook *a, const Outlook *b) {
            if (a->turn != b->turn)
                return a->turn < b->turn;
            if (a->view->ancestors.size() != b->view->ancestors.size())
                return a->view->ancestors.size() < b->view->ancestors.size();
            return a->view->id < b->view->id;
        });
        const std::size_t count = std::min(due.size(), static_cast<std::size_t>(std::max(free_workers, 0)));
        for (std::size_t n = 0; n < count; ++n)
            decision_.starts.push_back({due[n]->view->id, due[n]->reason});
        decision_.short_of_workers = count < due.size();
    }

    Instant now_;
    std::vector<Outlook> outlooks_;
    std::unordered_map<std::uint32_t, std::size_t> positions_;
    RoundDecision decision_;
};

}  // namespace

RoundDecision decide_round(std::span<const RoundView> views, Instant now, int free_workers) {
    return Decider(views, now).decide(free_workers);
}

}  // namespace cache_sync
