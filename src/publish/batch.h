// One batch: what is published to a target in one go, and the queue rows that it settles.
//
// A batch is immutable once taken from its builder, so any number of targets can hold it at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "queue/payload.h"

namespace cache_sync {

// A row of the queue. position is opaque to publishing; visible_at is microseconds since the Unix epoch, or
// kNoLag.
inline constexpr std::int64_t kNoLag = 0;
struct QueueRow {
    std::uint64_t position;
    std::int64_t visible_at;
};

class Batch {
 public:
    // The n-th entries, in the order of their first appearance.
    std::size_t key_count() const { return keys_.size(); }
    std::size_t tag_count() const { return tags_.size(); }
    std::size_t pattern_count() const { return patterns_.size(); }
    std::string_view key(std::size_t n) const { return view(keys_[n]); }
    std::string_view tag(std::size_t n) const { return view(tags_[n]); }
    std::string_view pattern(std::size_t n) const { return view(patterns_[n]); }

    // Does this batch flush the target of this name?
    bool flushes(std::string_view target) const;
    // Or any target at all?
    bool has_flush() const { return !flushes_.empty(); }

    const std::vector<QueueRow> &rows() const { return rows_; }
    std::size_t coalesced() const { return coalesced_; }  // entries that were there already
    std::size_t bytes() const { return text_.size(); }
    std::uint64_t lsn = 0;     // every row of the batch committed at or before this WAL position
    std::uint64_t number = 0;  // counts up, the "b" of the announcement

 private:
    friend class BatchBuilder;
    struct Slice {
        std::uint32_t offset;
        std::uint32_t length;
    };
    std::string_view view(Slice slice) const { return {text_.data() + slice.offset, slice.length}; }

    std::string text_;
    std::vector<Slice> keys_, tags_, patterns_, flushes_;
    std::vector<QueueRow> rows_;
    std::size_t coalesced_ = 0;
};

// Collects entries, each once, until the owner finds the batch full. A batch holds less than 4 GiB of text;
// more throws std::length_error.
class BatchBuilder {
 public:
    BatchBuilder();

    // Kinds that no target is told of are left out.
    void add(TouchKind kind, std::string_view text);
    void add_row(QueueRow row) { batch_.rows_.push_back(row); }
    bool empty() const { return batch_.rows_.empty(); }
    std::size_t entries() const { return entries_; }  // keys + tags + patterns + flushes so far
    std::size_t bytes() const { return batch_.text_.size(); }
    Batch take();  // leaves the builder empty

 private:
    // Of the index: open addressing over the text of the batch, so that an entry costs no allocation of its
    // own.
    struct Slot {
        std::uint32_t generation = 0;  // of another batch: free
        std::uint32_t hash = 0;
        Batch::Slice slice{};
        TouchKind kind{};
    };
    Slot *find(TouchKind kind, std::string_view text, std::uint32_t hash);
    std::uint32_t hash_of(TouchKind kind, std::string_view text) const;
    void grow();
    std::vector<Batch::Slice> *entries_of(TouchKind kind);

    Batch batch_;
    std::vector<Slot> index_;  // its size is a power of two
    std::size_t entries_ = 0;
    std::uint32_t generation_ = 1;
    std::uint64_t seed_;
};

}  // namespace cache_sync
