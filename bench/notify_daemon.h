#pragma once

#include <atomic>
#include <string>
#include <thread>

namespace cache_sync::bench {

// The usual companion of pg_notify: listens on channel "cache" and removes the keys that arrive, all that
// have arrived by then with one UNLINK. Listens when the constructor returns.
class NotifyDaemon {
 public:
    NotifyDaemon(const std::string &conninfo, int redis_port);
    ~NotifyDaemon();
    NotifyDaemon(const NotifyDaemon &) = delete;
    NotifyDaemon &operator=(const NotifyDaemon &) = delete;

 private:
    std::jthread thread_;
};

}  // namespace cache_sync::bench
