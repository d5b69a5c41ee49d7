#include "reader.h"

#include <thread>

namespace cache_sync::demo {
namespace {

constexpr int kPagesPercent = 10;
constexpr int kTopsPercent = 30;
constexpr std::uint64_t kCheckEvery = 3;
// A customer thinks between two clicks; without it the demo would measure nothing but the machine's limit.
constexpr std::chrono::microseconds kThink{400};

}  // namespace

Reader::Reader(const Settings &settings, const Catalogue &catalogue, Shelf shelf, Cache &cache,
               SideCounters &counters, Suspects &suspects)
    : catalogue_(catalogue),
      shelf_(shelf),
      cache_(cache),
      source_(settings.conninfo),
      counters_(counters),
      suspects_(suspects),
      random_(std::random_device()()) {}

void Reader::run(std::stop_token stop) {
    std::uint64_t hits = 0;
    while (!stop.stop_requested()) {
        const Item item = choose();
        const Reading reading = cache_.read(item);
        count(counters_.reads);
        if (reading.from_cache) {
            count(counters_.hits);
            if (++hits % kCheckEvery == 0) {
                check(item, reading.body);
            }
        }
        std::this_thread::sleep_for(kThink);
    }
}

Item Reader::choose() {
    const bool of_views = shelf_ == Shelf::kViews;
    if (std::uniform_int_distribution(1, 100)(random_) <= (of_views ? kTopsPercent : kPagesPercent)) {
        return {of_views ? Item::Kind::kTop : Item::Kind::kPage, catalogue_.categories.draw(random_)};
    }
    return {of_views ? Item::Kind::kProductView : Item::Kind::kCard, catalogue_.products.draw(random_)};
}

void Reader::check(const Item &item, const Body &cached) {
    const Body now = source_.read(item);
    count(counters_.checked);
    if (is_outdated(cached, now) && suspects_.add(item, *cached, std::chrono::steady_clock::now())) {
        count(counters_.stale);
    }
}

}  // namespace cache_sync::demo
