#include "publish/wording.h"

#include <algorithm>
#include <random>

#include "publish/command.h"

namespace cache_sync {
namespace {

constexpr std::string_view kScanCount = "1000";
// A node that hears nothing for so many heartbeats stops to call its hits fresh.
constexpr int kBeatsToLive = 10;

}  // namespace

Wording::Wording(const TargetConfig &config)
    : config_(config),
      channel_(config.channel.empty() ? "cs:inv:" + config.source : config.channel),
      log_key_("cs:log:" + config.source) {
    for (const char c : config.prefix) {
        if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\')
            escaped_prefix_ += '\\';
        escaped_prefix_ += c;
    }
}

std::size_t Wording::invalidate(std::string &out, const Session &session, std::uint64_t lsn,
                                std::string_view prefix, Names keys) const {
    std::size_t commands = 0;
    for (; !keys.empty(); ++commands) {
        const std::size_t count = std::min(keys.size(), kMaxNamesPerCommand);
        invalidate_some(out, session, lsn, prefix, keys.first(count));
        keys = keys.subspan(count);
    }
    return commands;
}

void Wording::invalidate_some(std::string &out, const Session &session, std::uint64_t lsn,
                              std::string_view prefix, Names keys) const {
    const bool functions = session.mode == TargetMode::functions;
    begin_command(out, keys.size() + (functions ? 8 : 1));
    if (functions) {
        write_word(out, "FCALL");
        write_word(out, "cs_inval");
        write_word(out, Decimal(keys.size()));
    } else {
        write_word(out, "UNLINK");
    }
    for (const std::string_view key : keys)
        write_word(out, {prefix, key});
    if (functions) {
        write_word(out, config_.source);
        write_word(out, Decimal(session.epoch));
        write_word(out, Decimal(lsn));
        write_word(out, "0");  // no tombstone
        write_word(out, "0");  // keep no stale value
    }
}

std::size_t Wording::bump_tags(std::string &out, const Session &session, std::uint64_t lsn,
                               Names tags) const {
    std::size_t commands = 0;
    for (; !tags.empty(); ++commands) {
        const Names some = tags.first(std::min(tags.size(), kMaxNamesPerCommand));
        begin_command(out, 6 + some.size());
        write_word(out, "FCALL");
        write_word(out, "cs_tag");
        write_word(out, "0");
        write_word(out, config_.source);
        write_word(out, Decimal(session.epoch));
        write_word(out, Decimal(lsn));
        for (const std::string_view tag : some)
            write_word(out, tag);
        tags = tags.subspan(some.size());
    }
    return commands;
}

// The empty text is a list of no tags to cs_tag.
std::size_t Wording::raise_watermark(std::string &out, const Session &session, std::uint64_t lsn) const {
    const std::string_view no_tags[] = {""};
    return bump_tags(out, session, lsn, no_tags);
}

void Wording::arm(std::string &out, const Session &session, std::uint64_t lsn, std::string_view done,
                  bool flush) const {
    const auto ttl =
        static_cast<std::uint64_t>(std::max<Milliseconds::rep>(config_.heartbeat.count(), 0)) * kBeatsToLive;
    write_command(out, {"FCALL", "cs_arm", "0", config_.source, Decimal(session.epoch), session.node_id,
                        Decimal(lsn), "", Decimal(ttl), done, flush ? "1" : "0"});
}

void Wording::scan(std::string &out, std::string_view cursor, std::string_view glob) const {
    begin_command(out, 6);
    write_word(out, "SCAN");
    write_word(out, cursor);
    write_word(out, "MATCH");
    write_word(out, {escaped_prefix_, glob});
    write_word(out, "COUNT");
    write_word(out, kScanCount);
}

std::string make_node_id() {
    constexpr char kHex[] = "0123456789abcdef";
    std::random_device random;
    std::string id;
    for (int word = 0; word < 4; ++word)
        for (std::uint32_t bits = random(), digit = 0; digit < 8; ++digit, bits >>= 4)
            id += kHex[bits & 15];
    return id;
}

}  // namespace cache_sync
