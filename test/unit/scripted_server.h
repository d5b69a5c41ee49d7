// A server that says what the test wants, on a unix socket: errors in any phase, garbage, replies byte by
// byte, silence.
//
// It runs in the test's own thread: step() lets it and the target take turns, so time is the test's too.
#pragma once

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "publish_driver.h"

namespace cache_sync {

inline std::string bulk(std::string_view text) {
    return "$" + std::to_string(text.size()) + "\r\n" + std::string(text) + "\r\n";
}

class ScriptedServer {
 public:
    using Words = std::vector<std::string>;

    ScriptedServer() {
        char pattern[] = "/tmp/cache_sync_test.XXXXXX";
        if (mkdtemp(pattern) == nullptr)
            throw std::runtime_error("mkdtemp");
        directory_ = pattern;
        listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path().c_str(), sizeof(address.sun_path) - 1);
        if (bind(listener_, reinterpret_cast<sockaddr *>(&address), sizeof(address)) != 0 ||
            listen(listener_, 8) != 0)
            throw std::runtime_error("listen");
    }
    ~ScriptedServer() {
        hang_up();
        ::close(listener_);
        std::filesystem::remove_all(directory_);
    }
    ScriptedServer(const ScriptedServer &) = delete;
    ScriptedServer &operator=(const ScriptedServer &) = delete;

    std::string path() const { return directory_ + "/socket"; }
    std::string url() const { return "unix:" + path(); }

    // What it says to a command, named "PUBLISH", "FCALL cs_inval", "FUNCTION LIST" and so on; each text is
    // said once, in order, before what it would say otherwise.
    void will_say(const std::string &command, std::string reply) {
        once_[command].push_back(std::move(reply));
    }
    void always_says(const std::string &command, std::string reply) { always_[command] = std::move(reply); }
    bool silent = false;              // takes commands, answers none
    std::string close_at;             // closes when this command comes, instead of an answer
    std::string silent_at;            // says nothing more from this command on
    std::size_t bytes_at_a_time = 0;  // 0: all at once

    const std::vector<Words> &commands() const { return commands_; }
    std::vector<std::string> names() const {
        std::vector<std::string> names;
        for (const Words &words : commands_)
            names.push_back(name_of(words));
        return names;
    }
    std::size_t count(const std::string &name) const {
        std::size_t count = 0;
        for (const Words &words : commands_)
            count += name_of(words) == name;
        return count;
    }
    // The newest command of this name.
    Words last(const std::string &name) const {
        for (auto words = commands_.rbegin(); words != commands_.rend(); ++words)
            if (name_of(*words) == name)
                return *words;
        return {};
    }
    void forget_commands() { commands_.clear(); }

    bool is_connected() const { return peer_ >= 0; }
    void say(std::string_view text) { output_ += text; }
    void hang_up() {
        if (peer_ >= 0)
            ::close(peer_);
        peer_ = -1;
        input_.clear();
        output_.clear();
    }

    // Accepts, reads, answers: whatever is possible now.
    void serve() {
        if (peer_ < 0)
            peer_ = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK);
        if (peer_ < 0)
            return;
        read_input();
        Words words;
        while (peer_ >= 0 && take_command(words))
            answer(words);
        write_output();
    }

 private:
    static std::string name_of(const Words &words) {
        if (words.size() == 3 && words[1] == "cs_arm")
            return "probe";
        const bool two = words.size() > 1 &&
                         (words[0].starts_with("FCALL") || words[0] == "FUNCTION" || words[0] == "INFO");
        return two ? words[0] + " " + words[1] : words[0];
    }

    void read_input() {
        char buffer[65536];
        for (ssize_t size; peer_ >= 0 && (size = ::read(peer_, buffer, sizeof(buffer))) != -1;) {
            if (size == 0)
                return hang_up();
            input_.append(buffer, static_cast<std::size_t>(size));
        }
    }

    // Throws on anything that is not a well-formed array of bulk strings.
    bool take_command(Words &words) {
        std::string_view rest = input_;
        const auto number = [&](char mark) -> long {
            const std::size_t end = rest.find("\r\n");
            if (end == std::string_view::npos)
                return -1;
            if (rest[0] != mark)
                throw std::runtime_error("malformed command");
            const long value = std::stol(std::string(rest.substr(1, end - 1)));
            rest.remove_prefix(end + 2);
            return value;
        };
        words.clear();
        const long count = number('*');
        for (long n = 0; n < count; ++n) {
            const long length = number('$');
            if (length < 0 || rest.size() < static_cast<std::size_t>(length) + 2)
                return false;
            words.emplace_back(rest.substr(0, static_cast<std::size_t>(length)));
            if (rest.substr(static_cast<std::size_t>(length), 2) != "\r\n")
                throw std::runtime_error("malformed word");
            rest.remove_prefix(static_cast<std::size_t>(length) + 2);
        }
        if (count < 0)
            return false;
        input_.erase(0, input_.size() - rest.size());
        return true;
    }

    void answer(const Words &words) {
        commands_.push_back(words);
        const std::string name = name_of(words);
        if (name == close_at) {
            close_at.clear();
            write_output();
            return hang_up();
        }
        silent = silent || name == silent_at;
        if (silent)
            return;
        auto &queue = once_[name];
        if (!queue.empty()) {
            output_ += queue.front();
            queue.pop_front();
        } else if (const auto reply = always_.find(name); reply != always_.end()) {
            output_ += reply->second;
        } else {
            output_ += usual(name, words);
        }
    }

    static std::string usual(const std::string &name, const Words &words) {
        if (name == "AUTH" || name == "SELECT")
            return "+OK\r\n";
        if (name == "INFO server")
            return bulk("# Server\r\nredis_version:8.0.2\r\nredis_mode:standalone\r\nrun_id:00ff\r\n");
        if (name == "INFO replication")
            return bulk("# Replication\r\nrole:master\r\n");
        if (name == "FUNCTION LIST")
            return "*0\r\n";
        if (name == "FUNCTION LOAD")
            return bulk("cache_sync");
        if (name == "FCALL_RO cs_stat")
            return "*2\r\n" + bulk("") + ":0\r\n";
        if (name == "probe")
            return "-ERR cs_arm: wrong number of arguments\r\n";
        if (name == "FCALL cs_arm")
            return "*4\r\n$3\r\nNEW\r\n" + bulk(words[5]) + ":0\r\n:1\r\n";
        if (name == "XADD")
            return bulk("1-1");
        if (name == "SCAN")
            return "*2\r\n$1\r\n0\r\n*0\r\n";
        return ":1\r\n";
    }

    void write_output() {
        if (peer_ < 0 || output_.empty())
            return;
        const std::size_t size =
            bytes_at_a_time == 0 ? output_.size() : std::min(bytes_at_a_time, output_.size());
        const ssize_t sent = ::send(peer_, output_.data(), size, MSG_NOSIGNAL);
        if (sent > 0)
            output_.erase(0, static_cast<std::size_t>(sent));
    }

    std::string directory_;
    int listener_ = -1, peer_ = -1;
    std::string input_, output_;
    std::map<std::string, std::deque<std::string>> once_;
    std::map<std::string, std::string> always_;
    std::vector<Words> commands_;
};

// A target and its server with a clock that only the test moves.
// The url of the configuration may be what follows that of the server, such as "?db=1".
class Stage {
 public:
    explicit Stage(TargetConfig config = {},
                   std::string_view library = "#!lua name=cache_sync\n-- version: 3\n")
        : target(with_server(std::move(config)), 1, library) {
        ignore_sigpipe();
    }

    // The two take turns until nothing can move any more or the condition holds; says whether it does.
    template <typename Condition>
    bool until(Condition condition, int turns = 20000) {
        for (int turn = 0, quiet = 0; turn < turns && quiet < 4; ++turn) {
            if (condition())
                return true;
            quiet = step() ? 0 : quiet + 1;
        }
        return condition();
    }
    bool until(TargetState state) {
        return until([&] { return target.state() == state; });
    }
    // Nothing moves any more.
    void settle() {
        until([] { return false; });
    }
    bool live(Arming order = {5, 7, "", false, {}}) {
        if (!until([&] { return target.wants_arming(); }))
            return false;
        target.arm(order, now);
        return until(TargetState::live);
    }
    void pass(Milliseconds time) { now += time; }
    // Lets the backoff pass.
    void come_back() { now = std::max(now, target.next_attempt()); }

    std::vector<bool> confirmations() {
        std::vector<bool> all;
        for (const Settled &settled : target.take_settled())
            all.push_back(settled.confirmed);
        return all;
    }

    ScriptedServer server;
    TimePoint now = TimePoint(std::chrono::hours(1));
    Target target;

 private:
    // One turn each. Did the socket of the target have anything?
    bool step() {
        server.serve();
        target.advance(now);
        const bool wanted = target.wants_write();
        pollfd entry{target.socket(), static_cast<short>(POLLIN | (wanted ? POLLOUT : 0)), 0};
        if (entry.fd < 0 || poll(&entry, 1, 0) <= 0)
            return false;
        target.ready((entry.revents & (POLLIN | POLLHUP | POLLERR)) != 0, (entry.revents & POLLOUT) != 0,
                     now);
        return true;
    }

    TargetConfig with_server(TargetConfig config) const {
        if (config.url.empty() || config.url[0] == '?')
            config.url = server.url() + config.url;
        if (config.name.empty())
            config.name = "main";
        if (config.source.empty())
            config.source = "db";
        return config;
    }
};

}  // namespace cache_sync
