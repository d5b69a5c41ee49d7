#include "publish/redis_link.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace cache_sync {
namespace {

// Handed to hiredis at a time: it moves what is left of it after each partial write.
constexpr std::size_t kWriteSlice = std::size_t{256} << 10;
constexpr std::size_t kHiredisRead = std::size_t{16} << 10;  // what hiredis reads at a time
constexpr int kKeepAliveSeconds = 15;

}  // namespace

RedisLink::RedisLink(redisContext *context) : context_(context) {
    if (!context_) {
        fail("out of memory");
    } else if (context_->err != 0) {
        fail_with_context();
    } else {
        fcntl(context_->fd, F_SETFD, FD_CLOEXEC);
        limit_reader();
    }
}

RedisLink::~RedisLink() = default;

std::unique_ptr<RedisLink> RedisLink::open(const Endpoint &endpoint) {
    redisOptions options{};
    options.options = REDIS_OPT_NONBLOCK | REDIS_OPT_NO_PUSH_AUTOFREE;
    if (endpoint.is_unix())
        REDIS_OPTIONS_SET_UNIX(&options, endpoint.socket_path.c_str());
    else
        REDIS_OPTIONS_SET_TCP(&options, endpoint.host.c_str(), endpoint.port);
    std::unique_ptr<RedisLink> link(new RedisLink(redisConnectWithOptions(&options)));
    if (!endpoint.is_unix() && !link->is_broken()) {
        redisEnableKeepAliveWithInterval(link->context_.get(), kKeepAliveSeconds);
        link->context_->err = 0;  // keeping alive is a favour, not a need
    }
    return link;
}

std::unique_ptr<RedisLink> RedisLink::adopt(int socket) {
    fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
    redisOptions options{};
    options.options = REDIS_OPT_NONBLOCK | REDIS_OPT_NO_PUSH_AUTOFREE;
    options.type = REDIS_CONN_USERFD;
    options.endpoint.fd = socket;
    return std::unique_ptr<RedisLink>(new RedisLink(redisConnectWithOptions(&options)));
}

// The functions of hiredis, but with an eye on the size: it frees nested replies recursively, so a small
// deeply nested one could use up the stack.
void RedisLink::limit_reader() {
    redisReader *reader = context_->reader;
    plain_functions_ = reader->fn;
    functions_ = *reader->fn;
    functions_.createArray = create_array;
    reader->fn = &functions_;
    reader->privdata = this;
    reader->maxelements = kMaxReplyElements;
}

void *RedisLink::create_array(const redisReadTask *task, std::size_t elements) {
    auto *link = static_cast<RedisLink *>(task->privdata);
    int depth = 1;
    for (const redisReadTask *outer = task->parent; outer != nullptr; outer = outer->parent)
        ++depth;
    link->usage_.elements += static_cast<long long>(elements);
    if (depth > kMaxReplyDepth || link->usage_.elements > kMaxReplyElements) {
        link->usage_.exceeded = true;
        return nullptr;
    }
    return link->plain_functions_->createArray(task, elements);
}

int RedisLink::socket() const {
    return context_ ? context_->fd : -1;
}

bool RedisLink::finish_connect() {
    int result = 0;
    socklen_t length = sizeof(result);
    if (getsockopt(socket(), SOL_SOCKET, SO_ERROR, &result, &length) != 0)
        result = errno;
    if (result != 0)
        fail(std::strerror(result));
    return !is_broken();
}

bool RedisLink::has_output() const {
    return handing_over_ || sent_ < output_.size();
}

void RedisLink::write() {
    while (!is_broken() && has_output()) {
        if (!handing_over_) {
            const std::size_t size = std::min(kWriteSlice, output_.size() - sent_);
            if (redisAppendFormattedCommand(context_.get(), output_.data() + sent_, size) != REDIS_OK)
                return fail_with_last_words();
            sent_ += size;
        }
        int done = 0;
        if (redisBufferWrite(context_.get(), &done) != REDIS_OK)
            return fail_with_last_words();
        handing_over_ = done == 0;
        if (handing_over_)
            break;
    }
    if (sent_ == output_.size()) {
        output_.clear();
        if (output_.capacity() > (std::size_t{1} << 20))
            output_.shrink_to_fit();
        sent_ = 0;
    }
}

std::size_t RedisLink::read() {
    std::size_t total = 0;
    while (!is_broken() && total < kReadBudget) {
        const std::size_t before = context_->reader->len;
        const int result = redisBufferRead(context_.get());
        const std::size_t came = context_->reader->len - before;
        total += came;
        if (result != REDIS_OK)
            fail_with_context();
        else if (came < kHiredisRead)
            break;
    }
    usage_.bytes += total;
    return total;
}

Reply RedisLink::next_reply() {
    void *reply = nullptr;
    if (context_->reader->err != 0)
        return nullptr;
    const int result = redisReaderGetReply(context_->reader, &reply);
    if (usage_.exceeded || (reply == nullptr && usage_.bytes > kMaxReplyBytes)) {
        fail("a reply is larger than anything that was asked for");
        return nullptr;
    }
    if (result != REDIS_OK) {
        fail(std::string("not a Redis server: ") + context_->reader->errstr);
        return nullptr;
    }
    if (reply != nullptr)
        usage_ = {context_->reader->len - context_->reader->pos, 0, false};
    return Reply(static_cast<redisReply *>(reply));
}

// A server that closes may have said why; the replies are still to be had.
void RedisLink::fail_with_last_words() {
    std::string text = context_->errstr;
    context_->err = 0;
    redisBufferRead(context_.get());
    fail(std::move(text));
}

// Keeps the first error: what follows is its consequence.
void RedisLink::fail(std::string text) {
    if (error_.empty())
        error_ = std::move(text);
}

void RedisLink::fail_with_context() {
    if (context_->err == REDIS_ERR_EOF)
        fail("the server closed the connection");
    else
        fail(context_->errstr[0] != '\0' ? context_->errstr : "unknown error");
}

}  // namespace cache_sync
