// One connection: a non-blocking hiredis context, a buffer of what is to be sent, and limits to what a
// hostile or broken server can make us hold.
//
// The process must ignore SIGPIPE, as all processes of PostgreSQL do.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "publish/endpoint.h"
#include "publish/reply.h"

namespace cache_sync {

class RedisLink {
 public:
    // A reply may take so many bytes, elements in all, and arrays within arrays.
    static constexpr std::size_t kMaxReplyBytes = std::size_t{8} << 20;
    static constexpr long long kMaxReplyElements = 200'000;
    static constexpr int kMaxReplyDepth = 8;
    // What one call of read() takes at most.
    static constexpr std::size_t kReadBudget = std::size_t{64} << 10;

    // Begins to connect. Does not wait for the server (only the resolver may take its time for a host name).
    // Look at is_broken() afterwards.
    static std::unique_ptr<RedisLink> open(const Endpoint &endpoint);
    // Takes over a connected socket.
    static std::unique_ptr<RedisLink> adopt(int socket);
    ~RedisLink();
    RedisLink(const RedisLink &) = delete;
    RedisLink &operator=(const RedisLink &) = delete;

    int socket() const;  // -1 if there is none
    // To be called when the socket of a new connection is writable: did it work? If not, the link is broken.
    bool finish_connect();

    // Commands to be sent are appended here; write() sends them.
    std::string &output() { return output_; }
    bool has_output() const;
    // Sends what the socket takes.
    void write();
    // Reads what is there, within the budget. Returns how many bytes came.
    std::size_t read();
    // The next whole reply; null if there is none yet. Replies that came before the link broke are still
    // given.
    Reply next_reply();

    bool is_broken() const { return !error_.empty(); }
    const std::string &error() const { return error_; }  // empty while all is well

 private:
    // What one reply has used up so far; the reader's callbacks see it.
    struct Usage {
        std::size_t bytes = 0;  // fed to the reader since the last whole reply, at most
        long long elements = 0;
        bool exceeded = false;
    };
    explicit RedisLink(redisContext *context);
    static void *create_array(const redisReadTask *task, std::size_t elements);
    void limit_reader();
    void fail(std::string text);
    void fail_with_context();
    void fail_with_last_words();

    struct FreeContext {
        void operator()(redisContext *context) const { redisFree(context); }
    };
    redisReplyObjectFunctions functions_{};                 // outlive the context
    redisReplyObjectFunctions *plain_functions_ = nullptr;  // of hiredis
    std::unique_ptr<redisContext, FreeContext> context_;
    std::string output_;
    std::size_t sent_ = 0;       // of output_
    bool handing_over_ = false;  // hiredis holds a part that it could not send yet
    Usage usage_;
    std::string error_;
};

}  // namespace cache_sync
