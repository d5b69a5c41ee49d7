#include "notify_daemon.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <vector>

#include "redis.h"

namespace cache_sync::bench {
namespace {

constexpr std::size_t kMostKeys = 1000;

struct Close {
    void operator()(PGconn *connection) const { PQfinish(connection); }
};
using Connection = std::unique_ptr<PGconn, Close>;

Connection listen(const std::string &conninfo) {
    Connection connection(PQconnectdb(conninfo.c_str()));
    PGresult *result = PQexec(connection.get(), "LISTEN cache");
    const bool is_listening = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    if (!is_listening)
        throw std::runtime_error(std::string("LISTEN: ") + PQerrorMessage(connection.get()));
    return connection;
}

void unlink(demo::Redis &redis, std::vector<std::string> &keys) {
    if (keys.empty())
        return;
    std::vector<std::string_view> command{"UNLINK"};
    command.insert(command.end(), keys.begin(), keys.end());
    redis.run(command);
    keys.clear();
}

void take_in(PGconn *connection, demo::Redis &redis) {
    std::vector<std::string> keys;
    while (PGnotify *notice = PQnotifies(connection)) {
        keys.emplace_back(notice->extra);
        PQfreemem(notice);
        if (keys.size() == kMostKeys)
            unlink(redis, keys);
    }
    unlink(redis, keys);
}

void serve(PGconn *connection, demo::Redis &redis, const std::stop_token &stop) {
    const int wake = eventfd(0, EFD_CLOEXEC);
    const std::stop_callback on_stop(stop, [wake] { eventfd_write(wake, 1); });
    while (!stop.stop_requested()) {
        take_in(connection, redis);
        pollfd waited[] = {{PQsocket(connection), POLLIN, 0}, {wake, POLLIN, 0}};
        poll(waited, 2, -1);
        if (PQconsumeInput(connection) == 0)
            throw std::runtime_error(std::string("LISTEN: ") + PQerrorMessage(connection));
    }
    close(wake);
}

}  // namespace

NotifyDaemon::NotifyDaemon(const std::string &conninfo, int redis_port) {
    thread_ = std::jthread([connection = listen(conninfo), redis_port](std::stop_token stop) {
        // A daemon that died would show as an endless lag: better to end the run.
        try {
            demo::Redis redis("127.0.0.1", redis_port);
            serve(connection.get(), redis, stop);
        } catch (const std::exception &error) {
            std::fprintf(stderr, "bench: the notify daemon died: %s\n", error.what());
            std::exit(EXIT_FAILURE);
        }
    });
}

NotifyDaemon::~NotifyDaemon() = default;

}  // namespace cache_sync::bench
