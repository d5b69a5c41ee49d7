#include "histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

namespace cache_sync::demo {
namespace {

constexpr unsigned kSubBits = 4;

std::size_t bucket_of(std::uint64_t value) {
    if (value < (1u << kSubBits)) {
        return value;
    }
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - kSubBits - 1;
    const std::size_t bucket = ((shift + 1) << kSubBits) + ((value >> shift) - (1u << kSubBits));
    return std::min(bucket, Histogram::Counts().size() - 1);
}

std::uint64_t upper_bound_of(std::size_t bucket) {
    if (bucket < (1u << kSubBits)) {
        return bucket;
    }
    const std::size_t shift = (bucket >> kSubBits) - 1;
    const std::uint64_t mantissa = (1u << kSubBits) + (bucket & ((1u << kSubBits) - 1));
    return ((mantissa + 1) << shift) - 1;
}

}  // namespace

void Histogram::add(std::chrono::nanoseconds duration) {
    const auto value = static_cast<std::uint64_t>(std::max<std::int64_t>(0, duration.count()));
    buckets_[bucket_of(value)].fetch_add(1, std::memory_order_relaxed);
}

Histogram::Counts Histogram::counts() const {
    Counts counts;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        counts[i] = buckets_[i].load(std::memory_order_relaxed);
    }
    return counts;
}

Histogram::Counts difference(const Histogram::Counts &later, const Histogram::Counts &earlier) {
    Histogram::Counts counts;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        counts[i] = later[i] - earlier[i];
    }
    return counts;
}

std::uint64_t total(const Histogram::Counts &counts) {
    return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

double percentile_ms(const Histogram::Counts &counts, double share) {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(share * static_cast<double>(total(counts))));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
        seen += counts[i];
        if (seen > 0 && seen >= wanted) {
            return static_cast<double>(upper_bound_of(i)) / 1e6;
        }
    }
    return 0;
}

}  // namespace cache_sync::demo
