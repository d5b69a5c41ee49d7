#include "publish/ledger.h"

#include <gtest/gtest.h>

#include "publish_driver.h"

namespace cache_sync {
namespace {

std::vector<std::pair<std::uint64_t, bool>> settled(Ledger &ledger) {
    std::vector<std::pair<std::uint64_t, bool>> all;
    for (const Settled &one : ledger.take_settled())
        all.emplace_back(one.batch->number, one.confirmed);
    return all;
}

using List = std::vector<std::pair<std::uint64_t, bool>>;

std::shared_ptr<const Batch> batch(std::uint64_t number) {
    return make_batch({{"key"}, {}, {}, {}}, number);
}

TEST(Ledger, SettlesWhenAllRepliesCame) {
    Ledger ledger;
    const auto one = ledger.open(batch(1), false);
    ledger.expect(Command::invalidate, one, 2);
    ledger.expect(Command::publish, one);
    ledger.release(one);
    const auto two = ledger.open(batch(2), false);
    ledger.expect(Command::log, two);
    ledger.release(two);
    EXPECT_EQ(ledger.batches(), 2u);
    EXPECT_EQ(ledger.bytes(), 6u);
    const Command order[] = {Command::invalidate, Command::invalidate, Command::publish, Command::log};
    for (int n = 0; n < 4; ++n) {
        ASSERT_TRUE(ledger.is_waiting());
        EXPECT_EQ(ledger.next(), order[n]);
        ledger.answered();
        EXPECT_EQ(settled(ledger), n == 2 ? (List{{1, true}}) : n == 3 ? (List{{2, true}}) : List{});
    }
    EXPECT_FALSE(ledger.is_waiting());
    EXPECT_EQ(ledger.batches(), 0u);
    EXPECT_EQ(ledger.bytes(), 0u);
    EXPECT_EQ(ledger.confirmed(), 2u);
}

TEST(Ledger, WhatIsHeldSettlesLaterThanTheNext) {
    Ledger ledger;
    const auto held = ledger.open(batch(1), true);
    ledger.hold(held);
    ledger.release(held);
    const auto next = ledger.open(batch(2), false);
    ledger.expect(Command::tag, next);
    ledger.release(next);
    ledger.answered();
    EXPECT_EQ(settled(ledger), (List{{2, true}}));
    EXPECT_FALSE(ledger.take_flushed());
    ledger.release_later(held);  // nothing is awaited
    EXPECT_EQ(settled(ledger), (List{{1, true}}));
    EXPECT_TRUE(ledger.take_flushed());
    EXPECT_FALSE(ledger.take_flushed());
    // The numbers of flights go on.
    const auto third = ledger.open(batch(3), false);
    ledger.release(third);
    EXPECT_EQ(settled(ledger), (List{{3, true}}));
}

TEST(Ledger, ReleaseLaterWaitsForWhatWasSentBefore) {
    Ledger ledger;
    const auto walking = ledger.open(batch(1), false);
    ledger.expect(Command::invalidate, 0, 2);  // of the walk
    ledger.release_later(walking);
    ledger.expect(Command::scan, 0);
    ledger.answered();
    EXPECT_EQ(settled(ledger), List{});
    ledger.answered();
    EXPECT_EQ(settled(ledger), (List{{1, true}}));
    EXPECT_EQ(ledger.next(), Command::scan);
}

TEST(Ledger, AbandonGivesBackWhatIsNotSettled) {
    Ledger ledger;
    const auto one = ledger.open(batch(1), false);
    const auto two = ledger.open(batch(2), false);
    ledger.open(nullptr, true);
    ledger.expect(Command::invalidate, one);
    ledger.release(two);
    ledger.abandon();
    ledger.refuse(batch(4));
    EXPECT_EQ(settled(ledger), (List{{2, true}, {1, false}, {4, false}}));
    EXPECT_FALSE(ledger.take_flushed());
    EXPECT_FALSE(ledger.is_waiting());
    EXPECT_EQ(ledger.batches(), 0u);
    EXPECT_EQ(ledger.bytes(), 0u);
}

}  // namespace
}  // namespace cache_sync
