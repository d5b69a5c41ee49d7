// One Redis or Valkey endpoint: its connection, its state, what is in flight.
//
//            due                    connected              library there            epoch given
//  waiting ------> connecting ------------> greeting -----------------> arming ------------------> live
//     ^                |                       |                          |                          |
//     +----------------+-----------------------+--------------------------+------ failure: backoff --+
//
//  paused: no connection at all until resumed.
//
// Nothing here waits: the owner calls advance() at deadline() at the latest, ready() when the socket is, and
// collects what happened with take_settled(). Time is a parameter. Nothing here knows PostgreSQL.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "clock.h"
#include "publish/batch.h"

namespace cache_sync {

// Where and how to connect, and what to call things there. Filled from the server's options.
struct TargetConfig {
    std::uint32_t id = 0;  // stable identity (the oid of the server)
    std::string name;
    std::string url;       // redis://host:port/db or unix:/path?db=n
    std::string user, password;
    std::string prefix;    // put before every key
    std::string source;    // <src> of the protocol
    std::string channel;   // default cs:inv:<src>
    Milliseconds connect_timeout{5000};
    Milliseconds command_timeout{5000};
    Milliseconds heartbeat{1000};
    Milliseconds max_backoff{30000};
    bool paused = false;

    bool operator==(const TargetConfig &) const = default;
};

enum class TargetState : std::uint8_t { paused, waiting, connecting, greeting, arming, live };
enum class TargetMode : std::uint8_t { unknown, functions, unlink };  // unlink: the target forbids Functions

struct Arming {
    std::uint64_t epoch;  // timeline * 2^32 + durable connection counter
    std::uint64_t lsn;
    std::string done;     // text of the published snapshot, or empty
    bool flush;           // everything of this source becomes invalid
    std::vector<std::string> flush_patterns;  // with flush: globs of plain keys to remove, without prefix
};

// A batch that the target is finished with.
struct Settled {
    std::shared_ptr<const Batch> batch;
    bool confirmed;  // false: the connection was lost first; must be sent again
};

class Target {
 public:
    explicit Target(TargetConfig config, std::uint64_t random_seed);
    ~Target();
    Target(const Target &) = delete;
    Target &operator=(const Target &) = delete;

    const TargetConfig &config() const { return config_; }
    TargetState state() const { return state_; }
    TargetMode mode() const { return mode_; }

    // ---- driving ----
    void advance(TimePoint now);  // connects when due, ends what took too long
    void ready(bool readable, bool writable, TimePoint now);
    int socket() const;           // -1 without a connection
    bool wants_write() const;
    TimePoint deadline() const;   // call advance() then; kNever if there is nothing to wait for

    // ---- joining ----
    bool wants_arming() const;    // state is arming and no order was given yet
    void arm(const Arming &order, TimePoint now);
    // What Redis said of itself in the greeting; changes when it restarted. Empty before the first greeting.
    const std::string &run_id() const { return run_id_; }
    // Did a flush ordered by arm() or by a batch finish since the last call?
    bool take_flushed();

    // ---- publishing ----
    bool can_take() const;        // live and the window of unconfirmed batches has room
    void publish(std::shared_ptr<const Batch> batch, TimePoint now);
    bool wants_heartbeat(TimePoint now) const;  // live, Functions, and heartbeat elapsed since the last arm
    void heartbeat(std::uint64_t lsn, const std::string &done, TimePoint now);
    std::size_t in_flight() const;              // batches not settled yet
    std::vector<Settled> take_settled();

    // ---- showing ----
    const std::string &last_error() const { return last_error_; }  // never holds a secret
    std::uint64_t error_count() const { return error_count_; }
    std::uint64_t connection_count() const { return connection_count_; }
    bool tags_lost() const;       // mode is unlink and a batch with tags had to be published without them
};

}  // namespace cache_sync
