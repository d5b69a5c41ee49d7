#include "publish/batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace cache_sync {
namespace {

TEST(Batch, LeavesOutWhatNoTargetIsTold) {
    BatchBuilder builder;
    builder.add(TouchKind::relation, "16384");
    builder.add(TouchKind::view, "16390");
    builder.add_row({17, 18});
    EXPECT_FALSE(builder.empty());
    EXPECT_EQ(builder.entries(), 0u);
    EXPECT_EQ(builder.take().rows().size(), 1u);
}

TEST(Batch, KeepsEachEntryOnceInOrderOfAppearance) {
    BatchBuilder builder;
    EXPECT_TRUE(builder.empty());
    builder.add(TouchKind::key, "b");
    builder.add(TouchKind::key, "a");
    builder.add(TouchKind::tag, "a");
    builder.add(TouchKind::key, "b");
    builder.add(TouchKind::pattern, "a");
    builder.add(TouchKind::tag, "a");
    builder.add(TouchKind::flush, "a");
    builder.add(TouchKind::key, "");
    builder.add_row({17, 18});
    EXPECT_FALSE(builder.empty());
    EXPECT_EQ(builder.entries(), 6u);
    EXPECT_EQ(builder.bytes(), 5u);
    const Batch batch = builder.take();
    ASSERT_EQ(batch.key_count(), 3u);
    EXPECT_EQ(batch.key(0), "b");
    EXPECT_EQ(batch.key(1), "a");
    EXPECT_EQ(batch.key(2), "");
    ASSERT_EQ(batch.tag_count(), 1u);
    EXPECT_EQ(batch.tag(0), "a");
    ASSERT_EQ(batch.pattern_count(), 1u);
    EXPECT_EQ(batch.pattern(0), "a");
    EXPECT_EQ(batch.coalesced(), 2u);
    EXPECT_EQ(batch.bytes(), 5u);
    ASSERT_EQ(batch.rows().size(), 1u);
    EXPECT_EQ(batch.rows()[0].position, 17u);
}

TEST(Batch, FlushesTheNamedTargetOrAll) {
    BatchBuilder builder;
    builder.add(TouchKind::flush, "one");
    builder.add(TouchKind::flush, "two");
    const Batch named = builder.take();
    EXPECT_TRUE(named.flushes("one"));
    EXPECT_TRUE(named.flushes("two"));
    EXPECT_FALSE(named.flushes("three"));
    EXPECT_FALSE(named.flushes(""));
    builder.add(TouchKind::flush, "");
    EXPECT_TRUE(builder.take().flushes("three"));
    EXPECT_FALSE(builder.take().flushes("three"));
}

TEST(Batch, BuilderIsEmptyAfterTake) {
    BatchBuilder builder;
    for (int round = 0; round < 1000; ++round) {
        builder.add(TouchKind::key, "k");
        builder.add(TouchKind::key, "k");
        builder.add_row({1, 1});
        const Batch batch = builder.take();
        EXPECT_EQ(batch.key_count(), 1u);
        EXPECT_EQ(batch.coalesced(), 1u);
        EXPECT_TRUE(builder.empty());
        EXPECT_EQ(builder.entries(), 0u);
        EXPECT_EQ(builder.bytes(), 0u);
    }
}

TEST(Batch, AgreesWithASetOnRandomEntries) {
    std::mt19937 random(7);
    BatchBuilder builder;
    for (int round = 0; round < 20; ++round) {
        std::set<std::pair<TouchKind, std::string>> seen;
        std::vector<std::string> keys;
        std::size_t repeats = 0;
        const int entries =
            round < 18 ? 2000 : 100000;  // the last ones make the index grow past what is kept
        for (int n = 0; n < entries; ++n) {
            const TouchKind kind = random() % 4 == 0 ? TouchKind::tag : TouchKind::key;
            std::string text(random() % 20, 'x');
            for (char &c : text)
                c = static_cast<char>(random() % 3);  // zeros too
            if (random() % 2 == 0)
                text += std::to_string(random() % 5000);
            repeats += !seen.emplace(kind, text).second;
            if (kind == TouchKind::key && std::find(keys.rbegin(), keys.rend(), text) == keys.rend() &&
                entries == 2000)
                keys.push_back(text);
            builder.add(kind, text);
        }
        EXPECT_EQ(builder.entries(), seen.size());
        const Batch batch = builder.take();
        EXPECT_EQ(batch.coalesced(), repeats);
        for (std::size_t n = 0; n < keys.size(); ++n)
            ASSERT_EQ(batch.key(n), keys[n]);
    }
}

TEST(Batch, LongTextsThatDifferAtTheEndAreDifferent) {
    BatchBuilder builder;
    const std::string text(4095, 'x');
    for (int n = 0; n < 256; ++n)
        builder.add(TouchKind::key, text + static_cast<char>(n));
    EXPECT_EQ(builder.take().key_count(), 256u);
}

}  // namespace
}  // namespace cache_sync
