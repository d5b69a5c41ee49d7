#include "refresh/run_history_pg.h"

#include <algorithm>
#include <cstring>

#include "failure.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/indexing.h"  // CatalogTupleInsert: a row and its index entries
#include "catalog/namespace.h"
#include "commands/sequence.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

constexpr int kMaxMessage = 1000;  // bytes

Oid relation_named(const char *name) {
    const Oid schema = get_namespace_oid("cache_sync", true);
    const Oid relation = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;
    if (!OidIsValid(relation))
        throw Failure("42P01", "relation cache_sync.%s does not exist", name)
            .hint("Run CREATE EXTENSION cache_sync in this database.");
    return relation;
}

AttrNumber column_of(Relation table, const char *name) {
    const AttrNumber number = get_attnum(RelationGetRelid(table), name);
    if (number == InvalidAttrNumber)
        throw Failure("42703", "table cache_sync.%s has no column \"%s\"", RelationGetRelationName(table),
                      name)
            .hint("Run ALTER EXTENSION cache_sync UPDATE.");
    return number;
}

// The columns of a row that are written.
class Columns {
 public:
    explicit Columns(Relation table) : table_(table) {}

    void set(const char *name, Datum value) { put(name, value, false); }
    void set_text(const char *name, const char *text) { set(name, CStringGetTextDatum(text)); }
    void set_count(const char *name, std::int64_t count) { put(name, Int64GetDatum(count), count < 0); }

    void insert() const {
        const TupleDesc shape = RelationGetDescr(table_);
        auto *const values = static_cast<Datum *>(palloc0(sizeof(Datum) * shape->natts));
        auto *const nulls = static_cast<bool *>(palloc(sizeof(bool) * shape->natts));
        std::fill(nulls, nulls + shape->natts, true);
        for (int n = 0; n < count_; ++n) {
            values[numbers_[n] - 1] = values_[n];
            nulls[numbers_[n] - 1] = nulls_[n];
        }
        CatalogTupleInsert(table_, heap_form_tuple(shape, values, nulls));
    }
    void update(HeapTuple row) const {
        HeapTuple changed =
            heap_modify_tuple_by_cols(row, RelationGetDescr(table_), count_, numbers_, values_, nulls_);
        CatalogTupleUpdate(table_, &row->t_self, changed);
    }

 private:
    void put(const char *name, Datum value, bool is_null) {
        numbers_[count_] = column_of(table_, name);
        values_[count_] = value;
        nulls_[count_++] = is_null;
    }

    static constexpr int kMost = 16;
    Relation table_;
    int count_ = 0;
    int numbers_[kMost];
    Datum values_[kMost];
    bool nulls_[kMost];
};

bool has_text(Relation table, HeapTuple row, const char *column, const char *wanted) {
    bool is_null;
    const Datum value = heap_getattr(row, column_of(table, column), RelationGetDescr(table), &is_null);
    return !is_null && strcmp(TextDatumGetCString(value), wanted) == 0;
}

std::int64_t id_of(Relation table, HeapTuple row) {
    bool is_null;
    return DatumGetInt64(heap_getattr(row, column_of(table, "id"), RelationGetDescr(table), &is_null));
}

void set_running(Columns &columns) {
    columns.set_text("state", "running");
    columns.set("started_at", TimestampTzGetDatum(GetCurrentTimestamp()));
    columns.set("pid", Int32GetDatum(MyProcPid));
}

std::int64_t insert_run(Relation table, Oid view, RefreshReason reason) {
    const std::int64_t id = nextval_internal(relation_named("refresh_run_id_seq"), false);
    Columns columns(table);
    columns.set("id", Int64GetDatum(id));
    columns.set("view", ObjectIdGetDatum(view));
    columns.set_text("reason", name_of(reason));
    set_running(columns);
    columns.insert();
    return id;
}

// Runs fn(row) for each row of the table that the key finds, by an index.
template <typename Fn>
void for_each_row(Relation table, Oid index, ScanKeyData &key, Fn fn) {
    SysScanDesc scan = systable_beginscan(table, index, true, nullptr, 1, &key);
    while (HeapTuple row = systable_getnext(scan))
        fn(row);
    systable_endscan(scan);
}

// Updates the runs that are still there: somebody may have unregistered the view.
template <typename Fill>
void update_runs(const std::int64_t *runs, int count, Fill fill) {
    const Relation table = table_open(relation_named("refresh_run"), RowExclusiveLock);
    const Oid index = relation_named("refresh_run_pkey");
    for (int n = 0; n < count; ++n) {
        ScanKeyData key;
        ScanKeyInit(&key, column_of(table, "id"), BTEqualStrategyNumber, F_INT8EQ, Int64GetDatum(runs[n]));
        for_each_row(table, index, key, [&](HeapTuple row) {
            Columns columns(table);
            columns.set("finished_at", TimestampTzGetDatum(GetCurrentTimestamp()));
            fill(columns);
            columns.update(row);
        });
    }
    table_close(table, NoLock);
}

}  // namespace

RegisteredView read_registration(Oid view) {
    RegisteredView found{false, std::nullopt};
    const Relation table = table_open(relation_named("view"), AccessShareLock);
    ScanKeyData key;
    ScanKeyInit(&key, column_of(table, "view"), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
    for_each_row(table, relation_named("view_pkey"), key, [&](HeapTuple row) {
        found.exists = true;
        bool is_null;
        const Datum value =
            heap_getattr(row, column_of(table, "concurrently"), RelationGetDescr(table), &is_null);
        if (!is_null)
            found.concurrently = DatumGetBool(value);
    });
    table_close(table, AccessShareLock);
    return found;
}

std::int64_t RunHistory::begin(Oid view, RefreshReason reason) {
    const Relation table = table_open(relation_named("refresh_run"), RowExclusiveLock);
    ScanKeyData key;
    ScanKeyInit(&key, column_of(table, "view"), BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
    count_ = 0;
    for_each_row(table, relation_named("refresh_run_view"), key, [&](HeapTuple row) {
        if (!has_text(table, row, "state", "queued"))
            return;
        remember(id_of(table, row));
        Columns columns(table);
        set_running(columns);
        columns.update(row);
    });
    if (count_ == 0)
        remember(insert_run(table, view, reason));
    table_close(table, NoLock);
    return *std::max_element(runs_, runs_ + count_);
}

void RunHistory::remember(std::int64_t run) {
    if (count_ == room_) {
        room_ = std::max(2 * room_, 16);
        const std::size_t size = sizeof(*runs_) * room_;
        runs_ = static_cast<std::int64_t *>(runs_ != nullptr ? repalloc_huge(runs_, size)
                                                             : MemoryContextAlloc(TopMemoryContext, size));
    }
    runs_[count_++] = run;
}

void RunHistory::succeed(bool concurrently, const ChangedCounts &counts) {
    update_runs(runs_, count_, [&](Columns &columns) {
        columns.set_text("state", "succeeded");
        columns.set("concurrently", BoolGetDatum(concurrently));
        columns.set_count("rows_inserted", counts.inserted);
        columns.set_count("rows_removed", counts.removed);
        columns.set_count("keys", counts.keys);
        columns.set_count("tags", counts.tags);
    });
}

void RunHistory::fail(const char *state, int sqlstate, const char *message) {
    const int length = pg_mbcliplen(message, static_cast<int>(strlen(message)), kMaxMessage);
    const char *const clipped = pnstrdup(message, length);
    update_runs(runs_, count_, [&](Columns &columns) {
        columns.set_text("state", state);
        columns.set_text("sqlstate", unpack_sql_state(sqlstate));
        columns.set_text("message", clipped);
    });
}

}  // namespace cache_sync
