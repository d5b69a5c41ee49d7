#include "publish/backoff.h"

#include <gtest/gtest.h>

#include <set>

namespace cache_sync {
namespace {

TEST(Backoff, DoublesUpToTheLongestWithinHalfToFull) {
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
        Backoff backoff(Milliseconds(30000), seed);
        for (int failure = 0; failure < 100; ++failure) {
            EXPECT_EQ(backoff.failures(), failure);
            EXPECT_EQ(backoff.is_open(), failure >= Backoff::kFailuresToOpen);
            const long full = failure < 10 ? std::min(30000L, 50L << failure) : 30000;
            const auto wait = backoff.next().count();
            EXPECT_GE(wait, full / 2);
            EXPECT_LE(wait, full);
        }
    }
}

TEST(Backoff, OpenCircuitWaitsForTheLongest) {
    Backoff backoff(std::chrono::hours(24), 1);
    for (int failure = 0; failure < Backoff::kFailuresToOpen; ++failure)
        EXPECT_LE(backoff.next(), Milliseconds(50 << failure));
    EXPECT_GE(backoff.next(), std::chrono::hours(12));
}

TEST(Backoff, ResetBeginsAnew) {
    Backoff backoff(Milliseconds(30000), 1);
    for (int failure = 0; failure < 12; ++failure)
        backoff.next();
    backoff.reset();
    EXPECT_FALSE(backoff.is_open());
    EXPECT_LE(backoff.next(), Milliseconds(50));
}

TEST(Backoff, SpreadsOverTheWholeRange) {
    std::set<Milliseconds> seen;
    for (std::uint64_t seed = 0; seed < 2000; ++seed)
        seen.insert(Backoff(Milliseconds(30000), seed).next());
    EXPECT_EQ(seen.size(), 26u);  // 25 to 50
}

TEST(Backoff, ShortLimitsAreKept) {
    for (const int longest : {0, 1, 7}) {
        Backoff backoff(Milliseconds(longest), 3);
        for (int failure = 0; failure < 20; ++failure)
            EXPECT_LE(backoff.next(), Milliseconds(std::max(longest, 1)));
    }
}

}  // namespace
}  // namespace cache_sync
