#include "queue/ring.h"

#include <gtest/gtest.h>

#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace cache_sync {
namespace {

class RingTest : public testing::Test {
 protected:
    void make(std::size_t capacity) {
        memory_.resize(Ring::size(capacity) / sizeof(std::uint64_t) + 1);
        ring_ = Ring::format(memory_.data(), capacity);
    }
    static RingEntry entry(std::uint32_t block) { return {RingEntry::Kind::row, 1, 2, block, 0, 4711}; }

    std::vector<std::uint64_t> memory_;
    Ring *ring_ = nullptr;
};

TEST_F(RingTest, GivesBackWhatWasPushedInOrder) {
    make(1000);
    EXPECT_TRUE(ring_->empty());
    EXPECT_TRUE(ring_->push(entry(1), "first"));
    EXPECT_TRUE(ring_->push(entry(2), ""));
    EXPECT_EQ(ring_->entries(1), 2u);
    RingEntry got;
    std::string payload = "old";
    ASSERT_TRUE(ring_->pop(got, payload));
    EXPECT_EQ(got.block, 1u);
    EXPECT_EQ(got.visible_at, 4711);
    EXPECT_EQ(payload, "first");
    ASSERT_TRUE(ring_->pop(got, payload));
    EXPECT_EQ(payload, "");
    EXPECT_FALSE(ring_->pop(got, payload));
    EXPECT_EQ(ring_->entries(1), 0u);
}

TEST_F(RingTest, RefusesWhatDoesNotFitAndKeepsTheRest) {
    make(200);
    const std::string half(200 / 2 - Ring::footprint(0), 'x');
    EXPECT_TRUE(ring_->push(entry(1), half));
    EXPECT_TRUE(ring_->push(entry(2), half));
    EXPECT_FALSE(ring_->push(entry(3), ""));
    RingEntry got;
    std::string payload;
    ASSERT_TRUE(ring_->pop(got, payload));
    EXPECT_EQ(payload, half);
    EXPECT_TRUE(ring_->push(entry(3), half));  // wraps around
    ASSERT_TRUE(ring_->pop(got, payload));
    ASSERT_TRUE(ring_->pop(got, payload));
    EXPECT_EQ(got.block, 3u);
    EXPECT_EQ(payload, half);
}

TEST_F(RingTest, ManyProducersOneConsumerLoseNothing) {
    make(4096);
    constexpr std::uint32_t kEach = 50000;
    std::mutex lock;
    std::vector<std::thread> producers;
    for (std::uint16_t producer = 0; producer < 4; ++producer)
        producers.emplace_back([&, producer] {
            for (std::uint32_t n = 0; n < kEach;) {
                RingEntry one = entry(n);
                one.table = producer;
                const std::scoped_lock hold(lock);
                if (ring_->push(one, std::string(n % 97, static_cast<char>('a' + producer))))
                    ++n;
            }
        });
    std::uint32_t next[4] = {};
    RingEntry got;
    std::string payload;
    for (std::uint32_t taken = 0; taken < 4 * kEach;) {
        if (!ring_->pop(got, payload))
            continue;
        ASSERT_EQ(got.block, next[got.table]);
        ASSERT_EQ(payload, std::string(got.block % 97, static_cast<char>('a' + got.table)));
        ++next[got.table];
        ++taken;
    }
    for (auto &producer : producers)
        producer.join();
    EXPECT_TRUE(ring_->empty());
}

}  // namespace
}  // namespace cache_sync
