// Why a view is refreshed.
#pragma once

#include <cstdint>

namespace cache_sync {

enum class RefreshReason : std::uint8_t { change, schedule, request };

}  // namespace cache_sync
