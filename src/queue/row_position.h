// Where a row of the queue is, packed into the opaque position that batches carry.
#pragma once

#include <cstdint>

namespace cache_sync {

struct RowPosition {
    std::uint16_t table;
    std::uint16_t offset;
    std::uint32_t block;

    std::uint64_t pack() const {
        return static_cast<std::uint64_t>(table) << 48 | static_cast<std::uint64_t>(block) << 16 | offset;
    }
    static RowPosition unpack(std::uint64_t packed) {
        return {static_cast<std::uint16_t>(packed >> 48), static_cast<std::uint16_t>(packed),
                static_cast<std::uint32_t>(packed >> 16)};
    }
    auto operator<=>(const RowPosition &) const = default;
};

}  // namespace cache_sync
