// The part of Target that sends: batches, heartbeats, walks.
#include <utility>

#include "publish/greeting.h"
#include "publish/redis_link.h"
#include "publish/target.h"

namespace cache_sync {

std::string &Target::output() {
    return link_->output();
}

bool Target::can_take() const {
    return state_ == TargetState::live && ledger_.batches() < kMaxBatchesInFlight &&
           ledger_.bytes() < kMaxBytesInFlight;
}

void Target::publish(std::shared_ptr<const Batch> batch, TimePoint now) {
    if (state_ != TargetState::live)
        return ledger_.refuse(std::move(batch));
    begin_waiting(now);
    const bool flush = batch->flushes(config_.name);
    const Batch &content = *batch;
    const Ledger::Flight flight = ledger_.open(std::move(batch), flush);
    send_content(content, flush, flight, now);
    announce_batch(content, flight);
    std::vector<std::string_view> globs;
    for (std::size_t n = 0; n < content.pattern_count(); ++n)
        globs.push_back(content.pattern(n));
    if (flush)
        globs.insert(globs.end(), flush_patterns_.begin(), flush_patterns_.end());
    add_walks(globs, flight, content.lsn, content.number);
    go_on_walking();
    ledger_.release(flight);
    pump(now);
}

// The time of the first thing in flight counts: a server that stopped to answer must not be excused by new
// commands.
void Target::begin_waiting(TimePoint now) {
    if (!ledger_.is_waiting())
        activity_ = now;
}

// Flush first (it forgets tags), then keys, then tags.
void Target::send_content(const Batch &batch, bool flush, Ledger::Flight flight, TimePoint now) {
    if (flush && has_functions())
        send_arm(batch.lsn, true, flight, now);
    else if (flush)
        session_.node_id = make_node_id();
    names_.clear();
    for (std::size_t n = 0; n < batch.key_count(); ++n)
        names_.push_back(batch.key(n));
    ledger_.expect(Command::invalidate, flight,
                   wording_.invalidate(output(), session_, batch.lsn, config_.prefix, names_));
    tags_.clear();
    for (std::size_t n = 0; n < batch.tag_count(); ++n)
        tags_.push_back(batch.tag(n));
    if (!has_functions()) {
        tags_lost_ = tags_lost_ || !tags_.empty();
        return;
    }
    std::size_t commands = wording_.bump_tags(output(), session_, batch.lsn, tags_);
    // A walk may find nothing; the node must know the batch's LSN all the same before it grants another
    // lease.
    if (commands == 0 && names_.empty() && !flush && batch.pattern_count() > 0)
        commands = wording_.raise_watermark(output(), session_, batch.lsn);
    ledger_.expect(Command::tag, flight, commands);
}

// The keys and tags of the batch are in names_ and tags_.
void Target::announce_batch(const Batch &batch, Ledger::Flight flight) {
    if (!names_.empty() || !tags_.empty() || batch.pattern_count() > 0 || batch.flushes(config_.name))
        announce(names_, config_.prefix, tags_, batch.lsn, batch.number, flight);
}

void Target::announce(Names keys, std::string_view prefix, Names tags, std::uint64_t lsn,
                      std::uint64_t number, Ledger::Flight flight) {
    if (!session_.may_publish && !session_.may_log)
        return;
    json_keys_.clear();
    for (const std::string_view key : keys)
        json_keys_.add(prefix, key);
    json_tags_.clear();
    for (const std::string_view tag : tags)
        json_tags_.add({}, tag);
    const Announcement record{session_.epoch, session_.node_id,    lsn,
                              number,         json_keys_.finish(), json_tags_.finish()};
    if (session_.may_publish) {
        write_publish(output(), wording_.channel(), record);
        ledger_.expect(Command::publish, flight);
    }
    if (session_.may_log) {
        write_log(output(), wording_.log_key(), record);
        ledger_.expect(Command::log, flight);
    }
}

void Target::send_arm(std::uint64_t lsn, bool flush, Ledger::Flight flight, TimePoint now) {
    begin_waiting(now);
    // Always a new proposal: a node that forgot must never get an id that it had before.
    Session proposal = session_;
    proposal.node_id = make_node_id();
    wording_.arm(output(), proposal, lsn, last_done_, flush);
    ledger_.expect(Command::arm, flight);
    if (flush)
        session_.node_id = std::move(proposal.node_id);
    last_arm_ = now;
}

bool Target::wants_heartbeat(TimePoint now) const {
    return state_ == TargetState::live && has_functions() && config_.heartbeat.count() > 0 &&
           now >= last_arm_ + config_.heartbeat;
}

void Target::heartbeat(std::uint64_t lsn, const std::string &done, TimePoint now) {
    if (state_ != TargetState::live || !has_functions())
        return;
    if (!done.empty())
        last_done_ = done;
    send_arm(lsn, false, 0, now);
    pump(now);
}

void Target::add_walks(const std::vector<std::string_view> &globs, Ledger::Flight owner, std::uint64_t lsn,
                       std::uint64_t number) {
    for (const std::string_view glob : without_covered(globs)) {
        ledger_.hold(owner);
        walks_.add(glob, owner, lsn, number);
    }
}

void Target::go_on_walking() {
    if (walks_.empty() || walks_.front().asked)
        return;
    Walk &walk = walks_.front();
    walk.started = walk.asked = true;
    wording_.scan(output(), walk.cursor, walk.glob);
    ledger_.expect(Command::scan, 0);
}

}  // namespace cache_sync
