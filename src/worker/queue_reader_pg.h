// Rows of the queue tables, copied out of a short transaction so that they can be published outside of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "publish/batch.h"
#include "queue/published_rows_pg.h"
#include "queue/row_position.h"
#include "worker/transaction_pg.h"

namespace cache_sync {

// Microseconds since the Unix epoch.
std::int64_t unix_microseconds(TimestampTz when);

class FoundRows {
 public:
    // Looks for rows that not all of `places` confirmed (nothing: whose confirmations are not known) and that
    // are not at one of the sorted positions `except`, up to `limit` bytes of payload.
    FoundRows(std::optional<Places> places, std::size_t limit, std::vector<std::uint64_t> except = {})
        : places_(places), limit_(limit), except_(std::move(except)) {}

    // Reads from `at` through last_block, in a transaction of its own. Moves `at`; its block is kWalkEnd when
    // the end was reached.
    Problem read(RowPosition &at, std::uint32_t last_block);

    std::size_t count() const { return rows_.size(); }
    QueueRow row(std::size_t n) const { return rows_[n].row; }
    std::string_view payload(std::size_t n) const {
        return std::string_view(payloads_).substr(rows_[n].begin, rows_[n].length);
    }

 private:
    struct Found {
        QueueRow row;
        std::size_t begin, length;
    };
    static bool visit(void *self, RowPosition position, TransactionId xmin, std::int64_t queued_at,
                      std::string_view payload);

    const std::optional<Places> places_;
    const std::size_t limit_;
    const std::vector<std::uint64_t> except_;
    std::vector<Found> rows_;
    std::string payloads_;
};

}  // namespace cache_sync
