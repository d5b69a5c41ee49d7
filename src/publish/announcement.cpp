#include "publish/announcement.h"

#include <array>
#include <cstddef>

#include "publish/command.h"

namespace cache_sync {
namespace {

constexpr std::string_view kLogLength = "100000";

// Bytes that go into a JSON string as they are.
constexpr std::array<bool, 256> make_plain() {
    std::array<bool, 256> plain{};
    for (std::size_t byte = 0x20; byte < 0x80; ++byte)
        plain[byte] = byte != '"' && byte != '\\';
    return plain;
}

constexpr std::array<bool, 256> kPlain = make_plain();

bool is_plain(char c) {
    return kPlain[static_cast<unsigned char>(c)];
}

// Length of the UTF-8 character of two or more bytes at the start of `text`; 0 if there is no valid one.
// Knows that overlong forms, surrogates and code points above U+10FFFF are not valid.
std::size_t character_length(std::string_view text) {
    const auto byte = [&](std::size_t n) { return static_cast<unsigned char>(text[n]); };
    const unsigned char first = byte(0);
    if (first < 0xc2 || first > 0xf4)
        return 0;
    const std::size_t length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (text.size() < length)
        return 0;
    const unsigned char low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (byte(1) < low || byte(1) > high)
        return 0;
    for (std::size_t n = 2; n < length; ++n)
        if ((byte(n) & 0xc0) != 0x80)
            return 0;
    return length;
}

void append_escaped(std::string &out, char c) {
    constexpr char kHex[] = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
        out += '\\';
        out += c;
    } else if (byte < 0x20) {
        out += "\\u00";
        out += kHex[byte >> 4];
        out += kHex[byte & 15];
    } else {
        out += "\\ufffd";
    }
}

}  // namespace

void append_json_string(std::string &out, std::string_view text) {
    out += '"';
    while (!text.empty()) {
        std::size_t run = 0;
        while (run < text.size() && is_plain(text[run]))
            ++run;
        if (run == 0 && static_cast<unsigned char>(text[0]) >= 0x80)
            run = character_length(text);
        if (run != 0) {
            out += text.substr(0, run);
        } else {
            append_escaped(out, text[0]);
            run = 1;
        }
        text.remove_prefix(run);
    }
    out += '"';
}

void JsonArray::add(std::string_view prefix, std::string_view text) {
    text_ += text_.empty() ? '[' : ',';
    if (prefix.empty()) {
        append_json_string(text_, text);
        return;
    }
    joined_.assign(prefix);
    joined_ += text;
    append_json_string(text_, joined_);
}

std::string_view JsonArray::finish() {
    text_ += text_.empty() ? "[]" : "]";
    return text_;
}

void write_publish(std::string &out, std::string_view channel, const Announcement &announcement) {
    std::string node;
    append_json_string(node, announcement.node_id);
    begin_command(out, 3);
    write_word(out, "PUBLISH");
    write_word(out, channel);
    write_word(out, {"{\"e\":", Decimal(announcement.epoch), ",\"i\":", node, ",\"l\":\"",
                     Decimal(announcement.lsn), "\",\"b\":", Decimal(announcement.batch),
                     ",\"k\":", announcement.keys, ",\"t\":", announcement.tags, "}"});
}

void write_log(std::string &out, std::string_view log_key, const Announcement &announcement) {
    write_command(out, {"XADD", log_key, "MAXLEN", "~", kLogLength, "*", "e", Decimal(announcement.epoch),
                        "i", announcement.node_id, "l", Decimal(announcement.lsn), "b",
                        Decimal(announcement.batch), "k", announcement.keys, "t", announcement.tags});
}

}  // namespace cache_sync
