#include "queue/ring.h"

#include <algorithm>
#include <cstring>
#include <new>

namespace cache_sync {

Ring *Ring::format(void *memory, std::size_t capacity) {
    auto *ring = new (memory) Ring;
    for (Side *side : {&ring->in_, &ring->out_}) {
        side->bytes.store(0);
        for (auto &entries : side->entries)
            entries.store(0);
    }
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
    return capacity_ - (in_.bytes.load(std::memory_order_relaxed) - popped());
}

// Popped first: what is pushed in between may count, what is popped in between may not be missing.
std::uint64_t Ring::entries(std::uint16_t table) const {
    const std::uint64_t popped = out_.entries[table % kTables].load(std::memory_order_acquire);
    return in_.entries[table % kTables].load(std::memory_order_acquire) - popped;
}

// The bytes last: who sees them sees the entry.
void Ring::count(Side &side, std::uint16_t table, std::uint64_t bytes) {
    std::atomic<std::uint64_t> &entries = side.entries[table % kTables];
    entries.store(entries.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    side.bytes.store(bytes, std::memory_order_release);
}

bool Ring::empty() const {
    return pushed() == popped();
}

bool Ring::push(const RingEntry &entry, std::string_view payload) {
    if (free_bytes() < footprint(payload.size()))
        return false;
    const std::uint64_t head = in_.bytes.load(std::memory_order_relaxed);
    const Frame frame{entry, static_cast<std::uint32_t>(payload.size())};
    copy_in(head, &frame, sizeof(frame));
    copy_in(head + sizeof(frame), payload.data(), payload.size());
    count(in_, entry.table, head + footprint(payload.size()));
    return true;
}

bool Ring::pop(RingEntry &entry, std::string &payload) {
    if (empty())
        return false;
    const std::uint64_t tail = out_.bytes.load(std::memory_order_relaxed);
    Frame frame;
    copy_out(tail, &frame, sizeof(frame));
    payload.resize(frame.length);
    copy_out(tail + sizeof(frame), payload.data(), frame.length);
    entry = frame.entry;
    count(out_, entry.table, tail + footprint(frame.length));
    return true;
}

}  // namespace cache_sync
