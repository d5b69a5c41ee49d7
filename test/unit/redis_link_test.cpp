#include "publish/redis_link.h"

#include <gtest/gtest.h>

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>

namespace cache_sync {
namespace {

class RedisLinkTest : public testing::Test {
 protected:
    void SetUp() override {
        std::signal(SIGPIPE, SIG_IGN);
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        link_ = RedisLink::adopt(ends[0]);
        peer_ = ends[1];
    }
    void TearDown() override { hang_up(); }

    void hang_up() {
        if (peer_ >= 0)
            ::close(peer_);
        peer_ = -1;
    }
    void say(std::string_view text) {
        ASSERT_EQ(::send(peer_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size()));
    }
    // As many bytes as fit now.
    std::size_t say_some(std::string_view text) {
        const ssize_t sent = ::send(peer_, text.data(), text.size(), MSG_DONTWAIT);
        return sent < 0 ? 0 : static_cast<std::size_t>(sent);
    }
    // Says all of it while the link reads; returns how many replies came before the link broke.
    int feed(std::string_view text) {
        int replies = 0;
        while (!text.empty() && !link_->is_broken()) {
            text.remove_prefix(say_some(text));
            link_->read();
            while (link_->next_reply())
                ++replies;
        }
        return replies;
    }

    std::unique_ptr<RedisLink> link_;
    int peer_ = -1;
};

TEST_F(RedisLinkTest, ReadsRepliesOfAllKindsCutAnywhere) {
    const std::string text = "+OK\r\n-ERR no\r\n:42\r\n$5\r\nhe\r\nl\r\n$-1\r\n*2\r\n:1\r\n*1\r\n$0\r\n\r\n";
    for (std::size_t cut = 0; cut <= text.size(); ++cut) {
        say(text.substr(0, cut));
        link_->read();
        std::vector<Reply> replies;
        while (Reply reply = link_->next_reply())
            replies.push_back(std::move(reply));
        say(text.substr(cut));
        link_->read();
        while (Reply reply = link_->next_reply())
            replies.push_back(std::move(reply));
        ASSERT_EQ(replies.size(), 6u) << cut;
        EXPECT_EQ(text_of(*replies[0]), "OK");
        EXPECT_TRUE(has_code(*replies[1], "ERR"));
        EXPECT_EQ(replies[2]->integer, 42);
        EXPECT_EQ(text_of(*replies[3]), "he\r\nl");
        EXPECT_EQ(replies[4]->type, REDIS_REPLY_NIL);
        EXPECT_EQ(replies[5]->element[1]->elements, 1u);
        EXPECT_FALSE(link_->is_broken());
    }
}

TEST_F(RedisLinkTest, TellsThatThePeerClosedAfterItsLastReply) {
    say("+bye\r\n");
    hang_up();
    EXPECT_EQ(link_->read(), 6u);
    EXPECT_NE(link_->next_reply(), nullptr);
    EXPECT_EQ(link_->read(), 0u);
    EXPECT_EQ(link_->error(), "the server closed the connection");
    EXPECT_EQ(link_->next_reply(), nullptr);
}

TEST_F(RedisLinkTest, HearsThePeersLastWordsWhenItCannotSend) {
    say("-ERR go away\r\n");
    hang_up();
    link_->output() = "*1\r\n$4\r\nPING\r\n";
    link_->write();
    EXPECT_TRUE(link_->is_broken());
    const Reply reply = link_->next_reply();
    ASSERT_NE(reply, nullptr);
    EXPECT_EQ(text_of(*reply), "ERR go away");
}

TEST_F(RedisLinkTest, SendsMuchInPartsAndInOrder) {
    std::string sent(5 << 20, '\0');
    for (std::size_t n = 0; n < sent.size(); ++n)
        sent[n] = static_cast<char>(n * 31 >> 3);
    std::string received;
    std::vector<char> buffer(1 << 16);
    for (int round = 0; round < 3; ++round) {
        received.clear();
        link_->output() = sent;
        while (link_->has_output()) {
            link_->write();
            for (ssize_t size; (size = ::recv(peer_, buffer.data(), buffer.size(), MSG_DONTWAIT)) > 0;)
                received.append(buffer.data(), static_cast<std::size_t>(size));
        }
        EXPECT_EQ(received, sent);
        EXPECT_FALSE(link_->is_broken());
    }
}

TEST_F(RedisLinkTest, ReadsNoMoreThanItsBudgetAtOnce) {
    std::string much;
    while (much.size() < 4 * RedisLink::kReadBudget)
        much += ":1\r\n";
    std::size_t written = 0, most = 0, total = 0;
    while (total < much.size()) {
        written += say_some(std::string_view(much).substr(written));
        const std::size_t came = link_->read();
        most = std::max(most, came);
        total += came;
        while (link_->next_reply()) {
        }
    }
    EXPECT_LE(most, RedisLink::kReadBudget);
    EXPECT_GT(most, RedisLink::kReadBudget / 2);
}

TEST_F(RedisLinkTest, ReplyThatNeverEndsIsCutOff) {
    const std::string filler(1 << 20, 'x');
    EXPECT_EQ(feed("$2000000000\r\n"), 0);
    for (int n = 0; n < 12 && !link_->is_broken(); ++n)
        feed(filler);
    EXPECT_EQ(link_->error(), "a reply is larger than anything that was asked for");
}

TEST_F(RedisLinkTest, AnnouncedElementsAreLimited) {
    EXPECT_EQ(feed("*200001\r\n"), 0);
    EXPECT_TRUE(link_->is_broken());
}

TEST_F(RedisLinkTest, ElementsOfAllLevelsAreLimited) {
    std::string text = "*300\r\n";
    for (int n = 0; n < 300; ++n) {
        text += "*1000\r\n";
        for (int element = 0; element < 1000; ++element)
            text += ":1\r\n";
    }
    EXPECT_EQ(feed(text), 0);
    EXPECT_EQ(link_->error(), "a reply is larger than anything that was asked for");
}

TEST_F(RedisLinkTest, DepthIsLimited) {
    std::string text;
    for (int n = 0; n < 8; ++n)
        text += "*1\r\n";
    EXPECT_EQ(feed(text + ":1\r\n"), 1);
    EXPECT_FALSE(link_->is_broken());
    for (int n = 0; n < 100000; ++n)
        text += "*1\r\n";
    EXPECT_EQ(feed(text + ":1\r\n"), 0);
    EXPECT_EQ(link_->error(), "a reply is larger than anything that was asked for");
}

TEST_F(RedisLinkTest, LimitsCountForOneReplyOnly) {
    std::string array = "*1000\r\n";
    for (int n = 0; n < 1000; ++n)
        array += "$20\r\naaaaaaaaaaaaaaaaaaaa\r\n";
    int replies = 0;
    for (int n = 0; n < 500; ++n)
        replies += feed(array);
    EXPECT_EQ(replies, 500);
    EXPECT_FALSE(link_->is_broken());
}

TEST_F(RedisLinkTest, GarbageBreaksIt) {
    EXPECT_EQ(feed("HTTP/1.1 200 OK\r\n"), 0);
    EXPECT_TRUE(link_->error().starts_with("not a Redis server: ")) << link_->error();
}

}  // namespace
}  // namespace cache_sync
