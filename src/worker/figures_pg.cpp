#include "worker/figures_pg.h"

#include <algorithm>

#include "boundary.h"
#include "queue/shared_state_pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

// Of a target; with `make`, a free place is taken. Null: none, or no room for one more.
TargetFigures *figures_of(Oid server, bool make) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return nullptr;
    for (auto &figures : area->targets)
        if (figures.server == server)
            return &figures;
    if (!make)
        return nullptr;
    for (auto &figures : area->targets)
        if (figures.server == InvalidOid) {
            figures = TargetFigures{};
            figures.server = server;
            return &figures;
        }
    return nullptr;
}

TimestampTz timestamp_of(TimePoint when) {
    if (when == kNever)
        return 0;
    const auto ahead = std::chrono::duration_cast<std::chrono::microseconds>(when - Clock::now());
    return GetCurrentTimestamp() + ahead.count();
}

void show_error(TargetFigures &figures, const Target &target) {
    if (figures.errors == target.error_count() && target.last_error() == figures.last_error)
        return;
    if (!target.last_error().empty() && target.last_error() != figures.last_error) {
        figures.last_error_at = GetCurrentTimestamp();
        ereport(LOG, (errmsg("cache_sync: target \"%s\": %s", target.config().name.c_str(),
                             target.last_error().c_str())));
    }
    figures.errors = target.error_count();
    strlcpy(figures.last_error, target.last_error().c_str(), sizeof(figures.last_error));
}

void show_target(TargetFigures &figures, const Participant &participant) {
    const Target &target = *participant.target;
    const auto state = static_cast<std::uint8_t>(target.state());
    if (figures.state != state) {
        const bool waiting = target.state() == TargetState::waiting;
        figures.next_attempt = waiting ? timestamp_of(target.deadline()) : 0;
        if (target.state() == TargetState::live)
            figures.connected_at = GetCurrentTimestamp();
        figures.state = state;
    }
    figures.mode = static_cast<std::uint8_t>(target.mode());
    figures.caught_up = participant.caught_up();
    figures.tags_lost = target.tags_lost();
    figures.circuit_open = target.circuit_open();
    figures.in_flight = target.in_flight();
    figures.rows_in_flight = participant.rows_in_flight;
    figures.bytes_in_flight = participant.bytes_in_flight;
    figures.connections = target.connection_count();
    show_error(figures, target);
}

}  // namespace

void keep_figures(Distribution &distribution) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return;
    for (auto &figures : area->targets) {
        const auto &all = distribution.participants();
        const bool configured = std::any_of(all.begin(), all.end(), [&](const auto &participant) {
            return participant->target->config().id == figures.server;
        });
        if (!configured)
            figures.server = InvalidOid;
    }
}

void show_figures(Distribution &distribution) {
    for (auto &participant : distribution.participants()) {
        TargetFigures *figures = figures_of(participant->target->config().id, true);
        if (figures != nullptr)
            call([&] { show_target(*figures, *participant); });
    }
}

void count_settled(std::uint32_t server, const Batch &batch, bool confirmed) {
    TargetFigures *figures = figures_of(server, true);
    if (figures == nullptr)
        return;
    if (!confirmed) {
        ++figures->retried;
        return;
    }
    ++figures->batches;
    figures->published_keys += batch.key_count();
    figures->published_tags += batch.tag_count();
    figures->published_patterns += batch.pattern_count();
    figures->coalesced += batch.coalesced();
    const std::int64_t now =
        GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
    for (const QueueRow &row : batch.rows()) {
        const std::int64_t lag = std::max<std::int64_t>(now - row.visible_at, 0);
        figures->lag.record(static_cast<std::uint64_t>(lag));
        figures->last_lag_us = static_cast<double>(lag);
    }
}

void count_flush(std::uint32_t server) {
    if (TargetFigures *figures = figures_of(server, true))
        ++figures->flushes;
}

}  // namespace cache_sync
