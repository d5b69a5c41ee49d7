// What is in flight on one connection: which reply belongs to which command, and which batch is settled by
// it.
//
// Replies come in the order of the commands. A flight is a batch (or a flush without one); it is settled when
// all its replies came and nothing holds it any more. Flight 0 is none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "publish/batch.h"

namespace cache_sync {

// A batch that the target is finished with.
struct Settled {
    std::shared_ptr<const Batch> batch;
    bool confirmed;  // false: the connection was lost first; must be sent again
};

enum class Command : std::uint8_t { invalidate, tag, publish, log, arm, scan };

class Ledger {
 public:
    using Flight = std::uint64_t;

    // Opens a flight that is held once. `batch` may be null: a flush by itself.
    Flight open(std::shared_ptr<const Batch> batch, bool flush);
    void hold(Flight flight) { ++entry(flight).open_ends; }
    void release(Flight flight);
    // The same once all replies to what was sent before are there.
    void release_later(Flight flight);

    // `count` commands of this kind were sent for the flight.
    void expect(Command command, Flight flight, std::size_t count = 1);
    bool is_waiting() const { return !expected_.empty(); }
    // The command that the next reply answers. Needs is_waiting().
    Command next() const { return expected_.front().command; }
    Flight next_flight() const { return expected_.front().flight; }
    // That reply was good.
    void answered();

    // The connection is lost: all that is in flight is settled as not confirmed.
    void abandon();
    void refuse(std::shared_ptr<const Batch> batch) { settled_.push_back({std::move(batch), false}); }

    std::size_t batches() const { return batches_; }  // not settled
    std::size_t bytes() const { return bytes_; }
    std::vector<Settled> take_settled();
    bool take_flushed();
    // How many batches were confirmed since the connection began.
    std::uint64_t confirmed() const { return confirmed_; }

 private:
    struct Entry {
        std::shared_ptr<const Batch> batch;
        bool flush;
        std::size_t open_ends;  // replies and holds; 0: settled
    };
    struct Expected {
        Command command;
        bool marks_end;  // no command: the flight is released when all before it is answered
        std::size_t count;
        Flight flight;
    };
    Entry &entry(Flight flight) { return entries_[flight - first_]; }
    void pass_marks();
    void settle(Entry &entry);

    std::deque<Entry> entries_;  // flights first_, first_ + 1, ...
    Flight first_ = 1;
    std::deque<Expected> expected_;
    std::vector<Settled> settled_;
    std::size_t batches_ = 0, bytes_ = 0;
    std::uint64_t confirmed_ = 0;
    bool flushed_ = false;
};

}  // namespace cache_sync
