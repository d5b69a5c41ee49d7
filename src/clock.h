// Time as the pure code sees it: a parameter, never a call.
#pragma once

#include <chrono>

namespace cache_sync {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Milliseconds = std::chrono::milliseconds;

inline constexpr TimePoint kNever = TimePoint::max();

}  // namespace cache_sync
