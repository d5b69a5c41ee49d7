#include "worker/queue_reader_pg.h"

#include <algorithm>

#include "queue/tables_pg.h"
#include "queue/walk_pg.h"

extern "C" {
#include "access/table.h"
#include "utils/timestamp.h"
}

namespace cache_sync {

std::int64_t unix_microseconds(TimestampTz when) {
    return when + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
}

bool FoundRows::visit(void *self, RowPosition position, TransactionId, std::int64_t queued_at,
                      std::string_view payload) {
    auto &found = *static_cast<FoundRows *>(self);
    if ((found.places_ && is_confirmed(*found.places_, position)) ||
        std::binary_search(found.except_.begin(), found.except_.end(), position.pack()))
        return true;
    found.rows_.push_back(
        {{position.pack(), unix_microseconds(queued_at)}, found.payloads_.size(), payload.size()});
    found.payloads_.append(payload);
    return found.payloads_.size() < found.limit_;
}

Problem FoundRows::read(RowPosition &at, std::uint32_t last_block) {
    return in_transaction("reading the queue", [&] {
        call([&] {
            const QueueTables *tables = queue_tables();
            if (tables == nullptr) {
                at.block = kWalkEnd;
                return;
            }
            Relation relation = table_open(tables->oid[at.table], AccessShareLock);
            at = walk_rows(relation, GetActiveSnapshot(), at, last_block, visit, this);
            table_close(relation, AccessShareLock);
        });
    });
}

}  // namespace cache_sync
