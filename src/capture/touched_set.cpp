#include "capture/touched_set.h"

#include <cstring>
#include <limits>

namespace cache_sync {

namespace {

// Kept from one transaction to the next.
constexpr std::size_t kKeptLog = 16 * 1024;
constexpr std::uint32_t kKeptSlots = 1024;
constexpr std::size_t kKeptMarks = 64;

// Until here the index grows by four instead of doubling: fewer entries are moved, at most 2 MiB lie idle.
constexpr std::uint32_t kLargeIndex = 64 * 1024;

// From here on the log grows by half instead of doubling.
constexpr std::size_t kLargeLog = 16 * 1024 * 1024;

constexpr std::size_t kMaxLog = std::numeric_limits<std::uint32_t>::max() - 1;

std::uint64_t load(const char *from, std::size_t bytes) {
    std::uint64_t value = 0;
    std::memcpy(&value, from, bytes);
    return value;
}

// Both halves of the 128-bit product: every input bit reaches every output bit.
std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = static_cast<Wide>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

}  // namespace

// The address of the set is part of the hash, so that nobody outside can choose keys that collide.
std::uint32_t TouchedSet::hash_of(const char *record, std::size_t size) const {
    constexpr std::uint64_t kOne = 0x9e3779b97f4a7c15, kTwo = 0xd1b54a32d192ed03;
    std::uint64_t state = reinterpret_cast<std::uintptr_t>(this) ^ kTwo ^ size;
    std::size_t left = size;
    for (; left > 16; left -= 16, record += 16)
        state = fold(load(record, 8) ^ kOne ^ state, load(record + 8, 8) ^ kTwo ^ (state << 1));
    std::uint64_t first, last;
    if (left >= 8) {
        first = load(record, 8);
        last = load(record + left - 8, 8);
    } else if (left >= 4) {
        first = load(record, 4);
        last = load(record + left - 4, 4);
    } else {
        // A record has at least two bytes, but a rest of a long one may have a single byte.
        first = load(record, 1) << 8 | load(record + left - 1, 1);
        last = load(record + left / 2, 1);
    }
    state = fold(first ^ kOne ^ state, last ^ kTwo ^ (state << 1));
    return static_cast<std::uint32_t>(state ^ (state >> 32));
}

std::size_t TouchedSet::record_bytes(std::size_t start) const {
    std::size_t at = start + 1, length = 0;
    for (int shift = 0;; shift += 7) {
        const auto byte = static_cast<unsigned char>(log_[at++]);
        length |= static_cast<std::size_t>(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return at + length - start;
    }
}

TouchedSet::Added TouchedSet::add(TouchKind kind, std::string_view text, std::uint32_t level) {
    const std::size_t bytes = record_size(text.size());
    if (log_size_ + bytes > log_capacity_ && !make_room(bytes))
        return Added::no_memory;
    if (count_ >= slot_count_ / 2 && !grow_index())
        return Added::no_memory;

    // Written behind the end of the log first: two records are equal exactly if their bytes are, since none
    // is the beginning of another.
    char *const record = log_ + log_size_;
    write_record(record, kind, text);
    const std::uint32_t hash = hash_of(record, bytes);
    const std::uint32_t mask = slot_count_ - 1;
    std::uint32_t at = hash & mask;
    for (; slots_[at].place != 0; at = (at + 1) & mask) {
        if (slots_[at].hash == hash && std::memcmp(log_ + slots_[at].place - 1, record, bytes) == 0) {
            ++duplicates_;
            return Added::duplicate;
        }
    }
    if (top_.level != level && !enter_level(level))
        return Added::no_memory;
    slots_[at] = {static_cast<std::uint32_t>(log_size_ + 1), hash};
    log_size_ += bytes;
    ++count_;
    return Added::fresh;
}

bool TouchedSet::make_room(std::size_t bytes) {
    const std::size_t needed = log_size_ + bytes;
    if (needed > kMaxLog)
        return false;
    std::size_t capacity = log_capacity_ == 0 ? kKeptLog : log_capacity_;
    while (capacity < needed)
        capacity += capacity < kLargeLog ? capacity : capacity / 2;
    void *const block = resize_(log_, capacity);
    if (block == nullptr)
        return false;
    log_ = static_cast<char *>(block);
    log_capacity_ = capacity;
    return true;
}

bool TouchedSet::grow_index() {
    const std::uint32_t factor = slot_count_ < kLargeIndex ? 4 : 2;
    const std::uint32_t slot_count = slot_count_ == 0 ? kKeptSlots : slot_count_ * factor;
    void *const block = resize_(nullptr, slot_count * sizeof(Slot));
    if (block == nullptr)
        return false;
    auto *const slots = static_cast<Slot *>(block);
    std::memset(slots, 0, slot_count * sizeof(Slot));
    for (std::uint32_t i = 0; i < slot_count_; ++i) {
        if (slots_[i].place == 0)
            continue;
        std::uint32_t at = slots_[i].hash & (slot_count - 1);
        while (slots[at].place != 0)
            at = (at + 1) & (slot_count - 1);
        slots[at] = slots_[i];
    }
    if (slots_ != nullptr)
        resize_(slots_, 0);
    slots_ = slots;
    slot_count_ = slot_count;
    return true;
}

bool TouchedSet::enter_level(std::uint32_t level) {
    // A level that ended without a word: its records stay, with the level around it.
    while (top_.level > level)
        commit_level(top_.level);
    if (top_.level == level)
        return true;
    if (top_.level != 0) {
        if (mark_count_ == mark_capacity_) {
            const std::size_t capacity = mark_capacity_ == 0 ? kKeptMarks : mark_capacity_ * 2;
            void *const block = resize_(marks_, capacity * sizeof(Mark));
            if (block == nullptr)
                return false;
            marks_ = static_cast<Mark *>(block);
            mark_capacity_ = capacity;
        }
        marks_[mark_count_++] = top_;
    }
    top_ = {level, static_cast<std::uint32_t>(log_size_)};
    return true;
}

// The level around the innermost one becomes the innermost.
void TouchedSet::leave_level() {
    top_ = mark_count_ == 0 ? Mark{0, 0} : marks_[--mark_count_];
}

void TouchedSet::abort_level(std::uint32_t level) {
    while (top_.level >= level && top_.level != 0) {
        cut(top_.start);
        leave_level();
    }
}

void TouchedSet::commit_level(std::uint32_t level) {
    while (top_.level >= level && top_.level > 1) {
        const Mark inner = top_;
        leave_level();
        if (top_.level < inner.level - 1) {
            if (top_.level != 0)
                marks_[mark_count_++] = top_;  // the place that leave_level has just freed
            top_ = {inner.level - 1, inner.start};
        }
    }
}

std::string_view TouchedSet::level_log(std::uint32_t level) const {
    if (top_.level != level)
        return {};
    return log().substr(top_.start);
}

void TouchedSet::drop_level(std::uint32_t level) {
    if (top_.level != level)
        return;
    cut(top_.start);
    leave_level();
}

// Cuts the log and takes what falls off out of the index.
void TouchedSet::cut(std::uint32_t start) {
    if (start == 0) {
        clear_index();
        count_ = 0;
    }
    for (std::size_t at = start; start != 0 && at < log_size_;) {
        const std::size_t bytes = record_bytes(at);
        erase(static_cast<std::uint32_t>(at + 1), hash_of(log_ + at, bytes));
        at += bytes;
        --count_;
    }
    log_size_ = start;
}

// Closes the gap, so that no probe ends before the record it looks for.
void TouchedSet::erase(std::uint32_t place, std::uint32_t hash) {
    const std::uint32_t mask = slot_count_ - 1;
    std::uint32_t gap = hash & mask;
    while (slots_[gap].place != place)
        gap = (gap + 1) & mask;
    for (std::uint32_t at = (gap + 1) & mask; slots_[at].place != 0; at = (at + 1) & mask) {
        const std::uint32_t from_home = (at - slots_[at].hash) & mask;
        if (from_home >= ((at - gap) & mask)) {
            slots_[gap] = slots_[at];
            gap = at;
        }
    }
    slots_[gap] = {0, 0};
}

void TouchedSet::clear_index() {
    if (slots_ == nullptr)
        return;
    const std::uint32_t mask = slot_count_ - 1;
    if (count_ > slot_count_ / 16) {
        std::memset(slots_, 0, slot_count_ * sizeof(Slot));
        return;
    }
    for (std::size_t at = 0; at < log_size_;) {
        const std::size_t bytes = record_bytes(at);
        std::uint32_t slot = hash_of(log_ + at, bytes) & mask;
        while (slots_[slot].place != at + 1)
            slot = (slot + 1) & mask;
        slots_[slot] = {0, 0};
        at += bytes;
    }
}

void TouchedSet::reset() {
    if (slot_count_ > kKeptSlots) {
        resize_(slots_, 0);
        slots_ = nullptr;
        slot_count_ = 0;
    } else {
        clear_index();
    }
    if (log_capacity_ > kKeptLog) {
        resize_(log_, 0);
        log_ = nullptr;
        log_capacity_ = 0;
    }
    if (mark_capacity_ > kKeptMarks) {
        resize_(marks_, 0);
        marks_ = nullptr;
        mark_capacity_ = 0;
    }
    log_size_ = 0;
    count_ = 0;
    mark_count_ = 0;
    top_ = {0, 0};
    duplicates_ = 0;
}

std::size_t TouchedSet::memory() const {
    return log_capacity_ + slot_count_ * sizeof(Slot) + mark_capacity_ * sizeof(Mark);
}

}  // namespace cache_sync
