#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace cache_sync::demo {

// Durations in buckets 1/16 of a power of two wide, so a percentile is at most 6 % off. One thread adds, any
// thread reads.
class Histogram {
 public:
    using Counts = std::array<std::uint64_t, 640>;

    void add(std::chrono::nanoseconds duration);
    Counts counts() const;

 private:
    std::array<std::atomic<std::uint64_t>, 640> buckets_{};
};

// What was added between two readings of one histogram.
Histogram::Counts difference(const Histogram::Counts &later, const Histogram::Counts &earlier);

std::uint64_t total(const Histogram::Counts &counts);

// The duration in milliseconds that `share` (0..1) of the counted ones do not exceed; 0 if none were counted.
double percentile_ms(const Histogram::Counts &counts, double share);

}  // namespace cache_sync::demo
