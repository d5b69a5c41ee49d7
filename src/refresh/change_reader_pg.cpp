#include "refresh/change_reader_pg.h"

#include <charconv>

#include "queue/published_rows_pg.h"
#include "queue/walk_pg.h"
#include "worker/queue_reader_pg.h"

namespace cache_sync {
namespace {

constexpr std::size_t kSliceBytes = 128 * 1024;
constexpr Places kMyPlace = Places{1} << kRefreshPlace;

}  // namespace

void ChangeReader::watch(bool has_views) {
    AreaRoot *area = my_area();
    if (area != nullptr)
        area->has_views = has_views;
    const bool begins = has_views && !watching_;
    watching_ = has_views;
    if (begins)
        ask_walk();
    if (!has_views)
        walking_ = false;
}

void ChangeReader::ask_walk() {
    if (!watching_)
        return;
    walk_again_ = walking_;
    if (!walking_)
        walk_at_ = {};
    walking_ = true;
}

bool ChangeReader::is_new(const QueueRow &row) const {
    return watching_ && !is_confirmed(kMyPlace, RowPosition::unpack(row.position));
}

void ChangeReader::note(const Record &record) {
    if (record.kind != TouchKind::relation && record.kind != TouchKind::view)
        return;
    Oid oid = InvalidOid;
    std::from_chars(record.text.data(), record.text.data() + record.text.size(), oid);
    (record.kind == TouchKind::view ? views_ : relations_).insert(oid);
}

void ChangeReader::done(const QueueRow &row) {
    mark_confirmed(kRefreshPlace, RowPosition::unpack(row.position));
}

void ChangeReader::walk_slice() {
    FoundRows found(kMyPlace, kSliceBytes);
    if (found.read(walk_at_, kWalkEnd - 1))
        return;  // tried again at the next turn
    for (std::size_t n = 0; n < found.count(); ++n) {
        std::string_view payload = found.payload(n);
        while (const auto record = take_record(payload))
            note(*record);
        done(found.row(n));
    }
    if (walk_at_.block != kWalkEnd)
        return;
    if (walk_at_.table + 1 < kQueueTables) {
        walk_at_ = {static_cast<std::uint16_t>(walk_at_.table + 1), 0, 0};
        return;
    }
    walk_at_ = {};
    walking_ = std::exchange(walk_again_, false);
}

}  // namespace cache_sync
