// The commands that publishing sends, word by word, in both modes. Knows names and limits, but no order and
// no replies.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "publish/target_config.h"

namespace cache_sync {

// One command names at most so many keys or tags, so that it does not hold up other clients of the server for
// long.
inline constexpr std::size_t kMaxNamesPerCommand = 1000;

// What a connection agreed on with its server.
struct Session {
    TargetMode mode = TargetMode::unknown;
    std::uint64_t epoch = 0;
    std::string node_id;
    bool may_publish = true;  // until the server refuses PUBLISH or XADD
    bool may_log = true;
};

using Names = std::span<const std::string_view>;

class Wording {
 public:
    // `config` must outlive the wording.
    explicit Wording(const TargetConfig &config);

    // These return the number of commands, that is of replies. `prefix` is put before every key.
    std::size_t invalidate(std::string &out, const Session &session, std::uint64_t lsn,
                           std::string_view prefix, Names keys) const;
    std::size_t bump_tags(std::string &out, const Session &session, std::uint64_t lsn, Names tags) const;
    // Raises the node's watermark to `lsn` without a key or tag, and without the promise of a heartbeat.
    std::size_t raise_watermark(std::string &out, const Session &session, std::uint64_t lsn) const;

    // One command each. `node_id` of arm is the proposal that the node takes when it has forgotten or is
    // flushed.
    void arm(std::string &out, const Session &session, std::uint64_t lsn, std::string_view done,
             bool flush) const;
    void scan(std::string &out, std::string_view cursor, std::string_view glob) const;

    const std::string &channel() const { return channel_; }
    const std::string &log_key() const { return log_key_; }
    // Keys of announcement streams, this source's or another's: no pattern may remove them.
    static bool is_log_key(std::string_view key) { return key.starts_with("cs:log:"); }

 private:
    void invalidate_some(std::string &out, const Session &session, std::uint64_t lsn, std::string_view prefix,
                         Names keys) const;

    const TargetConfig &config_;
    std::string channel_, log_key_;
    std::string escaped_prefix_;  // matches the prefix itself in a glob
};

// 128 random bits: a node id must never come again, whatever was restored or forked.
std::string make_node_id();

}  // namespace cache_sync
