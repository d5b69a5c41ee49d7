// What a refresh process reads and writes of cache_sync's tables. The process is the view's owner, who has no
// rights on them, and never becomes anybody else: rows are read and written below the level where rights are
// asked for, and no SQL is run, so that there is nothing that code of the view's owner could get hold of.
//
// Plain frames: PostgreSQL errors pass through (see boundary.h).
#pragma once

#include <cstdint>
#include <optional>

#include "refresh/jobs_pg.h"
#include "refresh/row_difference_pg.h"

namespace cache_sync {

struct RegisteredView {
    bool exists;
    std::optional<bool> concurrently;  // nothing: if the view allows it
};
RegisteredView read_registration(Oid view);

// The rows of refresh_run that this process works on: those that were queued for its view, else one made for
// the reason. Kept in memory for the life of the process.
class RunHistory {
 public:
    // The rows are running, by this process. Returns the newest one's id.
    std::int64_t begin(Oid view, RefreshReason reason);

    void succeed(bool concurrently, const ChangedCounts &counts);
    // state: failed or canceled.
    void fail(const char *state, int sqlstate, const char *message);

 private:
    void remember(std::int64_t run);

    std::int64_t *runs_ = nullptr;
    int count_ = 0;
    int room_ = 0;
};

}  // namespace cache_sync
