// Writes commands in the Redis protocol (RESP2) to the end of a buffer. Binary safe; no format strings.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace cache_sync {

// A number as decimal text, for use as an argument.
class Decimal {
 public:
    explicit Decimal(std::uint64_t value)
        : length_(static_cast<std::size_t>(std::to_chars(text_, text_ + sizeof(text_), value).ptr - text_)) {}
    operator std::string_view() const { return {text_, length_}; }

 private:
    char text_[20];
    std::size_t length_;
};

// Begins a command of `count` words; exactly as many must be written after it.
inline void begin_command(std::string &out, std::size_t count) {
    out += '*';
    out += std::string_view(Decimal(count));
    out += "\r\n";
}

// A word made of several parts.
inline void write_word(std::string &out, std::initializer_list<std::string_view> parts) {
    std::size_t length = 0;
    for (const std::string_view part : parts)
        length += part.size();
    out += '$';
    out += std::string_view(Decimal(length));
    out += "\r\n";
    for (const std::string_view part : parts)
        out += part;
    out += "\r\n";
}

inline void write_word(std::string &out, std::string_view word) {
    write_word(out, {word});
}

// A whole command.
inline void write_command(std::string &out, std::initializer_list<std::string_view> words) {
    begin_command(out, words.size());
    for (const std::string_view word : words)
        write_word(out, word);
}

}  // namespace cache_sync
