// Key and tag templates: `product:{product_id}`, `tenant:{name|raw}`, `cart:{{{user_id}}}:items`.
//
//   {column}       the column's text; in text-like columns what could be mistaken is percent-encoded
//   {column|raw}   the column's text as it is
//   {{ and }}      a brace
//
// Nothing here allocates: a template is read part by part, each part a slice of it.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "queue/payload.h"

namespace cache_sync {

// No template may be longer than this (bytes), so that its glob always fits a record.
inline constexpr std::size_t kMaxTemplateLength = 1000;

struct TemplatePart {
    std::string_view text;  // literal text, or the name of a column
    std::size_t offset;     // of the text in the template
    bool is_column;
    bool is_raw;
};

struct TemplateError {
    std::size_t offset;  // bytes from the start of the template
    const char *message;
    const char *hint;
};

class TemplateReader {
 public:
    explicit constexpr TemplateReader(std::string_view text) : text_(text) {}

    // The next part; nothing at the end and at an error.
    std::optional<TemplatePart> next();

    // Why next() found nothing, unless it was the end.
    const std::optional<TemplateError> &error() const { return error_; }

 private:
    std::optional<TemplatePart> next_column();
    std::optional<TemplatePart> fail(std::size_t offset, const char *message, const char *hint);

    std::string_view text_;
    std::size_t at_ = 0;
    std::optional<TemplateError> error_;
};

// What is wrong with this as a template of keys, or of tags.
std::optional<TemplateError> check_key_template(std::string_view text);
std::optional<TemplateError> check_tag_template(std::string_view text);

// What is wrong with this as a tag: tags are listed with commas between them.
std::optional<TemplateError> check_tag(std::string_view tag);

// A key, tag or glob being put together. What passes kMaxTouchLength is cut off one byte later, so that too
// long a text can be told by its length.
class TouchText {
 public:
    std::string_view view() const { return {data_, size_}; }
    std::size_t size() const { return size_; }
    void clear() {
        size_ = 0;
        ends_with_any_ = false;
    }

    void put(char c) {
        if (size_ < sizeof(data_))
            data_[size_++] = c;
    }
    void append(std::string_view text);

    // Space to write up to `bytes` (at most 128) characters, of which add_written() takes over the first
    // ones. Nothing where the text is too long already.
    char *space(std::size_t bytes) { return size_ + bytes <= sizeof(data_) ? data_ + size_ : nullptr; }
    void add_written(std::size_t bytes) { size_ += bytes; }

    // As %XX: % : { } blanks and control characters, in tags the comma too.
    void append_encoded(std::string_view text, bool is_tag);
    // A comma would end a tag, so even {column|raw} has it encoded there.
    void append_raw(std::string_view text, bool is_tag);

    // Redis glob: the text itself, and "anything" (never twice in a row).
    void append_glob_literal(std::string_view text);
    void append_glob_any();

 private:
    void append_hex(unsigned char c);

    std::size_t size_ = 0;
    bool ends_with_any_ = false;
    char data_[kMaxTouchLength + 1] = {};
};

// Appends a glob that every text rendered from this template matches. Of a template with an error the part
// before it counts.
void append_glob(std::string_view key_template, TouchText &to);

}  // namespace cache_sync
