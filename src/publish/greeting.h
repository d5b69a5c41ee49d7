// The first words with a server: who we are, which server it is, whether it has the library of functions.
//
//   AUTH, SELECT, INFO, FUNCTION LIST  -->  [FUNCTION LOAD] cs_stat, probe  -->  done: functions or unlink
//
// The probe is cs_arm without arguments: it changes nothing, and its complaint proves that we may call it.
//
// Each arrow is one round trip. A server that knows no functions, or does not let us use them, ends in mode
// unlink; all other errors end the connection, for they may pass.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

#include "publish/reply.h"
#include "publish/target_config.h"

namespace cache_sync {

class Greeting {
 public:
    enum class Step { more, done, failed };

    // `config` and `library` must outlive the greeting.
    Greeting(const TargetConfig &config, int database, std::string_view library);

    // Appends the first commands to `out`.
    void begin(std::string &out);
    // Takes the next reply; may append commands.
    Step take(const redisReply &reply, std::string &out);

    TargetMode mode() const { return mode_; }              // once done
    const std::string &run_id() const { return run_id_; }  // empty if the server does not tell
    // The epoch under which the node was armed last; 0 if it remembers none.
    std::uint64_t node_epoch() const { return node_epoch_; }
    const std::string &error() const { return error_; }  // once failed

 private:
    enum class Asked { auth, select, server_info, replication_info, list, load, stat, probe };

    void ask_auth(std::string &out);
    Step take_answer(Asked asked, const redisReply &reply, std::string &out);
    Step take_server_info(const redisReply &reply);
    Step take_replication_info(const redisReply &reply);
    Step take_list(const redisReply &reply, std::string &out);
    Step take_load(const redisReply &reply);
    Step take_stat(const redisReply &reply);
    Step take_probe(const redisReply &reply);
    Step done(TargetMode mode);
    Step fail(std::string_view what, std::string_view text);

    const TargetConfig &config_;
    const int database_;
    const std::string_view library_;
    std::deque<Asked> asked_;
    TargetMode mode_;
    bool load_refused_ = false;
    std::uint64_t node_epoch_ = 0;
    std::string run_id_, error_;
};

}  // namespace cache_sync
