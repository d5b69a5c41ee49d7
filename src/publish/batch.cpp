#include "publish/batch.h"

#include <cstring>
#include <limits>
#include <random>
#include <stdexcept>
#include <utility>

namespace cache_sync {
namespace {

constexpr std::size_t kSmallestIndex = 64;
constexpr std::size_t kLargestKeptIndex = 65536;  // slots; a larger index is not kept for the next batch

std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

std::uint64_t load(const char *from, std::size_t length) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, length);
    return word;
}

}  // namespace

bool Batch::flushes(std::string_view target) const {
    for (const Slice slice : flushes_)
        if (slice.length == 0 || view(slice) == target)
            return true;
    return false;
}

// Keys come from users, so the seed is random: nobody can choose keys that all fall into one slot.
BatchBuilder::BatchBuilder() : index_(kSmallestIndex) {
    std::random_device random;
    seed_ = (static_cast<std::uint64_t>(random()) << 32 | random()) | 1;
}

std::uint32_t BatchBuilder::hash_of(TouchKind kind, std::string_view text) const {
    constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
    std::uint64_t hash =
        seed_ ^ static_cast<unsigned char>(kind) ^ (static_cast<std::uint64_t>(text.size()) << 8);
    const char *at = text.data();
    std::size_t left = text.size();
    for (; left >= 8; at += 8, left -= 8)
        hash = mix(hash ^ load(at, 8), seed_ ^ kOdd);
    if (left > 0)
        hash = mix(hash ^ load(at, left), seed_ ^ kOdd);
    return static_cast<std::uint32_t>(mix(hash, kOdd) >> 16);
}

// The slot of the entry, or the free one where it belongs.
BatchBuilder::Slot *BatchBuilder::find(TouchKind kind, std::string_view text, std::uint32_t hash) {
    const std::size_t mask = index_.size() - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
        Slot &slot = index_[at];
        if (slot.generation != generation_)
            return &slot;
        if (slot.hash == hash && slot.kind == kind && batch_.view(slot.slice) == text)
            return &slot;
    }
}

// Null: nothing that a target is told.
std::vector<Batch::Slice> *BatchBuilder::entries_of(TouchKind kind) {
    switch (kind) {
        case TouchKind::key:
            return &batch_.keys_;
        case TouchKind::tag:
            return &batch_.tags_;
        case TouchKind::pattern:
            return &batch_.patterns_;
        case TouchKind::flush:
            return &batch_.flushes_;
        case TouchKind::relation:
        case TouchKind::view:
            break;
    }
    return nullptr;
}

void BatchBuilder::add(TouchKind kind, std::string_view text) {
    std::vector<Batch::Slice> *entries = entries_of(kind);
    if (entries == nullptr)
        return;
    const std::uint32_t hash = hash_of(kind, text);
    Slot *slot = find(kind, text, hash);
    if (slot->generation == generation_) {
        ++batch_.coalesced_;
        return;
    }
    if (text.size() > std::numeric_limits<std::uint32_t>::max() - batch_.text_.size())
        throw std::length_error("a batch of more than 4 GiB");
    const Batch::Slice slice{static_cast<std::uint32_t>(batch_.text_.size()),
                             static_cast<std::uint32_t>(text.size())};
    batch_.text_.append(text);
    entries->push_back(slice);
    *slot = {generation_, hash, slice, kind};
    if (++entries_ * 2 > index_.size())
        grow();
}

void BatchBuilder::grow() {
    std::vector<Slot> old(index_.size() * 2);
    old.swap(index_);
    const std::size_t mask = index_.size() - 1;
    for (const Slot &slot : old) {
        if (slot.generation != generation_)
            continue;
        std::size_t at = slot.hash & mask;
        while (index_[at].generation == generation_)
            at = (at + 1) & mask;
        index_[at] = slot;
    }
}

Batch BatchBuilder::take() {
    Batch taken = std::exchange(batch_, Batch());
    entries_ = 0;
    // A new generation frees all slots without touching them.
    if (index_.size() > kLargestKeptIndex || ++generation_ == 0) {
        index_ = std::vector<Slot>(kSmallestIndex);
        generation_ = 1;
    }
    return taken;
}

}  // namespace cache_sync
