#include "worker/figures_pg.h"

#include <algorithm>
#include <functional>
#include <string>

#include "boundary.h"
#include "queue/published_rows_pg.h"
#include "queue/shared_state_pg.h"
#include "worker/queue_reader_pg.h"

extern "C" {
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

TargetFigures *figures_of(const Participant &participant) {
    AreaRoot *area = my_area();
    return area != nullptr && participant.place >= 0 ? &area->targets[participant.place] : nullptr;
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
    figures.exempt = participant.exempt;
    figures.tags_lost = target.tags_lost();
    figures.circuit_open = target.circuit_open();
    figures.in_flight = target.in_flight();
    figures.connections = target.connection_count();
    show_error(figures, target);
}

std::uint64_t endpoint_of(const TargetConfig &config) {
    std::string text;
    for (const std::string *part : {&config.url, &config.prefix, &config.source})
        text.append(*part).push_back('\0');
    return std::hash<std::string>()(text);
}

// A target that was here before, under an earlier publisher or before a pause, keeps its counters; and its
// marks too, unless it is in another Redis now. (One that lost data is flushed, see joining_pg.)
bool take_place(AreaRoot &area, Participant &participant) {
    const TargetConfig &config = participant.target->config();
    TargetFigures *mine = nullptr;
    for (auto &figures : area.targets)
        if (figures.server == config.id || (mine == nullptr && figures.server == InvalidOid))
            mine = &figures;
    if (mine == nullptr)
        return false;
    participant.place = static_cast<int>(mine - area.targets);
    const std::uint64_t endpoint = endpoint_of(config);
    if (mine->server == config.id && mine->endpoint == endpoint)
        return true;
    if (mine->server != config.id) {
        *mine = TargetFigures{};
        mine->server = config.id;
    }
    mine->endpoint = endpoint;
    forget_marks_of_place(participant.place);
    return true;
}

}  // namespace

int assign_places(Distribution &distribution) {
    AreaRoot *area = my_area();
    if (area == nullptr)
        return 0;
    const auto &all = distribution.participants();
    for (int place = 0; place < kMaxTargets; ++place) {
        const bool used =
            std::any_of(all.begin(), all.end(), [&](const auto &one) { return one->place == place; });
        const bool known = std::any_of(all.begin(), all.end(), [&](const auto &one) {
            return one->place < 0 && one->target->config().id == area->targets[place].server;
        });
        if (!used && !known)
            area->targets[place].server = InvalidOid;
    }
    int homeless = 0;
    for (auto &participant : distribution.participants())
        if (participant->place < 0 && !take_place(*area, *participant))
            ++homeless;
    return homeless;
}

void show_figures(Distribution &distribution) {
    for (auto &participant : distribution.participants())
        if (TargetFigures *figures = figures_of(*participant))
            call([&] { show_target(*figures, *participant); });
}

void count_settled(const Participant &participant, const Batch &batch, bool confirmed) {
    TargetFigures *figures = figures_of(participant);
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
    const std::int64_t now = unix_microseconds(GetCurrentTimestamp());
    for (const QueueRow &row : batch.rows()) {
        mark_confirmed(participant.place, RowPosition::unpack(row.position));
        if (row.visible_at == kNoLag)
            continue;
        const std::int64_t lag = std::max<std::int64_t>(now - row.visible_at, 0);
        figures->lag.record(static_cast<std::uint64_t>(lag));
        figures->last_lag_us = static_cast<double>(lag);
    }
}

void count_flush(const Participant &participant) {
    if (TargetFigures *figures = figures_of(participant))
        ++figures->flushes;
}

}  // namespace cache_sync
