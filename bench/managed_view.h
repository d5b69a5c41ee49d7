#pragma once

#include <optional>
#include <string>

#include "database.h"

namespace cache_sync::bench {

// What one refresh took.
struct RefreshTook {
    double wall_seconds = 0;                 // for the one who asked
    double cpu_seconds = 0;                  // of the process that ran it
    std::optional<double> duration_seconds;  // as refresh_history has it
};

// A materialized view of views.sql, and the table that it reads.
struct BenchView {
    const char *view;
    const char *table;
    int rows;
};
inline constexpr BenchView kLargeView{"item_view", "item", 100000};
inline constexpr BenchView kSmallView{"small_item_view", "small_item", 1000};
inline constexpr BenchView kUnmanagedView{"unmanaged_view", "item", 100000};

constexpr int kChangedRows = 100;

// Changes kChangedRows rows of the table, evenly spread and others each time.
void change_rows(demo::Database &database, const BenchView &view, int time);

// The statement as anybody can run it, in this session.
RefreshTook refresh_by_statement(demo::Database &database, const BenchView &view, bool concurrently);

// cache_sync.refresh(), until it is known to have succeeded. Throws if it did not, or changed other than
// `rows` rows.
RefreshTook refresh_by_process(demo::Database &database, const BenchView &view, int rows,
                               double poll_seconds);

// Registers the view with these options; returns when it is clean.
void manage_view(demo::Database &database, const BenchView &view, bool on_change);

// Waits until no change waits and no refresh runs.
void wait_until_clean(demo::Database &database, const BenchView &view);

}  // namespace cache_sync::bench
