// Drives a target as its owner does: waits for its socket and its deadline until a condition holds.
#pragma once

#include <poll.h>

#include <algorithm>
#include <csignal>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "publish/target.h"

namespace cache_sync {

inline void ignore_sigpipe() {
    std::signal(SIGPIPE, SIG_IGN);
}

// One round: what is due, then wait at most `longest` for the socket.
inline void drive_once(Target &target, Milliseconds longest = Milliseconds(20)) {
    const TimePoint now = Clock::now();
    target.advance(now);
    pollfd entry{target.socket(), static_cast<short>(POLLIN | (target.wants_write() ? POLLOUT : 0)), 0};
    const TimePoint until = std::min(target.deadline(), now + longest);
    const auto wait = std::chrono::ceil<Milliseconds>(std::max(until - now, Clock::duration::zero()));
    if (poll(&entry, entry.fd >= 0 ? 1 : 0, static_cast<int>(wait.count())) > 0)
        target.ready((entry.revents & (POLLIN | POLLHUP | POLLERR)) != 0, (entry.revents & POLLOUT) != 0,
                     Clock::now());
}

// Does the condition come true in time?
template <typename Condition>
bool drive(Target &target, Condition condition, Milliseconds timeout = std::chrono::seconds(60)) {
    const TimePoint end = Clock::now() + timeout;
    while (!condition()) {
        if (Clock::now() > end)
            return false;
        drive_once(target);
    }
    return true;
}

inline bool drive_to(Target &target, TargetState state) {
    return drive(target, [&] { return target.state() == state; });
}

// Connects and arms; the order's epoch must be higher than all before.
inline bool drive_live(Target &target, const Arming &order) {
    if (!drive(target, [&] { return target.wants_arming(); }))
        return false;
    target.arm(order, Clock::now());
    return drive_to(target, TargetState::live);
}

struct Content {
    std::vector<std::string> keys, tags, patterns, flushes;
};

inline std::shared_ptr<const Batch> make_batch(const Content &content, std::uint64_t number = 1,
                                               std::uint64_t lsn = 100) {
    BatchBuilder builder;
    for (const auto &key : content.keys)
        builder.add(TouchKind::key, key);
    for (const auto &tag : content.tags)
        builder.add(TouchKind::tag, tag);
    for (const auto &pattern : content.patterns)
        builder.add(TouchKind::pattern, pattern);
    for (const auto &flush : content.flushes)
        builder.add(TouchKind::flush, flush);
    builder.add_row({number, 0});
    Batch batch = builder.take();
    batch.number = number;
    batch.lsn = lsn;
    return std::make_shared<const Batch>(std::move(batch));
}

}  // namespace cache_sync
