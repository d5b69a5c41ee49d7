// Durations in fixed buckets of growing width: what percentiles are read from.
//
// Plain data without pointers, so that it can live in shared memory that begins as zeros. One process writes;
// others may read at any time and see it wrong by what was recorded meanwhile.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace cache_sync {

class LatencyHistogram {
 public:
    // Shorter and longer durations count as these.
    static constexpr std::uint64_t kShortest = 1;
    static constexpr std::uint64_t kLongest = 1'000'000'000;  // 1000 s in microseconds

    void record(std::uint64_t microseconds);
    // The duration in microseconds that `percent` (0 to 100) of the recorded ones do not exceed, within 3.2
    // %; 0 if nothing was recorded.
    double percentile(double percent) const;
    std::uint64_t max() const;  // exact
    std::uint64_t count() const;
    void merge(const LatencyHistogram &other);
    void reset();

 private:
    // 16 buckets for each doubling: a bucket is at most 1/16 of its values wide, its middle 1/32 away from
    // them.
    static constexpr int kStepBits = 4;
    static constexpr std::size_t kSteps = std::size_t{1} << kStepBits;
    static constexpr std::size_t kBuckets = kSteps * (30 - kStepBits + 1);

    static std::size_t bucket_of(std::uint64_t microseconds);
    static double middle_of(std::size_t bucket);

    std::array<std::uint64_t, kBuckets> counts_{};
    std::uint64_t max_ = 0;
};

}  // namespace cache_sync
