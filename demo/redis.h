#pragma once

#include <hiredis/hiredis.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cache_sync::demo {

struct FreeReply {
    void operator()(redisReply *reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

inline std::string_view text_of(const redisReply &reply) {
    return {reply.str, reply.len};
}

// One connection to Redis or Valkey, used by one thread at a time. A lost connection and an error reply both
// throw std::runtime_error: in the demo neither is expected.
class Redis {
 public:
    Redis(const std::string &host, int port);

    Reply run(const std::vector<std::string_view> &arguments);
    // Pipelining: send any number of commands, then fetch as many replies, in order.
    void send(const std::vector<std::string_view> &arguments);
    Reply fetch();

 private:
    struct Close {
        void operator()(redisContext *context) const { redisFree(context); }
    };
    std::unique_ptr<redisContext, Close> context_;
};

}  // namespace cache_sync::demo
