#include "redis.h"

#include <stdexcept>

namespace cache_sync::demo {

Redis::Redis(const std::string &host, int port) : context_(redisConnect(host.c_str(), port)) {
    if (context_ == nullptr || context_->err != 0) {
        throw std::runtime_error("cannot connect to Redis at " + host + ":" + std::to_string(port) + ": " +
                                 (context_ == nullptr ? "out of memory" : context_->errstr));
    }
}

Reply Redis::run(const std::vector<std::string_view> &arguments) {
    send(arguments);
    return fetch();
}

void Redis::send(const std::vector<std::string_view> &arguments) {
    std::vector<const char *> words;
    std::vector<std::size_t> lengths;
    for (const std::string_view argument : arguments) {
        words.push_back(argument.data());
        lengths.push_back(argument.size());
    }
    if (redisAppendCommandArgv(context_.get(), static_cast<int>(words.size()), words.data(),
                               lengths.data()) != REDIS_OK) {
        throw std::runtime_error(std::string("Redis: ") + context_->errstr);
    }
}

Reply Redis::fetch() {
    void *raw = nullptr;
    if (redisGetReply(context_.get(), &raw) != REDIS_OK || raw == nullptr) {
        throw std::runtime_error(std::string("Redis: ") + context_->errstr);
    }
    Reply reply(static_cast<redisReply *>(raw));
    if (reply->type == REDIS_REPLY_ERROR) {
        throw std::runtime_error("Redis: " + std::string(text_of(*reply)));
    }
    return reply;
}

}  // namespace cache_sync::demo
