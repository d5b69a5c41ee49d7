#include "observe/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

namespace cache_sync {
namespace {

static_assert(std::is_standard_layout_v<LatencyHistogram>);
static_assert(std::is_trivially_copyable_v<LatencyHistogram>);
static_assert(sizeof(LatencyHistogram) < 4096);

double exact(std::vector<std::uint64_t> values, double percent) {
    std::sort(values.begin(), values.end());
    const auto rank = static_cast<std::size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
    return static_cast<double>(values[std::max<std::size_t>(rank, 1) - 1]);
}

TEST(LatencyHistogram, IsEmptyAtFirstAndWhenMadeOfZeros) {
    const auto memory = std::make_unique<char[]>(sizeof(LatencyHistogram));
    auto *zeros = new (memory.get()) LatencyHistogram;
    LatencyHistogram fresh;
    EXPECT_EQ(std::memcmp(zeros, &fresh, sizeof(fresh)), 0);
    EXPECT_EQ(fresh.count(), 0u);
    EXPECT_EQ(fresh.max(), 0u);
    EXPECT_EQ(fresh.percentile(50), 0);
}

TEST(LatencyHistogram, EveryDurationIsWithinTheResolution) {
    for (std::uint64_t value = 1; value <= LatencyHistogram::kLongest; value += 1 + value / 97) {
        LatencyHistogram histogram;
        histogram.record(value);
        histogram.record(LatencyHistogram::kLongest);
        const double told = histogram.percentile(50);
        EXPECT_NEAR(told, static_cast<double>(value), static_cast<double>(value) * 0.032) << value;
    }
}

TEST(LatencyHistogram, ClampsWhatIsOutOfRange) {
    LatencyHistogram histogram;
    histogram.record(0);
    EXPECT_EQ(histogram.percentile(100), 1);
    histogram.record(~std::uint64_t{0});
    EXPECT_EQ(histogram.max(), LatencyHistogram::kLongest);
    EXPECT_NEAR(histogram.percentile(100), 1e9, 1e9 * 0.032);
    EXPECT_EQ(histogram.count(), 2u);
}

TEST(LatencyHistogram, PercentilesAgreeWithExactOnes) {
    std::mt19937_64 random(5);
    std::lognormal_distribution<double> slow(8, 2);
    std::uniform_int_distribution<std::uint64_t> flat(1, 5000);
    for (const bool skewed : {true, false}) {
        LatencyHistogram histogram;
        std::vector<std::uint64_t> values;
        for (int n = 0; n < 50000; ++n) {
            const double drawn = skewed ? slow(random) : static_cast<double>(flat(random));
            values.push_back(
                std::clamp<std::uint64_t>(static_cast<std::uint64_t>(drawn), 1, LatencyHistogram::kLongest));
            histogram.record(values.back());
        }
        EXPECT_EQ(histogram.count(), values.size());
        EXPECT_EQ(histogram.max(), *std::max_element(values.begin(), values.end()));
        for (const double percent : {0.0, 1.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9, 100.0}) {
            const double expected = exact(values, percent);
            EXPECT_NEAR(histogram.percentile(percent), expected, expected * 0.032) << percent;
        }
    }
}

TEST(LatencyHistogram, NeverTellsMoreThanTheMaximum) {
    LatencyHistogram histogram;
    histogram.record(1025);  // the middle of its bucket is above
    EXPECT_EQ(histogram.percentile(99), 1025);
}

TEST(LatencyHistogram, MergesAndResets) {
    LatencyHistogram one, two;
    for (int n = 0; n < 99; ++n)
        one.record(10);
    two.record(5000);
    one.merge(two);
    EXPECT_EQ(one.count(), 100u);
    EXPECT_EQ(one.max(), 5000u);
    EXPECT_EQ(one.percentile(99), 10);
    EXPECT_NEAR(one.percentile(100), 5000, 160);
    one.reset();
    EXPECT_EQ(one.count(), 0u);
    EXPECT_EQ(one.max(), 0u);
    EXPECT_EQ(one.percentile(99), 0);
}

}  // namespace
}  // namespace cache_sync
