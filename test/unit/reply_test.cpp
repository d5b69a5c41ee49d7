#include "publish/reply.h"

#include <gtest/gtest.h>

#include "publish/library.h"

namespace cache_sync {
namespace {

Reply parse(std::string_view text) {
    redisReader *reader = redisReaderCreate();
    redisReaderFeed(reader, text.data(), text.size());
    void *reply = nullptr;
    redisReaderGetReply(reader, &reply);
    redisReaderFree(reader);
    return Reply(static_cast<redisReply *>(reply));
}

TEST(Reply, KnowsTheCodesOfErrors) {
    EXPECT_TRUE(has_code(*parse("-NOPERM no\r\n"), "NOPERM"));
    EXPECT_TRUE(has_code(*parse("-NOPERM\r\n"), "NOPERM"));
    EXPECT_FALSE(has_code(*parse("-NOPERMS no\r\n"), "NOPERM"));
    EXPECT_FALSE(has_code(*parse("+NOPERM no\r\n"), "NOPERM"));
    EXPECT_FALSE(has_code(*parse(":1\r\n"), "NOPERM"));
    EXPECT_TRUE(
        is_unknown_command(*parse("-ERR unknown command `FUNCTION`, with args beginning with: \r\n")));
    EXPECT_TRUE(is_unknown_command(*parse("-ERR unknown subcommand 'LIST'. Try FUNCTION HELP.\r\n")));
    EXPECT_FALSE(is_unknown_command(*parse("-ERR syntax error\r\n")));
    EXPECT_TRUE(is_function_missing(*parse("-ERR Function not found\r\n")));
    EXPECT_FALSE(is_function_missing(*parse("+ERR Function not found\r\n")));
}

TEST(Reply, TextIsOfStringsOnly) {
    EXPECT_EQ(text_of(*parse("+OK\r\n")), "OK");
    EXPECT_EQ(text_of(*parse(":7\r\n")), "");
    EXPECT_EQ(text_of(*parse("*0\r\n")), "");
    EXPECT_EQ(text_of(*parse("$-1\r\n")), "");
}

TEST(Reply, ReadableTextIsShortPlainAndWithoutSecrets) {
    EXPECT_EQ(readable_text("ERR a\tb\n\x80\xc3\xbc"), "ERR a b ???");
    EXPECT_EQ(readable_text("AUTH app secret secretsecret", "secret"), "AUTH app *** ******");
    EXPECT_EQ(readable_text("secret", ""), "secret");
    EXPECT_EQ(readable_text("a*b", "*"), "a***b");
    const std::string text = readable_text(std::string(1000, 'x'));
    EXPECT_EQ(text, std::string(240, 'x') + "...");
    // The cut must not leave half a secret behind.
    EXPECT_EQ(readable_text(std::string(237, 'x') + "secret", "secret").find("sec"), std::string::npos);
}

TEST(Library, VersionIsInTheHead) {
    EXPECT_EQ(library_version("#!lua name=cache_sync\n-- version: 12\nlocal x"), 12u);
    EXPECT_EQ(library_version("#!lua name=cache_sync\n-- version: x\n"), std::nullopt);
    EXPECT_EQ(library_version("#!lua name=cache_sync\n"), std::nullopt);
    EXPECT_EQ(library_version(""), std::nullopt);
    EXPECT_EQ(library_version("#!lua\n" + std::string(5000, ' ') + "\n-- version: 12\n"), std::nullopt);
    EXPECT_TRUE(library_version(shipped_library()).has_value());
    EXPECT_TRUE(shipped_library().starts_with("#!lua name=cache_sync\n"));
}

}  // namespace
}  // namespace cache_sync
