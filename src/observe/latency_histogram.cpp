#include "observe/latency_histogram.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>

namespace cache_sync {
namespace {

// One writer, so no read-modify-write is needed; atomic_ref only keeps a reader from seeing half a number.
std::uint64_t load(const std::uint64_t &from) {
    return std::atomic_ref(const_cast<std::uint64_t &>(from)).load(std::memory_order_relaxed);
}

void store(std::uint64_t &to, std::uint64_t value) {
    std::atomic_ref(to).store(value, std::memory_order_relaxed);
}

}  // namespace

// Below kSteps a bucket per value; from there on the leading kStepBits + 1 bits name the bucket.
std::size_t LatencyHistogram::bucket_of(std::uint64_t microseconds) {
    const int shift = std::max(0, static_cast<int>(std::bit_width(microseconds)) - (kStepBits + 1));
    return static_cast<std::size_t>(shift) * kSteps + (microseconds >> shift);
}

double LatencyHistogram::middle_of(std::size_t bucket) {
    if (bucket < 2 * kSteps)
        return static_cast<double>(bucket);
    const std::size_t shift = bucket / kSteps - 1;
    const double low = std::ldexp(static_cast<double>(bucket % kSteps + kSteps), static_cast<int>(shift));
    return low + (std::ldexp(1.0, static_cast<int>(shift)) - 1) / 2;
}

void LatencyHistogram::record(std::uint64_t microseconds) {
    const std::uint64_t value = std::clamp(microseconds, kShortest, kLongest);
    std::uint64_t &count = counts_[bucket_of(value)];
    store(count, count + 1);
    if (value > max_)
        store(max_, value);
}

double LatencyHistogram::percentile(double percent) const {
    const std::uint64_t total = count();
    if (total == 0)
        return 0;
    const double wanted = std::ceil(static_cast<double>(total) * std::clamp(percent, 0.0, 100.0) / 100);
    const std::uint64_t rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, total);
    const auto highest = static_cast<double>(load(max_));
    std::uint64_t seen = 0;
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
        seen += load(counts_[bucket]);
        if (seen >= rank)
            return std::min(middle_of(bucket), highest);
    }
    return highest;
}

std::uint64_t LatencyHistogram::max() const {
    return load(max_);
}

std::uint64_t LatencyHistogram::count() const {
    std::uint64_t total = 0;
    for (const std::uint64_t &count : counts_)
        total += load(count);
    return total;
}

void LatencyHistogram::merge(const LatencyHistogram &other) {
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket)
        store(counts_[bucket], counts_[bucket] + load(other.counts_[bucket]));
    store(max_, std::max(max_, load(other.max_)));
}

void LatencyHistogram::reset() {
    for (std::uint64_t &count : counts_)
        store(count, 0);
    store(max_, 0);
}

}  // namespace cache_sync
