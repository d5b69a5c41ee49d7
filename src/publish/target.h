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
// The process must ignore SIGPIPE.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "clock.h"
#include "publish/announcement.h"
#include "publish/backoff.h"
#include "publish/batch.h"
#include "publish/endpoint.h"
#include "publish/ledger.h"
#include "publish/library.h"
#include "publish/target_config.h"
#include "publish/walk.h"
#include "publish/wording.h"

struct redisReply;

namespace cache_sync {

class Greeting;
class RedisLink;

enum class TargetState : std::uint8_t { paused, waiting, connecting, greeting, arming, live };

struct Arming {
    std::uint64_t epoch;  // timeline * 2^32 + durable connection counter
    std::uint64_t lsn;
    std::string done;                         // text of the published snapshot, or empty
    bool flush;                               // everything of this source becomes invalid
    std::vector<std::string> flush_patterns;  // with flush: globs of plain keys to remove, without prefix
};

class Target {
 public:
    // The window of unconfirmed batches: can_take() is false while one of these is reached.
    static constexpr std::size_t kMaxBatchesInFlight = 64;
    static constexpr std::size_t kMaxBytesInFlight = std::size_t{4} << 20;
    // A connection that was live for so long was a success, even if nothing was published.
    static constexpr Milliseconds kSettledAfter{1000};

    // `library` is what is loaded into the server if it has none or an older one; it must outlive the target.
    explicit Target(TargetConfig config, std::uint64_t random_seed,
                    std::string_view library = shipped_library());
    ~Target();
    Target(const Target &) = delete;
    Target &operator=(const Target &) = delete;

    const TargetConfig &config() const { return config_; }
    TargetState state() const { return state_; }
    TargetMode mode() const { return mode_; }  // of the last connection that got so far

    // ---- driving ----
    void advance(TimePoint now);  // connects when due, ends what took too long
    void ready(bool readable, bool writable, TimePoint now);
    int socket() const;  // -1 without a connection
    bool wants_write() const;
    TimePoint deadline() const;  // call advance() then; kNever if there is nothing to wait for

    // Ends the connection, if there is one; the next attempt follows.
    void disconnect(std::string why, TimePoint now);

    // ---- joining ----
    bool wants_arming() const { return state_ == TargetState::arming && !order_; }  // no order was given yet
    void arm(const Arming &order, TimePoint now);
    // What Redis said of itself in the greeting; changes when it restarted. Empty before the first greeting.
    const std::string &run_id() const { return run_id_; }
    // Did a flush ordered by arm() or by a batch finish since the last call?
    bool take_flushed() { return ledger_.take_flushed(); }

    // ---- publishing ----
    // Live, and the window of unconfirmed batches has room?
    bool can_take() const;
    void publish(std::shared_ptr<const Batch> batch, TimePoint now);
    // What a batch that flushes removes beside the entries of the protocol: globs of plain keys, without
    // prefix.
    void set_flush_patterns(std::vector<std::string> patterns) { flush_patterns_ = std::move(patterns); }
    bool wants_heartbeat(TimePoint now) const;  // live, Functions, and heartbeat elapsed since the last arm
    void heartbeat(std::uint64_t lsn, const std::string &done, TimePoint now);
    std::size_t in_flight() const { return ledger_.batches(); }  // batches not settled yet
    // In any order: a batch with patterns takes longer than those after it.
    std::vector<Settled> take_settled() { return ledger_.take_settled(); }

    // ---- showing ----
    const std::string &last_error() const { return last_error_; }  // ASCII; never holds a secret
    std::uint64_t error_count() const { return error_count_; }
    // Attempts to connect; another number means another socket, even if the descriptor is the same.
    std::uint64_t connection_count() const { return connection_count_; }
    bool tags_lost() const { return tags_lost_; }  // in mode unlink a batch was published without its tags
    // Failed so often in a row that only rare attempts are made?
    bool circuit_open() const { return state_ != TargetState::live && backoff_.is_open(); }
    TimePoint next_attempt() const { return next_attempt_; }  // while waiting
    TimePoint live_since() const { return live_since_; }      // while live

 private:
    // target.cpp: the states
    void connect(TimePoint now);
    void begin_greeting(TimePoint now);
    void take_greeting(const redisReply &reply, TimePoint now);
    void go_live(TimePoint now);
    void fail(std::string text, TimePoint now);
    void fail_if_late(TimePoint now);
    void pump(TimePoint now);
    void receive(TimePoint now);
    void take_replies(TimePoint now);
    void take_reply(const redisReply &reply, TimePoint now);

    // target_replies.cpp: replies while arming and live
    void take_answer(const redisReply &reply, TimePoint now);
    void take_error(Command command, const redisReply &reply, TimePoint now);
    void take_refused_announcement(Command command, const redisReply &reply);
    void take_armed(const redisReply &reply, TimePoint now);
    void take_keys(const redisReply &reply, TimePoint now);
    void remove_keys(const Walk &walk, const redisReply &keys);
    std::string error_text(Command command, const redisReply &reply) const;

    // target_publish.cpp: commands
    std::string &output();
    bool has_functions() const { return mode_ == TargetMode::functions; }
    void begin_waiting(TimePoint now);
    void send_arm(std::uint64_t lsn, bool flush, Ledger::Flight flight, TimePoint now);
    void send_content(const Batch &batch, bool flush, Ledger::Flight flight, TimePoint now);
    void announce_batch(const Batch &batch, Ledger::Flight flight);
    void announce(Names keys, std::string_view prefix, Names tags, std::uint64_t lsn, std::uint64_t number,
                  Ledger::Flight flight);
    void add_walks(const std::vector<std::string_view> &globs, Ledger::Flight owner, std::uint64_t lsn,
                   std::uint64_t number);
    void go_on_walking();

    const TargetConfig config_;
    const std::string_view library_;
    const std::variant<Endpoint, EndpointError> endpoint_;
    const Wording wording_;
    TargetState state_;
    TargetMode mode_ = TargetMode::unknown;
    Backoff backoff_;

    std::unique_ptr<RedisLink> link_;
    std::unique_ptr<Greeting> greeting_;
    Session session_;
    std::optional<Arming> order_;  // of this connection
    Ledger::Flight arming_flush_ = 0;
    std::uint64_t armed_epoch_ = 0;  // the newest that a node took from us
    bool node_missed_ = false;       // the node remembers an older one: it was away, and then came back
    std::string last_done_;          // the newest published snapshot that the node was told
    std::string run_id_;
    std::string node_run_id_;  // of the server that session_.node_id was made for, in mode unlink
    Ledger ledger_;
    WalkQueue walks_;
    std::vector<std::string> flush_patterns_;

    TimePoint next_attempt_{};
    TimePoint phase_deadline_ = kNever;  // of connecting, greeting, arming
    TimePoint activity_{};               // a byte came, or the first of what is in flight was sent
    TimePoint live_since_{};
    TimePoint last_arm_{};
    TimePoint beat_asked_{};  // advance() has told of the heartbeat that is due

    // Reused from batch to batch.
    std::vector<std::string_view> names_, tags_;
    JsonArray json_keys_, json_tags_;

    std::string last_error_;
    std::uint64_t error_count_ = 0, connection_count_ = 0;
    bool tags_lost_ = false;
};

}  // namespace cache_sync
