#include "capture/touched_set.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace cache_sync {
namespace {

using Added = TouchedSet::Added;
using Entry = std::pair<TouchKind, std::string>;

// Allocations that may still succeed; negative: no limit.
int allocations_left = -1;

// A set keeps a block for the next transaction and has no destructor: the tests free what is left.
std::set<void *> blocks;

void *resize(void *block, std::size_t bytes) {
    if (bytes == 0) {
        blocks.erase(block);
        std::free(block);
        return nullptr;
    }
    if (allocations_left == 0)
        return nullptr;
    if (allocations_left > 0)
        --allocations_left;
    blocks.erase(block);
    void *const resized = std::realloc(block, bytes);
    blocks.insert(resized);
    return resized;
}

class TouchedSetTest : public ::testing::Test {
 protected:
    void TearDown() override {
        allocations_left = -1;
        for (void *block : blocks)
            std::free(block);
        blocks.clear();
    }

    Added add(const std::string &text, std::uint32_t level = 1) {
        return set.add(TouchKind::key, text, level);
    }

    static std::vector<Entry> entries(std::string_view log) {
        std::vector<Entry> found;
        while (const auto record = take_record(log))
            found.emplace_back(record->kind, record->text);
        EXPECT_TRUE(log.empty());
        return found;
    }

    std::string keys() {
        std::string joined;
        for (const auto &[kind, text] : entries(set.log()))
            joined += (joined.empty() ? "" : " ") + text;
        return joined;
    }

    TouchedSet set{resize};
};

constinit TouchedSet process_lifetime{resize};
static_assert(std::is_trivially_destructible_v<TouchedSet>);

TEST_F(TouchedSetTest, is_empty_at_first) {
    EXPECT_EQ(set.log(), "");
    EXPECT_EQ(set.level_log(1), "");
    EXPECT_EQ(set.memory(), 0u);
    set.abort_level(1);
    set.commit_level(2);
    set.reset();
    EXPECT_EQ(process_lifetime.count(), 0u);
}

TEST_F(TouchedSetTest, keeps_each_once_in_order) {
    EXPECT_EQ(add("b"), Added::fresh);
    EXPECT_EQ(add("a"), Added::fresh);
    EXPECT_EQ(add("b"), Added::duplicate);
    EXPECT_EQ(add(""), Added::fresh);
    EXPECT_EQ(keys(), "b a ");
    EXPECT_EQ(set.count(), 3u);
    EXPECT_EQ(set.duplicates(), 1u);
}

TEST_F(TouchedSetTest, kinds_are_different) {
    EXPECT_EQ(set.add(TouchKind::key, "x", 1), Added::fresh);
    EXPECT_EQ(set.add(TouchKind::tag, "x", 1), Added::fresh);
    EXPECT_EQ(set.add(TouchKind::tag, "x", 1), Added::duplicate);
    EXPECT_EQ(entries(set.log()), (std::vector<Entry>{{TouchKind::key, "x"}, {TouchKind::tag, "x"}}));
}

TEST_F(TouchedSetTest, binary_and_long_texts) {
    const std::string zeros(300, '\0');
    EXPECT_EQ(add(zeros), Added::fresh);
    EXPECT_EQ(add(zeros.substr(1)), Added::fresh);
    EXPECT_EQ(add(zeros), Added::duplicate);
    const std::string huge(100'000, 'h');
    EXPECT_EQ(add(huge), Added::fresh);
    EXPECT_EQ(add(huge), Added::duplicate);
    EXPECT_EQ(entries(set.log()).back().second, huge);
}

TEST_F(TouchedSetTest, abort_forgets_the_level) {
    add("outer");
    add("inner", 2);
    add("outer", 2);
    add("deep", 4);
    set.abort_level(2);
    EXPECT_EQ(keys(), "outer");
    EXPECT_EQ(add("outer"), Added::duplicate);
    EXPECT_EQ(add("inner", 3), Added::fresh);
    EXPECT_EQ(set.count(), 2u);
}

TEST_F(TouchedSetTest, committed_level_belongs_to_the_outer_one) {
    add("a", 3);
    set.commit_level(3);
    add("b", 2);
    EXPECT_EQ(set.level_log(3), "");
    EXPECT_EQ(entries(set.level_log(2)).size(), 2u);
    set.abort_level(3);
    EXPECT_EQ(keys(), "a b");
    set.commit_level(2);
    EXPECT_EQ(entries(set.level_log(1)).size(), 2u);
    set.abort_level(2);
    EXPECT_EQ(keys(), "a b");
    set.abort_level(1);
    EXPECT_EQ(keys(), "");
}

TEST_F(TouchedSetTest, commit_of_a_level_that_added_nothing_changes_nothing) {
    add("a", 2);
    set.commit_level(5);
    EXPECT_EQ(entries(set.level_log(2)).size(), 1u);
    set.abort_level(2);
    EXPECT_EQ(set.count(), 0u);
}

TEST_F(TouchedSetTest, outer_level_after_inner_is_not_mixed_up) {
    add("a", 1);
    add("b", 3);
    set.commit_level(3);  // to level 2
    add("c", 2);
    set.abort_level(2);
    EXPECT_EQ(keys(), "a");
}

TEST_F(TouchedSetTest, drop_level_forgets_only_the_innermost) {
    add("a", 1);
    add("b", 2);
    set.drop_level(1);
    EXPECT_EQ(keys(), "a b");
    set.drop_level(2);
    EXPECT_EQ(keys(), "a");
    EXPECT_EQ(add("b", 2), Added::fresh);
    set.drop_level(2);
    set.drop_level(1);
    EXPECT_EQ(keys(), "");
    EXPECT_EQ(add("a", 1), Added::fresh);
}

TEST_F(TouchedSetTest, level_that_ended_in_silence_is_kept) {
    add("a", 5);
    EXPECT_EQ(add("b", 2), Added::fresh);
    EXPECT_EQ(entries(set.level_log(2)).size(), 2u);
    set.abort_level(3);
    EXPECT_EQ(keys(), "a b");
}

TEST_F(TouchedSetTest, reset_forgets_all_and_gives_memory_back) {
    for (int i = 0; i < 3; ++i)
        add(std::to_string(i));
    const std::size_t small = set.memory();
    set.reset();
    EXPECT_EQ(set.memory(), small);
    EXPECT_EQ(set.duplicates(), 0u);
    for (int i = 0; i < 100'000; ++i)
        ASSERT_EQ(add(std::to_string(i)), Added::fresh);
    for (std::uint32_t level = 2; level < 1000; ++level)
        ASSERT_EQ(add("level" + std::to_string(level), level), Added::fresh);
    set.reset();
    EXPECT_LE(set.memory(), small);
    EXPECT_EQ(set.count(), 0u);
    EXPECT_EQ(add("1"), Added::fresh);
    EXPECT_EQ(keys(), "1");
}

TEST_F(TouchedSetTest, a_million_keys_fit_64_mebibytes) {
    char text[32];
    for (int i = 0; i < 1'000'000; ++i) {
        std::snprintf(text, sizeof(text), "product:%012d", i);
        ASSERT_EQ(set.add(TouchKind::key, text, 1), Added::fresh);
    }
    EXPECT_LT(set.memory(), std::size_t{64} << 20);
    EXPECT_EQ(set.count(), 1'000'000u);
}

TEST_F(TouchedSetTest, without_memory_nothing_changes) {
    for (int allowed = 0; allowed < 40; ++allowed) {
        allocations_left = allowed;
        std::uint32_t level = 1;
        std::size_t added = 0;
        while (added < 5000 && add("key" + std::to_string(added), level) == Added::fresh) {
            ++added;
            level += 1;
        }
        EXPECT_EQ(set.count(), added);
        EXPECT_EQ(entries(set.log()).size(), added);
        allocations_left = -1;
        for (std::size_t i = 0; i < added; ++i)
            ASSERT_EQ(add("key" + std::to_string(i), level), Added::duplicate);
        EXPECT_EQ(add("more", level), Added::fresh);
        set.abort_level(1);
        EXPECT_EQ(set.count(), 0u);
        set.reset();
    }
}

// Many aborted savepoints in a large transaction: each must cost what it added, not what is there.
TEST_F(TouchedSetTest, small_aborts_in_a_large_set_are_cheap) {
    for (int i = 0; i < 200'000; ++i)
        add(std::to_string(i));
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < 100'000; ++i) {
        add("x" + std::to_string(i), 2);
        set.abort_level(2);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
    EXPECT_EQ(set.count(), 200'000u);
}

// The same by the most naive means.
struct Model {
    std::vector<std::pair<std::uint32_t, Entry>> entries;

    bool add(const Entry &entry, std::uint32_t level) {
        for (const auto &[known_level, known] : entries)
            if (known == entry)
                return false;
        entries.emplace_back(level, entry);
        return true;
    }
    void abort(std::uint32_t level) {
        std::erase_if(entries, [&](const auto &item) { return item.first >= level; });
    }
    void commit(std::uint32_t level) {
        for (auto &item : entries)
            item.first = std::min(item.first, level - 1);
    }
    std::vector<Entry> all(std::uint32_t from_level) const {
        std::vector<Entry> found;
        for (const auto &[level, entry] : entries)
            if (level >= from_level)
                found.push_back(entry);
        return found;
    }
    std::uint32_t deepest() const {
        std::uint32_t level = 0;
        for (const auto &item : entries)
            level = std::max(level, item.first);
        return level;
    }
};

TEST_F(TouchedSetTest, agrees_with_a_naive_model) {
    const unsigned seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    for (int round = 0; round < 60; ++round) {
        Model model;
        std::uint32_t level = 1;
        const unsigned distinct = 1 + below(round % 2 == 0 ? 20 : 3000);
        for (int step = 0; step < 3000; ++step) {
            const unsigned what = below(100);
            if (what < 85) {
                const TouchKind kind = below(5) == 0 ? TouchKind::tag : TouchKind::key;
                const std::string text(below(200) == 0 ? 150 : below(4), 'p');
                const Entry entry{kind, text + std::to_string(below(distinct))};
                const Added added = set.add(entry.first, entry.second, level);
                ASSERT_EQ(added, model.add(entry, level) ? Added::fresh : Added::duplicate);
            } else if (what < 92) {
                ++level;
            } else if (what < 95 && level > 1) {
                set.commit_level(level);
                model.commit(level--);
            } else if (what < 99 && level > 1) {
                level -= below(level - 1);
                set.abort_level(level);
                model.abort(level);
                level = std::max(level - 1, 1u);
            } else if (model.deepest() == level && below(3) == 0) {
                set.drop_level(level);
                model.abort(level);
            }
            if (step % 50 == 0) {
                ASSERT_EQ(entries(set.log()), model.all(0));
                ASSERT_EQ(set.count(), model.entries.size());
                if (model.deepest() != 0) {
                    ASSERT_EQ(entries(set.level_log(model.deepest())), model.all(model.deepest()));
                }
            }
        }
        ASSERT_EQ(entries(set.log()), model.all(0));
        set.reset();
    }
}

}  // namespace
}  // namespace cache_sync
