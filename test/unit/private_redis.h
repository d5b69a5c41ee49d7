// A real Redis or Valkey server of the test's own, on a unix socket in a directory of its own.
#pragma once

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "publish/reply.h"

namespace cache_sync {

class PrivateRedis {
 public:
    explicit PrivateRedis(std::string program) : program_(std::move(program)) {
        char pattern[] = "/tmp/cache_sync_test.XXXXXX";
        if (mkdtemp(pattern) == nullptr)
            throw std::runtime_error("mkdtemp");
        directory_ = pattern;
        start();
    }
    ~PrivateRedis() {
        kill();
        std::filesystem::remove_all(directory_);
    }
    PrivateRedis(const PrivateRedis &) = delete;
    PrivateRedis &operator=(const PrivateRedis &) = delete;

    std::string socket_path() const { return directory_ + "/socket"; }
    std::string url(int database = 0) const {
        return "unix:" + socket_path() + "?db=" + std::to_string(database);
    }

    void start() {
        pid_ = fork();
        if (pid_ == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            const int log = ::open((directory_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
            dup2(log, STDOUT_FILENO);
            dup2(log, STDERR_FILENO);
            execlp(program_.c_str(), program_.c_str(), "--port", "0", "--unixsocket", socket_path().c_str(),
                   "--dir", directory_.c_str(), "--save", "", "--appendonly", "no", nullptr);
            _exit(127);
        }
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
        while (!connect()) {
            if (waitpid(pid_, nullptr, WNOHANG) == pid_ || std::chrono::steady_clock::now() > end)
                throw std::runtime_error(program_ + " did not start");
            poll(nullptr, 0, 10);
        }
    }

    void kill() { stop(SIGKILL); }
    void suspend() { ::kill(pid_, SIGSTOP); }
    void resume() { ::kill(pid_, SIGCONT); }

    // Sends a command on a connection of the test; throws when that breaks.
    Reply command(const std::vector<std::string> &words) {
        std::vector<const char *> texts;
        std::vector<std::size_t> lengths;
        for (const auto &word : words) {
            texts.push_back(word.data());
            lengths.push_back(word.size());
        }
        Reply reply(static_cast<redisReply *>(
            redisCommandArgv(context_.get(), static_cast<int>(words.size()), texts.data(), lengths.data())));
        if (!reply)
            throw std::runtime_error(context_->errstr);
        return reply;
    }
    long long number(const std::vector<std::string> &words) { return command(words)->integer; }
    std::string text(const std::vector<std::string> &words) { return std::string(text_of(*command(words))); }

 private:
    struct FreeContext {
        void operator()(redisContext *context) const { redisFree(context); }
    };

    bool connect() {
        context_.reset(redisConnectUnix(socket_path().c_str()));
        if (!context_ || context_->err != 0)
            return false;
        return text({"PING"}) == "PONG";
    }

    void stop(int signal) {
        if (pid_ <= 0)
            return;
        ::kill(pid_, signal);
        waitpid(pid_, nullptr, 0);
        pid_ = -1;
        context_.reset();
    }

    std::string program_, directory_;
    pid_t pid_ = -1;
    std::unique_ptr<redisContext, FreeContext> context_;
};

}  // namespace cache_sync
