#include "publish/walk.h"

#include <gtest/gtest.h>

namespace cache_sync {
namespace {

using Globs = std::vector<std::string_view>;

TEST(Walk, LeavesOutWhatAnotherGlobFindsToo) {
    const struct {
        Globs globs, kept;
    } cases[] = {
        {{}, {}},
        {{"a:*"}, {"a:*"}},
        {{"a:*:b", "a:*"}, {"a:*"}},
        {{"a:*", "a:*"}, {"a:*"}},
        {{"a*", "a:*", "a:b*:c", "b*"}, {"a*", "b*"}},
        {{"b:*", "a:?", "*", "c"}, {"*"}},
        {{"a**", "ab"}, {"a**"}},
        // Not covered, or not known to be.
        {{"a:?*", "a:x*"}, {"a:?*", "a:x*"}},
        {{"a:[bc]*", "a:b*"}, {"a:[bc]*", "a:b*"}},
        {{"a*b", "a*bb"}, {"a*b", "a*bb"}},
        {{"ab", "abc"}, {"ab", "abc"}},
        {{"a\\*", "a\\*b"}, {"a\\*", "a\\*b"}},  // literal stars
        {{"a\\**", "a\\*b", "ab"}, {"a\\**", "ab"}},
        {{"a\\[*", "a[b]*"}, {"a[b]*", "a\\[*"}},
        {{"a-*", "a*", "a.x"}, {"a*"}},
        {{"a:*", "ab"}, {"a:*", "ab"}},
    };
    for (const auto &one : cases)
        EXPECT_EQ(without_covered(one.globs), one.kept) << (one.globs.empty() ? "" : one.globs[0]);
}

TEST(Walk, OneWalkServesAllThatCameBeforeItStarted) {
    WalkQueue queue;
    EXPECT_TRUE(queue.empty());
    queue.add("a*", 1, 10, 100);
    queue.add("b*", 1, 10, 100);
    queue.add("a*", 2, 30, 99);
    EXPECT_EQ(queue.front().owners, (std::vector<Ledger::Flight>{1, 2}));
    EXPECT_EQ(queue.front().lsn, 30u);
    EXPECT_EQ(queue.front().batch, 100u);
    EXPECT_EQ(queue.front().cursor, "0");
    queue.front().started = true;
    queue.add("a*", 3, 40, 101);
    EXPECT_EQ(queue.front().owners.size(), 2u);
    queue.pop();
    EXPECT_EQ(queue.front().glob, "b*");
    queue.pop();
    EXPECT_EQ(queue.front().owners, std::vector<Ledger::Flight>{3});
    queue.clear();
    EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace cache_sync
