#include "queue/ring.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace cache_sync {

Ring *Ring::format(void *memory, std::size_t capacity) {
    auto *ring = new (memory) Ring;
    ring->head_.store(0);
    ring->tail_.store(0);
    for (auto &count : ring->entries_)
        count.store(0);
    ring->capacity_ = capacity;
    return ring;
}

void Ring::copy_in(std::uint64_t at, const void *from, std::size_t length) {
    const std::size_t start = at % capacity_;
    const std::size_t first = std::min<std::size_t>(length, capacity_ - start);
    std::memcpy(data_ + start, from, first);
    std::memcpy(data_, static_cast<const char *>(from) + first, length - first);
}

void Ring::copy_out(std::uint64_t at, void *to, std::size_t length) const {
    const std::size_t start = at % capacity_;
    const std::size_t first = std::min<std::size_t>(length, capacity_ - start);
    std::memcpy(to, data_ + start, first);
    std::memcpy(static_cast<char *>(to) + first, data_, length - first);
}

std::size_t Ring::free_bytes() const {
    return capacity_ - (head_.load(std::memory_order_relaxed) - tail_.load(std::memory_order_acquire));
}

bool Ring::empty() const {
    return head_.load(std::memory_order_acquire) == tail_.load(std::memory_order_relaxed);
}

bool Ring::push(const RingEntry &entry, std::string_view payload) {
    if (free_bytes() < footprint(payload.size()))
        return false;
    const std::uint64_t head = head_.load(std::memory_order_relaxed);
    const Frame frame{entry, static_cast<std::uint32_t>(payload.size())};
    copy_in(head, &frame, sizeof(frame));
    copy_in(head + sizeof(frame), payload.data(), payload.size());
    entries_[entry.table % kTables].fetch_add(1, std::memory_order_relaxed);
    head_.store(head + footprint(payload.size()), std::memory_order_release);
    return true;
}

bool Ring::pop(RingEntry &entry, std::string &payload) {
    if (empty())
        return false;
    const std::uint64_t tail = tail_.load(std::memory_order_relaxed);
    Frame frame;
    copy_out(tail, &frame, sizeof(frame));
    payload.resize(frame.length);
    copy_out(tail + sizeof(frame), payload.data(), frame.length);
    tail_.store(tail + footprint(frame.length), std::memory_order_release);
    entry = frame.entry;
    entries_[entry.table % kTables].fetch_sub(1, std::memory_order_relaxed);
    return true;
}

}  // namespace cache_sync
