#include "suspects.h"

#include <thread>

namespace cache_sync::demo {
namespace {

constexpr std::chrono::seconds kGrace{1};

std::string name_of(const Item &item, const std::string &body) {
    return item.key() + "=" + body;
}

}  // namespace

void Suspects::add(const Item &item, const std::string &body, std::chrono::steady_clock::time_point seen) {
    const std::lock_guard lock(mutex_);
    if (waiting_.size() < kMost && known_.insert(name_of(item, body)).second) {
        waiting_.push_back({item, body, seen + kGrace});
    }
}

std::optional<Suspects::Suspect> Suspects::take_due() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty() || waiting_.front().due > std::chrono::steady_clock::now()) {
        return std::nullopt;
    }
    Suspect suspect = std::move(waiting_.front());
    waiting_.pop_front();
    known_.erase(name_of(suspect.item, suspect.body));
    return suspect;
}

void Suspects::judge(std::stop_token stop, Cache &cache, SideCounters &counters) {
    while (!stop.stop_requested()) {
        const std::optional<Suspect> suspect = take_due();
        if (!suspect) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            continue;
        }
        const Reading again = cache.look(suspect->item);
        if (again.from_cache && again.body == suspect->body) {
            count(counters.stale);
        }
    }
}

}  // namespace cache_sync::demo
