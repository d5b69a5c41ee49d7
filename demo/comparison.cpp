#include "comparison.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "catalogue.h"
#include "naive_cache.h"

namespace cache_sync::demo {
namespace {

constexpr std::size_t kSlice = 1000;

struct Entry {
    std::int64_t id = 0;
    Body body;
};

// Fetches what a reader would be served for the keys; those that serve nothing are left out.
using Fetch = std::function<std::vector<Entry>(Redis &, const std::vector<std::string> &keys)>;

std::set<std::string> scan(Redis &redis, const std::string &pattern) {
    std::set<std::string> keys;
    std::string cursor = "0";
    do {
        const Reply reply = redis.run({"SCAN", cursor, "MATCH", pattern, "COUNT", "1000"});
        cursor = text_of(*reply->element[0]);
        for (std::size_t i = 0; i < reply->element[1]->elements; ++i) {
            keys.emplace(text_of(*reply->element[1]->element[i]));
        }
    } while (cursor != "0");
    return keys;
}

std::int64_t id_of(const std::string &key) {
    const std::size_t digits = key.rfind(':') + 1;
    std::int64_t id = 0;
    if (std::from_chars(key.data() + digits, key.data() + key.size(), id).ec != std::errc()) {
        throw std::runtime_error("the cache has a key the demo did not make: " + key);
    }
    return id;
}

std::vector<Entry> fetch_naive(Redis &redis, const std::vector<std::string> &keys) {
    std::vector<Entry> entries;
    for (const std::string &key : keys) {
        redis.send({"GET", key});
    }
    for (const std::string &key : keys) {
        const Reply reply = redis.fetch();
        if (reply->type == REDIS_REPLY_STRING) {
            const std::string_view text = text_of(*reply);
            entries.push_back({id_of(key), text == kNaiveAbsent ? std::nullopt : Body(text)});
        }
    }
    return entries;
}

std::vector<Entry> fetch_protocol(const std::string &source, Redis &redis,
                                  const std::vector<std::string> &keys) {
    std::vector<Entry> entries;
    for (const std::string &key : keys) {
        redis.send({"FCALL_RO", "cs_peek", "1", key, source});
        redis.send({"HGET", key, "v"});
    }
    for (const std::string &key : keys) {
        const Reply peeked = redis.fetch();
        const Reply value = redis.fetch();
        if (peeked->elements > 0 && peeked->element[0]->integer == 1) {
            // No document is empty: an empty value is a cached absence.
            entries.push_back({id_of(key), value->len == 0 ? std::nullopt : Body(text_of(*value))});
        }
    }
    return entries;
}

std::map<std::int64_t, std::string> read_source(Database &database, const std::string &view,
                                                const std::string &id, const std::vector<Entry> &entries) {
    std::string ids = "{";
    for (const Entry &entry : entries) {
        ids += (ids.size() > 1 ? "," : "") + std::to_string(entry.id);
    }
    const Rows rows = database.run(
        "SELECT " + id + ", body FROM " + view + " WHERE " + id + " = ANY ($1::bigint[])", {ids + "}"});
    std::map<std::int64_t, std::string> bodies;
    for (int row = 0; row < rows.size(); ++row) {
        bodies.emplace(rows.number(row, 0), rows.text(row, 1));
    }
    return bodies;
}

void compare(Redis &redis, Database &database, const std::string &prefix, const Fetch &fetch,
             const KindOfItem &described, Verdict &verdict) {
    const std::string kind = prefix + described.prefix;
    const std::set<std::string> all = scan(redis, kind + "*");
    for (auto at = all.begin(); at != all.end();) {
        std::vector<std::string> keys;
        for (; at != all.end() && keys.size() < kSlice; ++at) {
            keys.push_back(*at);
        }
        const std::vector<Entry> entries = fetch(redis, keys);
        const auto bodies = read_source(database, described.source, described.id_column, entries);
        for (const Entry &entry : entries) {
            const auto found = bodies.find(entry.id);
            const Body source = found == bodies.end() ? std::nullopt : Body(found->second);
            ++verdict.entries;
            if (entry.body != source) {
                ++verdict.stale;
                if (verdict.example.empty()) {
                    verdict.example =
                        kind + std::to_string(entry.id) + "\n" + describe_difference(entry.body, source);
                }
            }
        }
    }
}

Verdict compare_all(const Settings &settings, const std::string &prefix, const Fetch &fetch,
                    std::initializer_list<Item::Kind> kinds) {
    Redis redis(settings.redis_host, settings.redis_port);
    Database database(settings.conninfo);
    Verdict verdict;
    for (const Item::Kind kind : kinds) {
        compare(redis, database, prefix, fetch, describe(kind), verdict);
    }
    return verdict;
}

Verdict compare_protocol(const Settings &settings, std::initializer_list<Item::Kind> kinds) {
    const auto fetch = [&](Redis &redis, const std::vector<std::string> &keys) {
        return fetch_protocol(settings.source, redis, keys);
    };
    return compare_all(settings, "", fetch, kinds);
}

}  // namespace

Verdict compare_protocol_entries(const Settings &settings) {
    return compare_protocol(settings, {Item::Kind::kCard, Item::Kind::kPage});
}

Verdict compare_view_entries(const Settings &settings) {
    return compare_protocol(settings, {Item::Kind::kProductView, Item::Kind::kTop});
}

Verdict compare_naive_entries(const Settings &settings) {
    return compare_all(settings, std::string(kNaivePrefix), fetch_naive,
                       {Item::Kind::kCard, Item::Kind::kPage});
}

}  // namespace cache_sync::demo
