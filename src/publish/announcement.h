// What in-process caches are told of a batch: the record of PUBLISH, and its parts for the stream.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cache_sync {

// Appends `text` as a JSON string. Keys are bytes, JSON is UTF-8: each byte that is not part of valid UTF-8
// becomes \ufffd. A reader cannot tell such keys apart, but drops its own entry of that name too, for it
// decodes it so.
void append_json_string(std::string &out, std::string_view text);

// A JSON array of strings that is written step by step.
class JsonArray {
 public:
    void add(std::string_view prefix, std::string_view text);
    // The array, closed.
    std::string_view finish();
    void clear() { text_.clear(); }

 private:
    std::string text_;
    std::string joined_;  // of prefix and text, where a character may lie across
};

struct Announcement {
    std::uint64_t epoch;
    std::string_view node_id;
    std::uint64_t lsn;
    std::uint64_t batch;
    std::string_view keys, tags;  // JSON arrays
};

// The commands that announce: PUBLISH channel record, and XADD log MAXLEN ~ 100000 * fields.
void write_publish(std::string &out, std::string_view channel, const Announcement &announcement);
void write_log(std::string &out, std::string_view log_key, const Announcement &announcement);

}  // namespace cache_sync
