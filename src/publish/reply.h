// A reply of Redis and what its error texts mean.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include <hiredis/hiredis.h>

namespace cache_sync {

struct FreeReply {
    void operator()(redisReply *reply) const { freeReplyObject(reply); }
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

inline bool is_error(const redisReply &reply) {
    return reply.type == REDIS_REPLY_ERROR;
}
inline bool is_integer(const redisReply &reply) {
    return reply.type == REDIS_REPLY_INTEGER;
}
inline bool is_array(const redisReply &reply) {
    return reply.type == REDIS_REPLY_ARRAY;
}
inline bool is_string(const redisReply &reply) {
    return reply.type == REDIS_REPLY_STRING;
}
inline bool is_status(const redisReply &reply) {
    return reply.type == REDIS_REPLY_STATUS;
}

// The bytes of a string, status or error; nothing for other types.
std::string_view text_of(const redisReply &reply);

// Is it an error whose first word is `code`?
bool has_code(const redisReply &reply, std::string_view code);
// Does the server not know this command at all?
bool is_unknown_command(const redisReply &reply);
// Did the server lose the library?
bool is_function_missing(const redisReply &reply);

// Text of a server for people: one line of bounded length in plain ASCII (right in every database encoding),
// and without `secret`, which some servers repeat in their errors.
std::string readable_text(std::string_view text, std::string_view secret = {});

}  // namespace cache_sync
