#include "managed_view.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "process.h"
#include "statistics.h"

namespace cache_sync::bench {
namespace {

constexpr double kPatience = 120;

void wait(double seconds) {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
}

}  // namespace

void change_rows(demo::Database &database, const BenchView &view, int time) {
    const int every = view.rows / kChangedRows;
    database.run(std::string("UPDATE ") + view.table + " SET price = price + 1 WHERE item_id % " +
                 std::to_string(every) + " = " + std::to_string(time % every));
}

RefreshTook refresh_by_statement(demo::Database &database, const BenchView &view, bool concurrently) {
    const auto backend = static_cast<pid_t>(database.run("SELECT pg_backend_pid()").number(0, 0));
    const double before = cpu_seconds(backend);
    const auto start = SteadyClock::now();
    database.run(std::string("REFRESH MATERIALIZED VIEW ") + (concurrently ? "CONCURRENTLY " : "") +
                 view.view);
    const double took = seconds_since(start);
    return {took, cpu_seconds(backend) - before, {}};
}

RefreshTook refresh_by_process(demo::Database &database, const BenchView &view, int rows,
                               double poll_seconds) {
    RefreshTook took;
    const auto start = SteadyClock::now();
    const std::string id = database.run("SELECT cache_sync.refresh($1::regclass)", {view.view}).text(0, 0);
    while (true) {
        const demo::Rows run = database.run(
            "SELECT state, coalesce(pid, 0), extract(epoch FROM finished_at - started_at), rows_inserted,"
            " message FROM cache_sync.refresh_run WHERE id = $1::bigint",
            {id});
        const std::string state = run.text(0, 0);
        if (state == "succeeded") {
            took.wall_seconds = seconds_since(start);
            took.duration_seconds = std::stod(run.text(0, 2));
            if (run.number(0, 3) != rows)
                throw std::runtime_error("a refresh changed " + run.text(0, 3) + " rows, not " +
                                         std::to_string(rows));
            return took;
        }
        if (state == "failed" || state == "canceled" || seconds_since(start) > kPatience)
            throw std::runtime_error("refresh " + id + " is " + state + ": " + run.text(0, 4));
        // The last reading lacks what the process did after it.
        if (run.number(0, 1) != 0)
            if (const double so_far = cpu_seconds(static_cast<pid_t>(run.number(0, 1))); so_far > 0)
                took.cpu_seconds = so_far;
        wait(poll_seconds);
    }
}

void manage_view(demo::Database &database, const BenchView &view, bool on_change) {
    const std::string name = view.view;
    database.run(
        "SELECT cache_sync.register_view($1::regclass, key => $2, on_change => $3::boolean,"
        " min_interval => '0')",
        {name, name + ":{item_id}", on_change ? "true" : "false"});
    wait_until_clean(database, view);
}

void wait_until_clean(demo::Database &database, const BenchView &view) {
    const auto start = SteadyClock::now();
    // After this no change is on its way to those who refresh.
    database.run("SELECT cache_sync.drain()");
    while (database
               .run("SELECT state IN ('clean', 'unwatched') AND dirty_since IS NULL FROM cache_sync.views"
                    " WHERE view = $1::regclass",
                    {view.view})
               .text(0, 0) != "t") {
        if (seconds_since(start) > kPatience)
            throw std::runtime_error(std::string(view.view) + " does not become clean");
        wait(0.002);
    }
}

}  // namespace cache_sync::bench
