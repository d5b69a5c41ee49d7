// What a transaction touched: each (kind, text) once, kept in the order of appearance in the very format of a
// queue row (queue/payload.h), with savepoints.
//
//   log_    records one after another, in one block that grows
//   slots_  open addressing over the log: where a record starts, and its hash so that a probe seldom reads
//   the log top_    where the records of the innermost level start; the levels around it lie in marks_
//
// A level is marked when it adds something for the first time: savepoints that touch nothing cost nothing.
// Nothing here throws or runs at process exit, so that an object may be static in a server process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "queue/payload.h"

namespace cache_sync {

class TouchedSet {
 public:
    // Memory: as realloc, nullptr if there is none; block may be nullptr; bytes == 0 frees.
    using Resize = void *(*)(void *block, std::size_t bytes);

    enum class Added { fresh, duplicate, no_memory };

    constexpr explicit TouchedSet(Resize resize) : resize_(resize) {}
    TouchedSet(const TouchedSet &) = delete;
    TouchedSet &operator=(const TouchedSet &) = delete;

    // Remembers that the transaction nest level `level` (>= 1) touched this. `text` must not lie in the log.
    // After no_memory the set is as it was.
    Added add(TouchKind kind, std::string_view text, std::uint32_t level);

    // Forgets what was added at this level or deeper.
    void abort_level(std::uint32_t level);

    // What was added at `level` or deeper belongs to level - 1 from now on.
    void commit_level(std::uint32_t level);

    // Everything held, as records.
    std::string_view log() const { return {log_, log_size_}; }

    // What `level` holds if it is the innermost level that holds anything, else nothing.
    std::string_view level_log(std::uint32_t level) const;

    // Forgets what level_log(level) shows, for somebody who has written it elsewhere.
    void drop_level(std::uint32_t level);

    // Forgets everything and gives back what is more than a small block. Cheap after a small transaction.
    void reset();

    std::size_t count() const { return count_; }
    // How often add() answered duplicate since the last reset().
    std::uint64_t duplicates() const { return duplicates_; }
    // Bytes held by log, index and marks.
    std::size_t memory() const;

 private:
    struct Slot {
        std::uint32_t place;  // offset in the log + 1; 0: the slot is free
        std::uint32_t hash;
    };
    struct Mark {
        std::uint32_t level;  // 0: no level holds anything
        std::uint32_t start;  // offset in the log
    };

    bool make_room(std::size_t bytes);
    bool grow_index();
    bool enter_level(std::uint32_t level);
    void leave_level();
    void cut(std::uint32_t start);
    void erase(std::uint32_t place, std::uint32_t hash);
    void clear_index();
    std::uint32_t hash_of(const char *record, std::size_t size) const;
    std::size_t record_bytes(std::size_t start) const;

    Resize resize_;
    char *log_ = nullptr;
    std::size_t log_size_ = 0;
    std::size_t log_capacity_ = 0;
    Slot *slots_ = nullptr;
    std::uint32_t slot_count_ = 0;  // a power of two, or 0
    std::uint32_t count_ = 0;
    Mark top_{0, 0};
    Mark *marks_ = nullptr;
    std::size_t mark_count_ = 0;
    std::size_t mark_capacity_ = 0;
    std::uint64_t duplicates_ = 0;
};

}  // namespace cache_sync
