#include "publish/announcement.h"

#include <gtest/gtest.h>

#include <vector>

namespace cache_sync {
namespace {

std::string json(std::string_view text) {
    std::string out;
    append_json_string(out, text);
    return out;
}

TEST(Announcement, EscapesWhatJsonWantsEscaped) {
    EXPECT_EQ(json(""), "\"\"");
    EXPECT_EQ(json("product:17"), "\"product:17\"");
    EXPECT_EQ(json("\"\\/"), "\"\\\"\\\\/\"");
    EXPECT_EQ(json(std::string_view("\0\x01\x1f\x20\x7f\n", 6)), "\"\\u0000\\u0001\\u001f \x7f\\u000a\"");
}

TEST(Announcement, LeavesValidUtf8) {
    for (const char *text : {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xee\x80\x80",
                             "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "gr\xc3\xbc\xc3\x9f"})
        EXPECT_EQ(json(text), "\"" + std::string(text) + "\"");
}

TEST(Announcement, ReplacesEachByteThatIsNotUtf8) {
    const struct {
        const char *text;
        int replaced;
        const char *rest;
    } cases[] = {
        {"\x80", 1, ""},
        {"\xff", 1, ""},
        {"\xc0\x80", 2, ""},  // overlong
        {"\xc1\xbf", 2, ""},
        {"\xe0\x9f\xbf", 3, ""},
        {"\xed\xa0\x80", 3, ""},  // half of a surrogate pair
        {"\xf0\x8f\xbf\xbf", 4, ""},
        {"\xf4\x90\x80\x80", 4, ""},  // above U+10FFFF
        {"\xf5\x80\x80\x80", 4, ""},
        {"\xc3", 1, ""},
        {"\xe2\x82", 2, ""},
        {"\xc3(", 1, "("},
        {"\xe2\x82(", 2, "("},
        {"\xf0\x9f\x98(", 3, "("},
    };
    for (const auto &one : cases) {
        std::string expected = "\"";
        for (int n = 0; n < one.replaced; ++n)
            expected += "\\ufffd";
        EXPECT_EQ(json(one.text), expected + one.rest + "\"");
    }
}

// An independent reader: is this one JSON string in valid UTF-8?
bool is_json_string(std::string_view text) {
    if (text.size() < 2 || text.front() != '"' || text.back() != '"')
        return false;
    text = text.substr(1, text.size() - 2);
    for (std::size_t at = 0; at < text.size(); ++at) {
        const auto byte = static_cast<unsigned char>(text[at]);
        if (byte < 0x20 || byte == '"')
            return false;
        if (byte == '\\') {
            const char next = at + 1 < text.size() ? text[at + 1] : '\0';
            if (next == 'u' && at + 5 < text.size())
                at += 5;
            else if (next == '"' || next == '\\')
                at += 1;
            else
                return false;
        } else if (byte >= 0x80) {
            const int more = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
            std::uint32_t point = byte & (0x3f >> more);
            for (int n = 0; n < more; ++n) {
                if (++at >= text.size() || (text[at] & 0xc0) != 0x80)
                    return false;
                point = point << 6 | (text[at] & 0x3f);
            }
            const std::uint32_t least[] = {0, 0x80, 0x800, 0x10000};
            if (byte < 0xc0 || point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
                return false;
        }
    }
    return true;
}

TEST(Announcement, IsValidForAllPairsAndManyTriplesOfBytes) {
    std::string text(3, '\0');
    for (int first = 0; first < 256; ++first)
        for (int second = 0; second < 256; ++second)
            for (const int third : {0x00, 0x22, 0x41, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xc2, 0xff}) {
                text[0] = static_cast<char>(first);
                text[1] = static_cast<char>(second);
                text[2] = static_cast<char>(third);
                ASSERT_TRUE(is_json_string(json(text))) << first << ' ' << second << ' ' << third;
                ASSERT_TRUE(is_json_string(json(text.substr(0, 2))));
            }
}

TEST(Announcement, ArraysHaveThePrefixInEachKey) {
    JsonArray array;
    EXPECT_EQ(array.finish(), "[]");
    array.clear();
    array.add("p\":", "a");
    array.add("p\":", "");
    EXPECT_EQ(array.finish(), "[\"p\\\":a\",\"p\\\":\"]");
    array.clear();
    array.add("\xc3", "\xbc");  // one character in two parts
    array.add("", "t");
    EXPECT_EQ(array.finish(), "[\"\xc3\xbc\",\"t\"]");
}

TEST(Announcement, CommandsHaveTheFixedForm) {
    const Announcement record{18446744073709551615u, "i\"d", 7, 9, "[\"k\"]", "[]"};
    std::string out;
    write_publish(out, "cs:inv:db", record);
    const std::string message =
        "{\"e\":18446744073709551615,\"i\":\"i\\\"d\",\"l\":\"7\",\"b\":9,\"k\":[\"k\"],\"t\":[]}";
    EXPECT_EQ(out, "*3\r\n$7\r\nPUBLISH\r\n$9\r\ncs:inv:db\r\n$" + std::to_string(message.size()) + "\r\n" +
                       message + "\r\n");
    out.clear();
    write_log(out, "cs:log:db", record);
    EXPECT_EQ(out,
              "*18\r\n$4\r\nXADD\r\n$9\r\ncs:log:db\r\n$6\r\nMAXLEN\r\n$1\r\n~\r\n$6\r\n100000\r\n$1\r\n*\r\n"
              "$1\r\ne\r\n$20\r\n18446744073709551615\r\n$1\r\ni\r\n$3\r\ni\"d\r\n$1\r\nl\r\n$1\r\n7\r\n"
              "$1\r\nb\r\n$1\r\n9\r\n$1\r\nk\r\n$5\r\n[\"k\"]\r\n$1\r\nt\r\n$2\r\n[]\r\n");
}

}  // namespace
}  // namespace cache_sync
