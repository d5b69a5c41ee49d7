// What a target is told when it is (re)connected, and what the database remembers of it:
// cache_sync.target_state and the durable counter of epochs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace cache_sync {

struct JoinOrder {
    std::uint64_t epoch;
    std::uint64_t lsn;
    bool flush;
};

// Counts the epoch up and decides whether the target must be flushed: it is new, the timeline or the database
// system changed since it was last seen, Redis restarted (it may have come back with old data), or it was
// owed a flush. The flush stays owed until note_flushed(). Needs a transaction; throws PgError.
JoinOrder join_target(std::uint32_t server, const std::string &run_id);
void note_flushed(std::uint32_t server);
// These targets are to be flushed when they are back.
void owe_flush(const std::vector<std::uint32_t> &servers);
// Forgets targets that do not exist any more.
void forget_dropped_targets();

}  // namespace cache_sync
