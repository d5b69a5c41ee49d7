// The part of Target that takes the replies to what was sent while arming and live.
#include <utility>

#include "publish/greeting.h"
#include "publish/redis_link.h"
#include "publish/target.h"

namespace cache_sync {
namespace {

const char *name_of(Command command, bool functions) {
    switch (command) {
        case Command::invalidate:
            return functions ? "cs_inval" : "UNLINK";
        case Command::tag:
            return "cs_tag";
        case Command::publish:
            return "PUBLISH";
        case Command::log:
            return "XADD";
        case Command::arm:
            return "cs_arm";
        case Command::scan:
            break;
    }
    return "SCAN";
}

bool has_expected_type(Command command, const redisReply &reply) {
    switch (command) {
        case Command::invalidate:
        case Command::tag:
        case Command::publish:
            return is_integer(reply);
        case Command::log:
            return is_string(reply);
        case Command::arm:
            return is_array(reply) && reply.elements >= 2 && is_string(*reply.element[1]);
        case Command::scan:
            break;
    }
    return is_array(reply) && reply.elements == 2 && is_string(*reply.element[0]) &&
           is_array(*reply.element[1]);
}

bool is_cursor(std::string_view text) {
    return !text.empty() && text.size() <= 20 && text.find_first_not_of("0123456789") == text.npos;
}

}  // namespace

void Target::take_answer(const redisReply &reply, TimePoint now) {
    const Command command = ledger_.next();
    if (is_error(reply)) {
        take_error(command, reply, now);
    } else if (!has_expected_type(command, reply)) {
        fail(std::string(name_of(command, has_functions())) + ": unexpected reply", now);
    } else if (command == Command::arm) {
        take_armed(reply, now);
    } else if (command == Command::scan) {
        take_keys(reply, now);
    } else {
        ledger_.answered();
    }
}

// In-process caches are told as a favour; what Redis holds is right without it, so this fails no batch. All
// else ends the connection: it may pass, and the batch comes again.
void Target::take_error(Command command, const redisReply &reply, TimePoint now) {
    if (command == Command::publish || command == Command::log)
        return take_refused_announcement(command, reply);
    if (has_code(reply, "ESTALE"))
        return fail("another publisher with a higher epoch is using source \"" +
                        readable_text(config_.source) + "\" on this target",
                    now);
    fail(error_text(command, reply), now);
}

void Target::take_refused_announcement(Command command, const redisReply &reply) {
    if (has_code(reply, "NOPERM") || is_unknown_command(reply))
        (command == Command::publish ? session_.may_publish : session_.may_log) = false;
    ++error_count_;
    last_error_ = "warning: in-process caches are not told: " + error_text(command, reply);
    ledger_.answered();
}

std::string Target::error_text(Command command, const redisReply &reply) const {
    return std::string(name_of(command, has_functions())) + ": " +
           readable_text(text_of(reply), config_.password);
}

void Target::take_armed(const redisReply &reply, TimePoint now) {
    const std::string_view id = text_of(*reply.element[1]);
    const bool forgotten = text_of(*reply.element[0]) == "NEW";
    // KEPT tells nothing new while live, and a flush that is on its way has set the next id already.
    if (forgotten || state_ == TargetState::arming)
        session_.node_id = id;
    ledger_.answered();
    if (state_ == TargetState::arming)
        go_live(now);
}

// One slice of a walk: its keys are invalid. The last slice lets the owners go, once its own commands are
// answered.
void Target::take_keys(const redisReply &reply, TimePoint now) {
    Walk &walk = walks_.front();
    const std::string_view cursor = text_of(*reply.element[0]);
    if (!is_cursor(cursor))
        return fail("SCAN: unexpected reply", now);
    ledger_.answered();
    walk.asked = false;
    walk.cursor = cursor;
    remove_keys(walk, *reply.element[1]);
    if (cursor == "0") {
        for (const Ledger::Flight owner : walk.owners)
            ledger_.release_later(owner);
        walks_.pop();
    }
    go_on_walking();
}

void Target::remove_keys(const Walk &walk, const redisReply &keys) {
    names_.clear();
    for (std::size_t n = 0; n < keys.elements; ++n) {
        const std::string_view key = text_of(*keys.element[n]);
        if (!key.empty() && key.starts_with(config_.prefix) && !Wording::is_log_key(key))
            names_.push_back(key);
    }
    if (names_.empty())
        return;
    ledger_.expect(Command::invalidate, 0, wording_.invalidate(output(), session_, walk.lsn, {}, names_));
    announce(names_, {}, {}, walk.lsn, walk.batch, 0);
}

}  // namespace cache_sync
