#include "protocol_cache.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>
#include <thread>

namespace cache_sync::demo {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kLease{3000};
constexpr milliseconds kSoftTtl{300000};
constexpr milliseconds kHardTtl{600000};
constexpr milliseconds kAbsentTtl{30000};

// The tag under which a write can reach the document besides its own key. A card needs none: every write that
// changes it names its key.
std::string tags_of(const Item &item) {
    return item.kind == Item::Kind::kPage ? "category:" + std::to_string(item.id) : std::string();
}

std::string text(milliseconds duration) {
    return std::to_string(duration.count());
}

}  // namespace

ProtocolCache::ProtocolCache(const Settings &settings, SideCounters &counters)
    : redis_(settings.redis_host, settings.redis_port),
      source_(settings.conninfo),
      source_name_(settings.source),
      counters_(counters),
      random_(std::random_device()()) {}

std::string ProtocolCache::nonce() {
    return std::to_string(entropy_()) + std::to_string(entropy_());
}

ProtocolCache::Answer ProtocolCache::get(const std::string &key) {
    const Reply reply = redis_.run({"FCALL", "cs_get", "1", key, source_name_, text(kLease), "0", nonce()});
    if (reply->type == REDIS_REPLY_STRING) {
        return {State::kHit, Body(text_of(*reply)), {}};
    }
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 3) {
        throw std::runtime_error("cs_get gave a reply of an unknown form");
    }
    const std::string_view state = text_of(*reply->element[0]);
    Answer answer{State::kBypass, std::nullopt, std::string(text_of(*reply->element[2]))};
    if (state == "H" || state == "S") {
        answer.state = state == "H" ? State::kHit : State::kStale;
        answer.body = Body(text_of(*reply->element[1]));
    } else if (state == "N") {
        answer.state = State::kAbsent;
    } else if (state == "M") {
        answer.state = State::kMiss;
    }
    return answer;
}

Reading ProtocolCache::read(const Item &item) {
    const std::string key = item.key();
    const auto give_up = steady_clock::now() + kLease;
    for (int attempt = 0; steady_clock::now() < give_up; ++attempt) {
        Answer answer = get(key);
        if (answer.is_served()) {
            if (!answer.token.empty()) {
                fill(item, answer.token);
            }
            return {true, std::move(answer.body)};
        }
        if (answer.state == State::kBypass) {
            break;
        }
        if (!answer.token.empty()) {
            return fill(item, answer.token);
        }
        const auto longest = std::min(50000, 5000 << std::min(attempt, 4));
        const auto wait = std::uniform_int_distribution(longest / 2, longest)(random_);
        std::this_thread::sleep_for(std::chrono::microseconds(wait));
    }
    count(counters_.bypassed);
    return {false, source_.read(item)};
}

Reading ProtocolCache::fill(const Item &item, const std::string &token) {
    const auto started = steady_clock::now();
    Body body;
    try {
        body = source_.read(item);
    } catch (...) {
        drop(item.key(), token);
        throw;
    }
    application_work(random_);
    const auto delta = duration_cast<milliseconds>(steady_clock::now() - started);
    const Reply reply =
        redis_.run({"FCALL", "cs_fill", "1", item.key(), source_name_, token,
                    body ? std::string_view(*body) : std::string_view(), text(body ? kSoftTtl : kAbsentTtl),
                    text(kHardTtl), text(delta), "P", body ? "0" : "1", tags_of(item)});
    const bool is_taken =
        reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->integer == 1;
    count(is_taken ? counters_.fills : counters_.refused);
    return {false, std::move(body)};
}

Reading ProtocolCache::look(const Item &item) {
    const std::string key = item.key();
    Answer answer = get(key);
    if (!answer.token.empty()) {
        drop(key, answer.token);
    }
    return {answer.is_served(), std::move(answer.body)};
}

void ProtocolCache::drop(const std::string &key, const std::string &token) {
    redis_.run({"FCALL", "cs_drop", "1", key, source_name_, token});
}

bool ProtocolCache::is_armed() {
    const std::string key = "demo:is_armed";
    const Answer answer = get(key);
    if (!answer.token.empty()) {
        drop(key, answer.token);
    }
    return answer.state != State::kBypass;
}

}  // namespace cache_sync::demo
