#include "capture/key_template.h"

#include <fnmatch.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

namespace cache_sync {
namespace {

// One line per template: literals in quotes, columns bare, raw ones with a bar; an error as its offset and
// message.
std::string parts(std::string_view text) {
    TemplateReader reader(text);
    std::string shown;
    while (const auto part = reader.next()) {
        shown += shown.empty() ? "" : " ";
        if (part->is_column)
            shown += std::string(part->text) + (part->is_raw ? "|raw" : "");
        else
            shown += "'" + std::string(part->text) + "'";
        EXPECT_EQ(text.substr(part->offset, part->text.size()), part->text);
    }
    if (reader.error())
        shown += " error at " + std::to_string(reader.error()->offset) + ": " + reader.error()->message;
    return shown;
}

TEST(KeyTemplate, reads_literals_and_columns) {
    EXPECT_EQ(parts("product:{product_id}"), "'product:' product_id");
    EXPECT_EQ(parts("v1:user:{tenant}:{id}:profile"), "'v1:user:' tenant ':' id ':profile'");
    EXPECT_EQ(parts("{a}{b|raw}"), "a b|raw");
    EXPECT_EQ(parts("front_page"), "'front_page'");
    EXPECT_EQ(parts("{Größe}"), "Größe");
    EXPECT_EQ(parts("{ a }"), " a ");
}

TEST(KeyTemplate, doubled_braces_are_literal) {
    EXPECT_EQ(parts("cart:{{{user_id}}}:items"), "'cart:' '{' user_id '}' ':items'");
    EXPECT_EQ(parts("{{a}}"), "'{' 'a' '}'");
    EXPECT_EQ(parts("{{{{"), "'{' '{'");
    EXPECT_EQ(parts("}}"), "'}'");
}

TEST(KeyTemplate, says_what_is_wrong_and_where) {
    EXPECT_EQ(parts("a{b"), "'a' error at 1: { without }");
    EXPECT_EQ(parts("{"), " error at 0: { without }");
    EXPECT_EQ(parts("a}b"), "'a' error at 1: } without {");
    EXPECT_EQ(parts("{a}}"), "a error at 3: } without {");
    EXPECT_EQ(parts("{{{a}}"), "'{' a error at 5: } without {");
    EXPECT_EQ(parts("x{}"), "'x' error at 1: no column between { and }");
    EXPECT_EQ(parts("x{|raw}"), "'x' error at 1: no column between { and }");
    EXPECT_EQ(parts("x{a|Raw}"), "'x' error at 4: unknown modifier after |");
    EXPECT_EQ(parts("x{a|}"), "'x' error at 4: unknown modifier after |");
    EXPECT_EQ(parts("x{a{b}"), "'x' error at 3: { inside braces");
}

TEST(KeyTemplate, checks_the_whole_template) {
    EXPECT_FALSE(check_key_template("a,b{c}"));
    EXPECT_STREQ(check_key_template("")->message, "the template is empty");
    EXPECT_FALSE(check_key_template(std::string(kMaxTemplateLength, 'a')));
    EXPECT_STREQ(check_key_template(std::string(kMaxTemplateLength + 1, 'a'))->message,
                 "the template is too long");
    EXPECT_EQ(check_key_template("ab{")->offset, 2u);
}

TEST(KeyTemplate, checks_tags) {
    EXPECT_FALSE(check_tag_template("category:{category_id}"));
    EXPECT_EQ(check_tag_template("ab{c}d,e")->offset, 6u);
    EXPECT_STREQ(check_tag_template("")->message, "the template is empty");
    EXPECT_STREQ(check_tag_template("a\nb")->message, "a control character in a tag");
    EXPECT_STREQ(check_tag_template("a}")->message, "} without {");
    EXPECT_FALSE(check_tag("news today"));
    EXPECT_EQ(check_tag("a,b")->offset, 1u);
    EXPECT_STREQ(check_tag("")->message, "the tag is empty");
}

std::string encoded(std::string_view text, bool is_tag = false) {
    TouchText to;
    to.append_encoded(text, is_tag);
    return std::string(to.view());
}

TEST(TouchText, encodes_what_could_be_mistaken) {
    EXPECT_EQ(encoded("plain-Text_1.ü/,"), "plain-Text_1.ü/,");
    EXPECT_EQ(encoded("a:b%c{d}e f"), "a%3Ab%25c%7Bd%7De%20f");
    EXPECT_EQ(encoded("\t\n\x01\x7f\x1f"), "%09%0A%01%7F%1F");
    EXPECT_EQ(encoded("a,b", true), "a%2Cb");
    TouchText raw;
    raw.append_raw("a:b,c", false);
    raw.append_raw("a:b,c", true);
    EXPECT_EQ(raw.view(), "a:b,ca:b%2Cc");
}

// Whatever the values are: another pair of values, another key.
TEST(TouchText, different_values_give_different_keys) {
    const std::vector<std::string> values = {"",  ":",   "::", "a",   "a:", ":a",
                                             "%", "%3A", "{",  "a:b", " ",  "%20"};
    std::vector<std::string> keys;
    for (const auto &left : values)
        for (const auto &right : values)
            keys.push_back(encoded(left) + ":" + encoded(right));
    std::sort(keys.begin(), keys.end());
    EXPECT_EQ(std::adjacent_find(keys.begin(), keys.end()), keys.end());
}

TEST(TouchText, is_cut_one_byte_past_the_limit) {
    for (const auto &filler : {std::string(5000, 'a'), std::string(5000, ':')}) {
        TouchText text;
        text.append("key");
        text.append_encoded(filler, false);
        EXPECT_EQ(text.size(), kMaxTouchLength + 1);
        text.append("more");
        text.append_raw("mo,re", true);
        text.append_glob_literal("more*");
        EXPECT_EQ(text.size(), kMaxTouchLength + 1);
        EXPECT_EQ(text.space(1), nullptr);
        text.clear();
        EXPECT_EQ(text.view(), "");
    }
}

TEST(TouchText, gives_space_to_write_into) {
    TouchText text;
    text.append("id:");
    char *const space = text.space(20);
    space[0] = '4';
    space[1] = '2';
    text.add_written(2);
    EXPECT_EQ(text.view(), "id:42");
}

std::string glob(std::string_view key_template) {
    TouchText to;
    append_glob(key_template, to);
    return std::string(to.view());
}

TEST(Glob, matches_what_the_template_renders) {
    EXPECT_EQ(glob("product:{id}"), "product:*");
    EXPECT_EQ(glob("{a}{b|raw}:x:{c}"), "*:x:*");
    EXPECT_EQ(glob("front_page"), "front_page");
    EXPECT_EQ(glob("a*b?[c]\\{{{d}"), "a\\*b\\?\\[c\\]\\\\{*");
    EXPECT_EQ(glob("broken:{"), "broken:*");
}

// Random templates over the characters that matter, rendered with random values.
TEST(Glob, matches_every_rendering) {
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](std::size_t limit) { return random() % limit; };
    const auto random_text = [&](std::string_view letters) {
        std::string made;
        for (std::size_t n = below(6); n > 0; --n)
            made += letters[below(letters.size())];
        return made;
    };
    for (int round = 0; round < 20'000; ++round) {
        std::string key_template = "k";
        TouchText key;
        key.append("k");
        for (std::size_t n = 1 + below(5); n > 0; --n) {
            if (below(2) == 0) {
                key_template += below(2) == 0 ? "{a}" : "{b|raw}";
                key.append(random_text("ab*?[]\\:%!^-"));
            } else {
                const std::string literal = random_text("ab*?[]\\:!^-");
                key_template += literal;
                key.append(literal);
            }
        }
        ASSERT_FALSE(check_key_template(key_template)) << key_template;
        const std::string pattern = glob(key_template);
        ASSERT_EQ(fnmatch(pattern.c_str(), std::string(key.view()).c_str(), 0), 0)
            << key_template << " -> " << pattern << " against " << key.view();
    }
}

TEST(Glob, of_the_longest_template_fits_a_record) {
    EXPECT_EQ(glob(std::string(kMaxTemplateLength, '*')).size(), 2 * kMaxTemplateLength);
    EXPECT_LE(2 * kMaxTemplateLength, kMaxTouchLength);
}

}  // namespace
}  // namespace cache_sync
