#include "naive_cache.h"

#include <set>

namespace cache_sync::demo {
namespace {

std::string key_of(const Item &item) {
    return std::string(kNaivePrefix) + item.key();
}

}  // namespace

NaiveCache::NaiveCache(const Settings &settings, SideCounters &counters)
    : redis_(settings.redis_host, settings.redis_port),
      source_(settings.conninfo),
      counters_(counters),
      random_(std::random_device()()) {}

Reading NaiveCache::look(const Item &item) {
    const Reply reply = redis_.run({"GET", key_of(item)});
    if (reply->type == REDIS_REPLY_NIL) {
        return {};
    }
    const std::string_view text = text_of(*reply);
    return {true, text == kNaiveAbsent ? std::nullopt : Body(text)};
}

Reading NaiveCache::read(const Item &item) {
    if (Reading cached = look(item); cached.from_cache) {
        return cached;
    }
    Body body = source_.read(item);
    application_work(random_);
    redis_.run({"SET", key_of(item), body ? std::string_view(*body) : kNaiveAbsent, "EX", "300"});
    count(counters_.fills);
    return {false, std::move(body)};
}

NaiveInvalidation::NaiveInvalidation(const Settings &settings)
    : redis_(settings.redis_host, settings.redis_port) {}

void NaiveInvalidation::forget(const std::vector<Item> &items) {
    if (items.empty()) {
        return;
    }
    std::set<std::string> keys;
    for (const Item &item : items) {
        keys.insert(key_of(item));
    }
    std::vector<std::string_view> command{"DEL"};
    command.insert(command.end(), keys.begin(), keys.end());
    redis_.run(command);
}

}  // namespace cache_sync::demo
