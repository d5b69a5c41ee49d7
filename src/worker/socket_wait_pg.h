// Waits for the latch of this process and for any number of sockets at once.
#pragma once

#include <cstdint>
#include <vector>

#include "pg.h"

extern "C" {
#include "storage/latch.h"
}

namespace cache_sync {

struct WaitedSocket {
    int fd;
    bool writable;             // wait for room to write too; reading is always waited for
    std::uint64_t connection;  // tells a new connection from an old one with the same fd
    bool operator==(const WaitedSocket &) const = default;
};

struct ReadySocket {
    int fd;
    bool readable, writable;
};

class SocketWait {
 public:
    // Waits until the latch is set (and resets it), a socket is ready or timeout_ms passed (-1: none). A deaf
    // wait leaves the latch alone: whoever sets it meanwhile is spared a system call, and the next wait sees
    // it. Ends the process if the postmaster dies. Throws PgError.
    std::vector<ReadySocket> wait(const std::vector<WaitedSocket> &sockets, long timeout_ms, bool deaf);

 private:
    void rebuild(const std::vector<WaitedSocket> &sockets);

    WaitEventSet *set_ = nullptr;  // lives as long as the process
    std::vector<WaitedSocket> waited_;
};

}  // namespace cache_sync
