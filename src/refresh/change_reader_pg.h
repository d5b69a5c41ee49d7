// Reads from the queue what concerns views: which relations changed, which views are asked for.
//
// It reads the same rows as the targets get: those of the ring as they come, and by a walk of its own those
// that came another way (after a start, an overflow, COMMIT PREPARED). A row is read once: that is its mark
// at kRefreshPlace, and no queue table is emptied before. See queue/published_rows_pg.h.
#pragma once

#include <set>
#include <string_view>
#include <utility>

#include "publish/batch.h"
#include "queue/row_position.h"
#include "queue/shared_state_pg.h"

namespace cache_sync {

class ChangeReader {
 public:
    // Whether any views are registered. If not, rows need no reading, and cost nothing.
    void watch(bool has_views);

    // Is the row one to be read? Then note() its records, and after that done() with it.
    bool is_new(const QueueRow &row) const;
    void note(const Record &record);
    void done(const QueueRow &row);

    // There may be rows that the ring does not bring.
    void ask_walk();
    bool is_walking() const { return walking_; }
    void walk_slice();

    // What was read and not taken yet; taking empties the set.
    std::set<Oid> take_relations() { return std::exchange(relations_, {}); }
    std::set<Oid> take_views() { return std::exchange(views_, {}); }
    bool has_changes() const { return !relations_.empty() || !views_.empty(); }

 private:
    bool watching_ = false;
    bool walking_ = false;
    bool walk_again_ = false;  // asked for while one was under way
    RowPosition walk_at_{};
    std::set<Oid> relations_, views_;
};

}  // namespace cache_sync
