#include "capture/key_template.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace cache_sync {
namespace {

constexpr std::array<bool, 256> encoded_characters() {
    std::array<bool, 256> encoded{};
    for (int c = 0; c <= 0x20; ++c)
        encoded[c] = true;
    for (const unsigned char c : {'\x7f', '%', ':', '{', '}'})
        encoded[c] = true;
    return encoded;
}

constexpr auto kEncoded = encoded_characters();

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte < 0x20 || byte == 0x7f;
}

std::optional<TemplateError> check_whole(std::string_view text) {
    if (text.empty())
        return TemplateError{0, "the template is empty", "Write it like product:{product_id}."};
    if (text.size() > kMaxTemplateLength)
        return TemplateError{kMaxTemplateLength, "the template is too long", "It may have 1000 bytes."};
    return std::nullopt;
}

}  // namespace

std::optional<TemplatePart> TemplateReader::fail(std::size_t offset, const char *message, const char *hint) {
    error_ = TemplateError{offset, message, hint};
    at_ = text_.size();
    return std::nullopt;
}

std::optional<TemplatePart> TemplateReader::next() {
    if (at_ == text_.size())
        return std::nullopt;
    const char first = text_[at_];
    const bool is_doubled = at_ + 1 < text_.size() && text_[at_ + 1] == first;
    if (first == '{' && !is_doubled)
        return next_column();
    if (first == '}' && !is_doubled)
        return fail(at_, "} without {", "Write }} for a literal brace.");

    // A literal ends at the next brace; a doubled brace is a literal of its own.
    const std::size_t start = at_;
    if (first == '{' || first == '}') {
        at_ += 2;
        return TemplatePart{text_.substr(start, 1), start, false, false};
    }
    at_ = std::min(text_.find_first_of("{}", start), text_.size());
    return TemplatePart{text_.substr(start, at_ - start), start, false, false};
}

std::optional<TemplatePart> TemplateReader::next_column() {
    const std::size_t open = at_;
    const std::size_t close = text_.find('}', open);
    if (close == std::string_view::npos)
        return fail(open, "{ without }", "Write {{ for a literal brace.");
    std::string_view name = text_.substr(open + 1, close - open - 1);
    const std::size_t brace = name.find('{');
    if (brace != std::string_view::npos)
        return fail(open + 1 + brace, "{ inside braces",
                    "Write {{ for a literal brace, and close {column} with }.");
    const std::size_t bar = name.find('|');
    const bool has_modifier = bar != std::string_view::npos;
    if (has_modifier && name.substr(bar + 1) != "raw")
        return fail(open + 2 + bar, "unknown modifier after |",
                    "The only modifier is raw, as in {column|raw}.");
    if (has_modifier)
        name = name.substr(0, bar);
    if (name.empty())
        return fail(open, "no column between { and }", "Write {column}, or {{ and }} for literal braces.");
    at_ = close + 1;
    return TemplatePart{name, open + 1, true, has_modifier};
}

std::optional<TemplateError> check_key_template(std::string_view text) {
    if (const auto error = check_whole(text))
        return error;
    TemplateReader reader(text);
    while (reader.next()) {
    }
    return reader.error();
}

std::optional<TemplateError> check_tag_template(std::string_view text) {
    if (const auto error = check_whole(text))
        return error;
    TemplateReader reader(text);
    while (const auto part = reader.next()) {
        if (part->is_column)
            continue;
        if (auto error = check_tag(part->text)) {
            error->offset += part->offset;
            return error;
        }
    }
    return reader.error();
}

std::optional<TemplateError> check_tag(std::string_view tag) {
    if (tag.empty())
        return TemplateError{0, "the tag is empty", "Give every tag a name."};
    for (std::size_t at = 0; at < tag.size(); ++at) {
        if (tag[at] == ',')
            return TemplateError{at, "a comma in a tag",
                                 "Tags are listed with commas between them: write %2C."};
        if (is_control(tag[at]))
            return TemplateError{at, "a control character in a tag", "Leave it out."};
    }
    return std::nullopt;
}

void TouchText::append(std::string_view text) {
    const std::size_t bytes = std::min(text.size(), sizeof(data_) - size_);
    std::memcpy(data_ + size_, text.data(), bytes);
    size_ += bytes;
}

void TouchText::append_hex(unsigned char c) {
    constexpr char digits[] = "0123456789ABCDEF";
    put('%');
    put(digits[c >> 4]);
    put(digits[c & 15]);
}

void TouchText::append_encoded(std::string_view text, bool is_tag) {
    for (const char c : text) {
        if (size_ == sizeof(data_))
            return;
        const auto byte = static_cast<unsigned char>(c);
        if (kEncoded[byte] || (is_tag && c == ','))
            append_hex(byte);
        else
            put(c);
    }
}

void TouchText::append_raw(std::string_view text, bool is_tag) {
    if (!is_tag) {
        append(text);
        return;
    }
    for (const char c : text) {
        if (size_ == sizeof(data_))
            return;
        if (c == ',')
            append_hex(static_cast<unsigned char>(c));
        else
            put(c);
    }
}

void TouchText::append_glob_literal(std::string_view text) {
    for (const char c : text) {
        if (c == '*' || c == '?' || c == '[' || c == ']' || c == '\\')
            put('\\');
        put(c);
    }
    ends_with_any_ = ends_with_any_ && text.empty();
}

void TouchText::append_glob_any() {
    if (!ends_with_any_)
        put('*');
    ends_with_any_ = true;
}

void append_glob(std::string_view key_template, TouchText &to) {
    TemplateReader reader(key_template);
    while (const auto part = reader.next()) {
        if (part->is_column)
            to.append_glob_any();
        else
            to.append_glob_literal(part->text);
    }
    if (reader.error())
        to.append_glob_any();
}

}  // namespace cache_sync
