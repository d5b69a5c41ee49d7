#include "refresh/view_catalog_pg.h"

#include "boundary.h"
#include "settings_pg.h"
#include "worker/query_pg.h"

extern "C" {
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
}

namespace cache_sync {
namespace {

// One row a view. input: what it reads; below: what that is made of, through materialized views too.
constexpr char kLoad[] =
    "WITH views (oids) AS (SELECT ARRAY(SELECT v.view::oid FROM cache_sync.view v)),"
    " input AS MATERIALIZED ("
    " SELECT DISTINCT t.view, t.relation FROM views, cache_sync._view_trees(views.oids, false) t"
    " WHERE t.kind IN ('r', 'p', 'm')),"
    " below AS MATERIALIZED ("
    " SELECT DISTINCT t.view, t.relation FROM views, cache_sync._view_trees(views.oids, true) t"
    " WHERE t.kind = 'm' AND t.relation = ANY (views.oids))"
    " SELECT v.view::oid, c.relowner, v.schedule, v.on_change,"
    " (extract(epoch FROM v.min_interval) * 1000000)::bigint,"
    " coalesce((extract(epoch FROM v.statement_timeout) * 1000)::integer, 0),"
    " s.view IS NOT NULL, s.dirty_since, s.scheduled_from, s.last_started, s.next_attempt,"
    " coalesce(s.failures, 0),"
    " EXISTS (SELECT FROM cache_sync.refresh_run r WHERE r.view = v.view AND r.state = 'queued'),"
    " coalesce(i.oids, '{}'), coalesce(b.oids, '{}')"
    " FROM cache_sync.view v"
    " JOIN pg_catalog.pg_class c ON c.oid = v.view AND c.relkind = 'm'"
    " LEFT JOIN cache_sync.view_state s ON s.view = v.view"
    " LEFT JOIN (SELECT i.view, array_agg(i.relation) AS oids FROM input i GROUP BY i.view) i"
    " ON i.view = v.view"
    " LEFT JOIN (SELECT b.view, array_agg(b.relation) AS oids FROM below b GROUP BY b.view) b"
    " ON b.view = v.view"
    " ORDER BY 1";

constexpr char kSave[] =
    "INSERT INTO cache_sync.view_state AS s"
    " (view, dirty_since, scheduled_from, last_started, next_attempt, failures)"
    " SELECT * FROM ROWS FROM (pg_catalog.unnest($1::oid[]), pg_catalog.unnest($2::timestamptz[]),"
    " pg_catalog.unnest($3::timestamptz[]), pg_catalog.unnest($4::timestamptz[]),"
    " pg_catalog.unnest($5::timestamptz[]), pg_catalog.unnest($6::integer[]))"
    " ON CONFLICT (view) DO UPDATE SET dirty_since = excluded.dirty_since,"
    " scheduled_from = excluded.scheduled_from, last_started = excluded.last_started,"
    " next_attempt = excluded.next_attempt, failures = excluded.failures";

constexpr char kForget[] =
    "DELETE FROM cache_sync.view_state s"
    " WHERE NOT EXISTS (SELECT FROM cache_sync.view v WHERE v.view = s.view)";

constexpr char kCloseLost[] =
    "UPDATE cache_sync.refresh_run SET state = 'failed', finished_at = pg_catalog.clock_timestamp(),"
    " sqlstate = '57P01', message = 'the refresh process ended before it was done'"
    " WHERE state = 'running' AND ";

constexpr char kCount[] =
    "UPDATE cache_sync.view_state s SET"
    " refreshes = s.refreshes + (r.state = 'succeeded')::integer,"
    " failed = s.failed + (r.state = 'failed')::integer,"
    " canceled = s.canceled + (r.state = 'canceled')::integer,"
    " total_time = s.total_time + t.ms,"
    " max_time = greatest(s.max_time, t.ms),"
    " rows_inserted = s.rows_inserted + coalesce(r.rows_inserted, 0),"
    " rows_removed = s.rows_removed + coalesce(r.rows_removed, 0),"
    " keys = s.keys + coalesce(r.keys, 0),"
    " tags = s.tags + coalesce(r.tags, 0)"
    " FROM cache_sync.refresh_run r CROSS JOIN LATERAL ("
    " SELECT coalesce(extract(epoch FROM r.finished_at - r.started_at) * 1000, 0)::double precision AS ms) t"
    " WHERE r.id = $1 AND s.view = r.view";

constexpr char kTrim[] =
    "DELETE FROM cache_sync.refresh_run r WHERE r.view = $1 AND r.state NOT IN ('queued', 'running')"
    " AND r.id <= (SELECT o.id FROM cache_sync.refresh_run o WHERE o.view = $1"
    "              ORDER BY o.id DESC OFFSET $2 LIMIT 1)"
    // Or nobody could say any more when the view was refreshed last.
    " AND r.id IS DISTINCT FROM (SELECT max(o.id) FROM cache_sync.refresh_run o WHERE o.view = $1 AND "
    "o.state = 'succeeded')";

// ---- reading ----

// The values of one result row, in SPI's memory.
struct Fields {
    static constexpr int kCount = 15;
    Datum values[kCount];
    bool nulls[kCount];

    TimestampTz time(int n) const { return nulls[n] ? kNoTime : DatumGetTimestampTz(values[n]); }
};

Fields fields_of_row(std::uint64_t row) {
    Fields fields{};
    for (int n = 0; n < Fields::kCount; ++n)
        fields.values[n] =
            SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, n + 1, &fields.nulls[n]);
    return fields;
}

std::vector<Oid> oids_of(Datum array) {
    ArrayType *oids = call([&] { return DatumGetArrayTypeP(array); });
    const auto *first = reinterpret_cast<const Oid *>(ARR_DATA_PTR(oids));
    return {first, first + ArrayGetNItems(ARR_NDIM(oids), ARR_DIMS(oids))};
}

std::string text_of(Datum value) {
    return call([&] { return TextDatumGetCString(value); });
}

ViewRow make_row(const Fields &fields) {
    ViewRow row;
    row.view = DatumGetObjectId(fields.values[0]);
    row.owner = DatumGetObjectId(fields.values[1]);
    row.schedule = fields.nulls[2] ? std::string() : text_of(fields.values[2]);
    row.on_change = DatumGetBool(fields.values[3]);
    row.min_interval_us = DatumGetInt64(fields.values[4]);
    row.statement_timeout_ms = DatumGetInt32(fields.values[5]);
    row.is_known = DatumGetBool(fields.values[6]);
    row.state.dirty_since = fields.time(7);
    row.state.scheduled_from = fields.time(8);
    row.state.last_started = fields.time(9);
    row.state.next_attempt = fields.time(10);
    row.state.failures = DatumGetInt32(fields.values[11]);
    row.is_requested = DatumGetBool(fields.values[12]);
    row.inputs = oids_of(fields.values[13]);
    row.ancestors = oids_of(fields.values[14]);
    return row;
}

// ---- writing ----

// A column of the rows to save, as an array. Plain data: it lives in the transaction's memory.
struct Column {
    Datum *values;
    bool *nulls;
    int count = 0;

    explicit Column(std::size_t rows)
        : values(static_cast<Datum *>(palloc(sizeof(Datum) * rows))),
          nulls(static_cast<bool *>(palloc(sizeof(bool) * rows))) {}
    void add(Datum value, bool is_null = false) {
        values[count] = value;
        nulls[count++] = is_null;
    }
    void add_time(TimestampTz time) { add(TimestampTzGetDatum(time), time == kNoTime); }
    Datum array(Oid type, int length, char alignment) {
        int size[] = {count}, first[] = {1};
        return PointerGetDatum(
            construct_md_array(values, nulls, 1, size, first, type, length, true, alignment));
    }
};

void write_states(const std::vector<NamedState> &states) {
    Column view(states.size()), dirty(states.size()), scheduled(states.size()), started(states.size()),
        next(states.size()), failures(states.size());
    for (const NamedState &named : states) {
        view.add(ObjectIdGetDatum(named.view));
        dirty.add_time(named.state.dirty_since);
        scheduled.add_time(named.state.scheduled_from);
        started.add_time(named.state.last_started);
        next.add_time(named.state.next_attempt);
        failures.add(Int32GetDatum(named.state.failures));
    }
    Oid types[] = {OIDARRAYOID,         TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID,
                   TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, INT4ARRAYOID};
    Datum values[] = {view.array(OIDOID, sizeof(Oid), TYPALIGN_INT),
                      dirty.array(TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE),
                      scheduled.array(TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE),
                      started.array(TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE),
                      next.array(TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE),
                      failures.array(INT4OID, sizeof(std::int32_t), TYPALIGN_INT)};
    run_query(kSave, 6, types, values, SPI_OK_INSERT);
}

}  // namespace

std::vector<ViewRow> load_views() {
    call([] {
        SPI_connect();
        run_query(kLoad, 0, nullptr, nullptr, SPI_OK_SELECT);
    });
    std::vector<ViewRow> rows;
    for (std::uint64_t n = 0; n < SPI_processed; ++n)
        rows.push_back(make_row(call([&] { return fields_of_row(n); })));
    call([] { SPI_finish(); });
    return rows;
}

void save_view_states(const std::vector<NamedState> &states) {
    call([&] {
        SPI_connect();
        if (!states.empty())
            write_states(states);
        run_query(kForget, 0, nullptr, nullptr, SPI_OK_DELETE);
        SPI_finish();
    });
}

void close_lost_run(std::int64_t run) {
    const std::string query =
        std::string(kCloseLost) +
        "(view, pid) = (SELECT r.view, r.pid FROM cache_sync.refresh_run r WHERE r.id = $1)";
    call([&] {
        Oid types[] = {INT8OID};
        Datum values[] = {Int64GetDatum(run)};
        SPI_connect();
        run_query(query.c_str(), 1, types, values, SPI_OK_UPDATE);
        SPI_finish();
    });
}

void close_lost_runs(const std::vector<std::int64_t> &live) {
    const std::string query = std::string(kCloseLost) + "id <> ALL ($1)";
    call([&] {
        Column ids(live.size() + 1);
        for (const std::int64_t run : live)
            ids.add(Int64GetDatum(run));
        Oid types[] = {INT8ARRAYOID};
        Datum values[] = {live.empty() ? PointerGetDatum(construct_empty_array(INT8OID))
                                       : ids.array(INT8OID, sizeof(std::int64_t), TYPALIGN_DOUBLE)};
        SPI_connect();
        run_query(query.c_str(), 1, types, values, SPI_OK_UPDATE);
        SPI_finish();
    });
}

void count_run(std::int64_t run, Oid view) {
    call([&] {
        Oid types[] = {INT8OID};
        Datum values[] = {Int64GetDatum(run)};
        SPI_connect();
        run_query(kCount, 1, types, values, SPI_OK_UPDATE);
        Oid trim_types[] = {OIDOID, INT8OID};
        Datum trim_values[] = {ObjectIdGetDatum(view), Int64GetDatum(setting_history_limit)};
        run_query(kTrim, 2, trim_types, trim_values, SPI_OK_DELETE);
        SPI_finish();
    });
}

}  // namespace cache_sync
