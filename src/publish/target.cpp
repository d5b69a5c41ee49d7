#include "publish/target.h"

#include <algorithm>
#include <utility>

#include "publish/greeting.h"
#include "publish/redis_link.h"

namespace cache_sync {

Target::Target(TargetConfig config, std::uint64_t random_seed, std::string_view library)
    : config_(std::move(config)),
      library_(library),
      endpoint_(parse_endpoint(config_.url)),
      wording_(config_),
      state_(config_.paused ? TargetState::paused : TargetState::waiting),
      backoff_(config_.max_backoff, random_seed) {}

Target::~Target() = default;

int Target::socket() const {
    return link_ ? link_->socket() : -1;
}

bool Target::wants_write() const {
    return link_ && (state_ == TargetState::connecting || link_->has_output());
}

TimePoint Target::deadline() const {
    switch (state_) {
        case TargetState::paused:
            return kNever;
        case TargetState::waiting:
            return next_attempt_;
        case TargetState::connecting:
        case TargetState::greeting:
        case TargetState::arming:
            return phase_deadline_;
        case TargetState::live:
            break;
    }
    TimePoint earliest = ledger_.is_waiting() ? activity_ + config_.command_timeout : kNever;
    if (has_functions() && config_.heartbeat.count() > 0)
        earliest = std::min(earliest, std::max(last_arm_, beat_asked_) + config_.heartbeat);
    return earliest;
}

void Target::advance(TimePoint now) {
    if (state_ == TargetState::waiting && now >= next_attempt_)
        connect(now);
    else if (link_)
        fail_if_late(now);
    if (wants_heartbeat(now))
        beat_asked_ = now;
}

void Target::connect(TimePoint now) {
    ++connection_count_;
    if (const auto *error = std::get_if<EndpointError>(&endpoint_))
        return fail("url: " + error->message, now);
    link_ = RedisLink::open(std::get<Endpoint>(endpoint_));
    if (link_->is_broken())
        return fail("could not connect: " + readable_text(link_->error()), now);
    state_ = TargetState::connecting;
    phase_deadline_ = now + config_.connect_timeout;
}

// Before it gives up, it reads: it may be we who are late, and the reply waits in the socket.
void Target::fail_if_late(TimePoint now) {
    const bool is_live = state_ == TargetState::live;
    const auto is_late = [&] {
        return is_live ? ledger_.is_waiting() && now >= activity_ + config_.command_timeout
                       : now >= phase_deadline_;
    };
    if (!is_late())
        return;
    const TargetState before = state_;
    if (state_ != TargetState::connecting)
        receive(now);
    if (!link_ || state_ != before || !is_late())
        return;
    if (is_live)
        return fail("no reply for " + std::to_string(config_.command_timeout.count()) + " ms", now);
    const char *phase = state_ == TargetState::connecting ? "connecting"
                        : state_ == TargetState::greeting ? "the greeting"
                                                          : "arming";
    fail(std::string(phase) + " took longer than " + std::to_string(config_.connect_timeout.count()) + " ms",
         now);
}

void Target::ready(bool readable, bool writable, TimePoint now) {
    if (!link_)
        return;
    if (state_ == TargetState::connecting) {
        if (!link_->finish_connect())
            fail("could not connect: " + readable_text(link_->error()), now);
        else if (writable)
            begin_greeting(now);
        return;
    }
    if (writable && link_->has_output()) {
        activity_ = now;  // the server takes what had to wait
        pump(now);
    }
    if (readable && link_)
        receive(now);
}

void Target::begin_greeting(TimePoint now) {
    state_ = TargetState::greeting;
    greeting_ = std::make_unique<Greeting>(config_, std::get<Endpoint>(endpoint_).database, library_);
    greeting_->begin(link_->output());
    pump(now);
}

// Sends what is to be sent. What the server said before it closed is heard first: it tells why.
void Target::pump(TimePoint now) {
    if (!link_)
        return;
    link_->write();
    if (link_->is_broken())
        take_replies(now);
}

void Target::receive(TimePoint now) {
    if (link_->read() > 0)
        activity_ = now;
    take_replies(now);
    pump(now);
}

void Target::take_replies(TimePoint now) {
    while (link_) {
        const Reply reply = link_->next_reply();
        if (!reply)
            break;
        take_reply(*reply, now);
    }
    if (link_ && link_->is_broken())
        fail(readable_text(link_->error()), now);
}

void Target::take_reply(const redisReply &reply, TimePoint now) {
    if (state_ == TargetState::greeting)
        take_greeting(reply, now);
    else if (ledger_.is_waiting())
        take_answer(reply, now);
    else
        fail(is_error(reply) ? readable_text(text_of(reply), config_.password) : "a reply without a command",
             now);
}

void Target::take_greeting(const redisReply &reply, TimePoint now) {
    const Greeting::Step step = greeting_->take(reply, link_->output());
    if (step == Greeting::Step::more)
        return;
    if (step == Greeting::Step::failed)
        return fail(greeting_->error(), now);
    mode_ = session_.mode = greeting_->mode();
    run_id_ = greeting_->run_id();
    node_missed_ = greeting_->node_epoch() != 0 && greeting_->node_epoch() < armed_epoch_;
    greeting_.reset();
    state_ = TargetState::arming;
    phase_deadline_ = kNever;  // it is the owner who is awaited now
}

void Target::arm(const Arming &order, TimePoint now) {
    if (!wants_arming())
        return;
    order_ = order;
    // Demoted and promoted again without a restart, it still has its id and lacks what went to the other node
    // meanwhile.
    if (node_missed_ && !order.flush) {
        order_->flush = true;
        order_->flush_patterns = flush_patterns_;
    }
    session_.epoch = order.epoch;
    if (!order.done.empty())
        last_done_ = order.done;
    if (order_->flush)
        arming_flush_ = ledger_.open(nullptr, true);
    if (has_functions()) {
        phase_deadline_ = now + config_.connect_timeout;
        send_arm(order.lsn, order_->flush, 0, now);
        return pump(now);
    }
    // Without functions the node keeps no id; ours is a new one when the node's memory may be another.
    if (order.flush || session_.node_id.empty() || node_run_id_ != run_id_)
        session_.node_id = make_node_id();
    node_run_id_ = run_id_;
    go_live(now);
    pump(now);
}

void Target::go_live(TimePoint now) {
    state_ = TargetState::live;
    phase_deadline_ = kNever;
    live_since_ = activity_ = now;
    const Arming &order = *order_;
    armed_epoch_ = order.epoch;
    if (!order.flush)
        return;
    announce({}, {}, {}, order.lsn, 0, 0);
    const std::vector<std::string_view> globs(order.flush_patterns.begin(), order.flush_patterns.end());
    add_walks(globs, arming_flush_, order.lsn, 0);
    ledger_.release(arming_flush_);
    go_on_walking();
}

void Target::disconnect(std::string why, TimePoint now) {
    if (link_ != nullptr)
        fail(std::move(why), now);
}

void Target::fail(std::string text, TimePoint now) {
    if (state_ == TargetState::live && (now - live_since_ >= kSettledAfter || ledger_.confirmed() > 0))
        backoff_.reset();
    ++error_count_;
    last_error_ = std::move(text);
    link_.reset();
    greeting_.reset();
    order_.reset();
    arming_flush_ = 0;
    last_done_.clear();
    session_ = {TargetMode::unknown, 0, std::move(session_.node_id), true, true};
    ledger_.abandon();
    walks_.clear();
    state_ = TargetState::waiting;
    phase_deadline_ = kNever;
    next_attempt_ = now + backoff_.next();
}

}  // namespace cache_sync
