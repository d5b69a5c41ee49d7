#include "publish/ledger.h"

#include <utility>

namespace cache_sync {

Ledger::Flight Ledger::open(std::shared_ptr<const Batch> batch, bool flush) {
    if (batch) {
        ++batches_;
        bytes_ += batch->bytes();
    }
    entries_.push_back({std::move(batch), flush, 1});
    return first_ + entries_.size() - 1;
}

void Ledger::release(Flight flight) {
    Entry &released = entry(flight);
    if (--released.open_ends == 0)
        settle(released);
}

void Ledger::release_later(Flight flight) {
    if (expected_.empty())
        release(flight);
    else
        expected_.push_back({Command::scan, true, 0, flight});
}

void Ledger::expect(Command command, Flight flight, std::size_t count) {
    if (count == 0)
        return;
    expected_.push_back({command, false, count, flight});
    if (flight != 0)
        entry(flight).open_ends += count;
}

void Ledger::answered() {
    Expected &front = expected_.front();
    const Flight flight = front.flight;
    if (--front.count == 0)
        expected_.pop_front();
    if (flight != 0)
        release(flight);
    pass_marks();
}

void Ledger::pass_marks() {
    while (!expected_.empty() && expected_.front().marks_end) {
        const Flight flight = expected_.front().flight;
        expected_.pop_front();
        release(flight);
    }
}

void Ledger::settle(Entry &entry) {
    if (entry.batch) {
        --batches_;
        bytes_ -= entry.batch->bytes();
        ++confirmed_;
        settled_.push_back({std::move(entry.batch), true});
    }
    flushed_ = flushed_ || entry.flush;
    for (; !entries_.empty() && entries_.front().open_ends == 0; ++first_)
        entries_.pop_front();
}

void Ledger::abandon() {
    for (Entry &entry : entries_)
        if (entry.batch)
            settled_.push_back({std::move(entry.batch), false});
    first_ += entries_.size();
    entries_.clear();
    expected_.clear();
    batches_ = bytes_ = 0;
    confirmed_ = 0;
}

std::vector<Settled> Ledger::take_settled() {
    return std::exchange(settled_, {});
}

bool Ledger::take_flushed() {
    return std::exchange(flushed_, false);
}

}  // namespace cache_sync
