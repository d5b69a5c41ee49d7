#include "suspects.h"

#include <thread>

namespace cache_sync::demo {
namespace {

constexpr std::chrono::seconds kGrace{1};

std::string name_of(const Item &item, const std::string &body) {
    return item.key() + "=" + body;
}

}  // namespace

bool Suspects::add(const Item &item, const std::string &body, std::chrono::steady_clock::time_point seen) {
    const std::lock_guard lock(mutex_);
    const std::string name = name_of(item, body);
    if (const auto known = is_proven_.find(name); known != is_proven_.end()) {
        return known->second;
    }
    if (is_proven_.size() < kMost) {
        is_proven_.emplace(name, false);
        waiting_.push_back({item, body, seen + kGrace});
    }
    return false;
}

std::optional<Suspects::Suspect> Suspects::take_due() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty() || waiting_.front().due > std::chrono::steady_clock::now()) {
        return std::nullopt;
    }
    Suspect suspect = std::move(waiting_.front());
    waiting_.pop_front();
    return suspect;
}

void Suspects::settle(const Suspect &suspect, bool is_stale) {
    const std::lock_guard lock(mutex_);
    const std::string name = name_of(suspect.item, suspect.body);
    if (is_stale) {
        is_proven_[name] = true;
    } else {
        is_proven_.erase(name);
    }
}

void Suspects::judge(std::stop_token stop, Cache &cache, Source &source, SideCounters &counters) {
    while (!stop.stop_requested()) {
        const std::optional<Suspect> suspect = take_due();
        if (!suspect) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            continue;
        }
        const Reading again = cache.look(suspect->item);
        const bool is_stale = again.from_cache && again.body == suspect->body &&
                              is_outdated(again.body, source.read(suspect->item));
        if (is_stale) {
            count(counters.stale);
        }
        settle(*suspect, is_stale);
    }
}

}  // namespace cache_sync::demo
