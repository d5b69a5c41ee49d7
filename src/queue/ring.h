// The fast path: a ring of bytes in shared memory, from committing backends to the publisher.
//
// Any number of producers, one at a time (the caller holds a lock); one consumer, without a lock. What does
// not fit is not pushed: the queue table has it, and the caller asks the publisher for a walk.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace cache_sync {

struct RingEntry {
    enum class Kind : std::uint16_t {
        row,    // the payload of the queue row at (table, block, offset) follows
        range,  // rows of (table, block .. last_block) are to be read from the table
    };
    Kind kind;
    std::uint16_t table;
    std::uint16_t offset;
    std::uint32_t block;
    std::uint32_t last_block;
    std::int64_t visible_at;  // microseconds since the Unix epoch
};

class Ring {
 public:
    // Bytes of memory that a ring of this capacity takes.
    static std::size_t size(std::size_t capacity) { return sizeof(Ring) + capacity; }
    // Makes a ring of size(capacity) bytes of memory.
    static Ring *format(void *memory, std::size_t capacity);

    // False: no room. entry and payload are copied.
    bool push(const RingEntry &entry, std::string_view payload);
    // False: empty. payload is replaced.
    bool pop(RingEntry &entry, std::string &payload);

    bool empty() const;
    // Entries of this queue table that were pushed and not popped yet.
    std::uint64_t entries(std::uint16_t table) const;
    // Bytes ever pushed and popped: an entry is taken once popped() has reached what pushed() was after it.
    std::uint64_t pushed() const { return in_.bytes.load(std::memory_order_acquire); }
    std::uint64_t popped() const { return out_.bytes.load(std::memory_order_acquire); }
    std::size_t capacity() const { return capacity_; }
    std::size_t free_bytes() const;
    std::size_t used_bytes() const { return capacity_ - free_bytes(); }
    // Bytes that push() takes for a payload of this length.
    static std::size_t footprint(std::size_t payload) { return sizeof(Frame) + payload; }

 private:
    struct Frame {
        RingEntry entry;
        std::uint32_t length;
    };

    void copy_in(std::uint64_t at, const void *from, std::size_t length);
    void copy_out(std::uint64_t at, void *to, std::size_t length) const;

    // One side of the ring, written by that side alone: no atomic read-modify-write, and a cache line (or
    // two) that does not go to and fro for the other side's sake.
    static constexpr int kTables = 4;
    struct Side {
        std::atomic<std::uint64_t> bytes;
        std::atomic<std::uint64_t> entries[kTables];
        char padding[128 - (1 + kTables) * sizeof(std::uint64_t)];
    };
    static void count(Side &side, std::uint16_t table, std::uint64_t bytes);

    Side in_;   // pushed
    Side out_;  // popped
    std::uint64_t capacity_;
    char data_[1];
};

static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "shared memory needs lock-free atomics");

}  // namespace cache_sync
