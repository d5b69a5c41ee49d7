// Walks over the keys of a target, one after another: SCAN MATCH glob, slice by slice.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "publish/ledger.h"

namespace cache_sync {

struct Walk {
    std::string glob;                    // without the prefix
    std::vector<Ledger::Flight> owners;  // flights that it holds
    std::uint64_t lsn, batch;            // the highest of its owners
    std::string cursor = "0";            // where it goes on; "0" at first
    bool started = false;
    bool asked = false;  // a SCAN of it is in flight
};

// Leaves out the globs that find nothing which another one does not find: "a:*:b" beside "a:*". Each walk
// goes through all keys of the server, so this is worth it. The texts must outlive the result.
std::vector<std::string_view> without_covered(const std::vector<std::string_view> &globs);

class WalkQueue {
 public:
    // Has every key that matches `glob` found for `owner`. A walk over the same glob that did not start yet
    // does for both.
    void add(std::string_view glob, Ledger::Flight owner, std::uint64_t lsn, std::uint64_t batch);
    bool empty() const { return walks_.empty(); }
    Walk &front() { return walks_.front(); }
    void pop() { walks_.pop_front(); }
    void clear() { walks_.clear(); }

 private:
    std::deque<Walk> walks_;
};

}  // namespace cache_sync
