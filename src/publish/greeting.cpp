#include "publish/greeting.h"

#include "publish/command.h"
#include "publish/library.h"

namespace cache_sync {
namespace {

// The value of `name` in an answer of INFO: lines of name:value.
std::string_view info_value(std::string_view info, std::string_view name) {
    for (std::size_t at = 0; (at = info.find(name, at)) != std::string_view::npos; at += name.size()) {
        const bool starts_line = at == 0 || info[at - 1] == '\n';
        const std::size_t colon = at + name.size();
        if (!starts_line || colon >= info.size() || info[colon] != ':')
            continue;
        const std::string_view rest = info.substr(colon + 1);
        return rest.substr(0, rest.find_first_of("\r\n"));
    }
    return {};
}

// Server's run ids are 40 hexadecimal digits; nothing else gets into the database.
bool is_run_id(std::string_view text) {
    return !text.empty() && text.size() <= 64 &&
           text.find_first_not_of("0123456789abcdefABCDEF") == text.npos;
}

// The code of the library in the answer of FUNCTION LIST; nothing if it is not there.
std::string_view library_code(const redisReply &list) {
    for (std::size_t n = 0; n < list.elements; ++n) {
        const redisReply &library = *list.element[n];
        for (std::size_t field = 0; is_array(library) && field + 1 < library.elements; field += 2)
            if (text_of(*library.element[field]) == "library_code")
                return text_of(*library.element[field + 1]);
    }
    return {};
}

}  // namespace

Greeting::Greeting(const TargetConfig &config, int database, std::string_view library)
    : config_(config), database_(database), library_(library), mode_(TargetMode::unknown) {}

void Greeting::begin(std::string &out) {
    ask_auth(out);
    if (database_ != 0) {
        write_command(out, {"SELECT", Decimal(static_cast<std::uint64_t>(database_))});
        asked_.push_back(Asked::select);
    }
    // Two commands, for old servers take one section only.
    write_command(out, {"INFO", "server"});
    asked_.push_back(Asked::server_info);
    write_command(out, {"INFO", "replication"});
    asked_.push_back(Asked::replication_info);
    write_command(out, {"FUNCTION", "LIST", "LIBRARYNAME", "cache_sync", "WITHCODE"});
    asked_.push_back(Asked::list);
}

void Greeting::ask_auth(std::string &out) {
    if (config_.user.empty() && config_.password.empty())
        return;
    if (config_.user.empty())
        write_command(out, {"AUTH", config_.password});
    else
        write_command(out, {"AUTH", config_.user, config_.password});
    asked_.push_back(Asked::auth);
}

Greeting::Step Greeting::take(const redisReply &reply, std::string &out) {
    if (asked_.empty())
        return fail("greeting", "a reply without a command");
    const Asked asked = asked_.front();
    asked_.pop_front();
    return take_answer(asked, reply, out);
}

Greeting::Step Greeting::take_answer(Asked asked, const redisReply &reply, std::string &out) {
    switch (asked) {
        case Asked::auth:
        case Asked::select:
            if (!is_status(reply) || text_of(reply) != "OK")
                return fail(asked == Asked::auth ? "AUTH" : "SELECT", text_of(reply));
            return Step::more;
        case Asked::server_info:
            return take_server_info(reply);
        case Asked::replication_info:
            return take_replication_info(reply);
        case Asked::list:
            return take_list(reply, out);
        case Asked::load:
            return take_load(reply);
        case Asked::stat:
            return take_stat(reply);
        case Asked::probe:
            return take_probe(reply);
    }
    return Step::more;
}

// A user without the right to see INFO can still publish: it is only not known then when the server
// restarted.
Greeting::Step Greeting::take_server_info(const redisReply &reply) {
    if (is_error(reply))
        return has_code(reply, "NOPERM") ? Step::more : fail("INFO", text_of(reply));
    if (!is_string(reply) && reply.type != REDIS_REPLY_VERB)
        return fail("INFO", "unexpected reply");
    const std::string_view info = {reply.str, reply.len};
    if (info_value(info, "redis_mode") == "cluster")
        return fail("the target is", "a node of a cluster, which is not supported yet");
    if (const std::string_view run_id = info_value(info, "run_id"); is_run_id(run_id))
        run_id_ = run_id;
    return Step::more;
}

// A replica would take cs_arm, and then refuse to write.
Greeting::Step Greeting::take_replication_info(const redisReply &reply) {
    if (info_value(text_of(reply), "role") == "slave")
        return fail("the target is", "a replica; the url must name the primary");
    return Step::more;
}

Greeting::Step Greeting::take_list(const redisReply &reply, std::string &out) {
    if (is_unknown_command(reply))
        return done(TargetMode::unlink);
    if (has_code(reply, "NOPERM"))
        load_refused_ = true;  // somebody else may have loaded the library for us
    else if (!is_array(reply))
        return fail("FUNCTION LIST", is_error(reply) ? text_of(reply) : "unexpected reply");
    const std::string_view code = is_array(reply) ? library_code(reply) : std::string_view();
    if (!load_refused_ && code.empty()) {
        // Without REPLACE: had another publisher loaded it meanwhile, the node would forget that it armed it.
        write_command(out, {"FUNCTION", "LOAD", library_});
        asked_.push_back(Asked::load);
    } else if (!load_refused_ && library_version(code).value_or(0) < library_version(library_).value_or(0)) {
        write_command(out, {"FUNCTION", "LOAD", "REPLACE", library_});
        asked_.push_back(Asked::load);
    }
    write_command(out, {"FCALL_RO", "cs_stat", "0", config_.source});
    asked_.push_back(Asked::stat);
    write_command(out, {"FCALL", "cs_arm", "0"});
    asked_.push_back(Asked::probe);
    return Step::more;
}

Greeting::Step Greeting::take_load(const redisReply &reply) {
    if (has_code(reply, "NOPERM"))
        load_refused_ = true;
    else if (is_error(reply) && !text_of(reply).starts_with("ERR Library 'cache_sync' already exists"))
        return fail("FUNCTION LOAD", text_of(reply));
    return Step::more;
}

// The right to ask is not needed to publish, so an error says nothing.
Greeting::Step Greeting::take_stat(const redisReply &reply) {
    if (is_array(reply) && reply.elements >= 2 && !text_of(*reply.element[0]).empty() &&
        is_integer(*reply.element[1]))
        node_epoch_ = static_cast<std::uint64_t>(reply.element[1]->integer);
    return Step::more;
}

Greeting::Step Greeting::take_probe(const redisReply &reply) {
    if (is_error(reply) && text_of(reply).starts_with("ERR cs_arm"))
        return done(TargetMode::functions);
    const bool forbidden = has_code(reply, "NOPERM") || is_unknown_command(reply);
    if (forbidden || (load_refused_ && is_function_missing(reply)))
        return done(TargetMode::unlink);
    return fail("FCALL cs_arm", is_error(reply) ? text_of(reply) : "unexpected reply");
}

Greeting::Step Greeting::done(TargetMode mode) {
    mode_ = mode;
    return Step::done;
}

Greeting::Step Greeting::fail(std::string_view what, std::string_view text) {
    error_ =
        std::string(what) + ": " + readable_text(text.empty() ? "unexpected reply" : text, config_.password);
    return Step::failed;
}

}  // namespace cache_sync
