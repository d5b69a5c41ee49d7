#include "worker/joining_pg.h"

#include "boundary.h"
#include "worker/query_pg.h"

extern "C" {
#include "access/xlog.h"  // GetWALInsertionTimeLine, GetSystemIdentifier, GetXLogInsertRecPtr
#include "catalog/pg_type.h"
#include "utils/builtins.h"
}

namespace cache_sync {
namespace {

std::int64_t single_value() {
    bool is_null;
    return DatumGetInt64(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &is_null));
}

constexpr char kRemember[] =
    "INSERT INTO cache_sync.target_state AS s (server, timeline, system_identifier, run_id, needs_flush)"
    " VALUES ($1, $2, $3, $4, true)"
    " ON CONFLICT (server) DO UPDATE SET timeline = excluded.timeline,"
    " system_identifier = excluded.system_identifier, run_id = excluded.run_id, needs_flush = true"
    " WHERE (s.timeline, s.system_identifier, s.run_id)"
    " IS DISTINCT FROM (excluded.timeline, excluded.system_identifier, excluded.run_id)";

}  // namespace

JoinOrder join_target(std::uint32_t server, const std::string &run_id) {
    const char *run = run_id.c_str();
    return call([&] {
        JoinOrder order{};
        const auto timeline = GetWALInsertionTimeLine();
        SPI_connect();
        run_query("SELECT pg_catalog.nextval('cache_sync.epoch')", 0, nullptr, nullptr, SPI_OK_SELECT);
        order.epoch =
            (static_cast<std::uint64_t>(timeline) << 32) + static_cast<std::uint64_t>(single_value());
        Oid types[] = {OIDOID, INT4OID, INT8OID, TEXTOID};
        Datum values[] = {ObjectIdGetDatum(server), Int32GetDatum(static_cast<int>(timeline)),
                          Int64GetDatum(static_cast<std::int64_t>(GetSystemIdentifier())),
                          CStringGetTextDatum(run)};
        run_query(kRemember, 4, types, values, SPI_OK_INSERT);
        run_query("SELECT needs_flush::int::bigint FROM cache_sync.target_state WHERE server = $1", 1, types,
                  values, SPI_OK_SELECT);
        order.flush = SPI_processed == 1 && single_value() != 0;
        order.lsn = GetXLogInsertRecPtr();
        SPI_finish();
        return order;
    });
}

void note_flushed(std::uint32_t server) {
    call([&] {
        Oid types[] = {OIDOID};
        Datum values[] = {ObjectIdGetDatum(server)};
        SPI_connect();
        run_query("UPDATE cache_sync.target_state SET needs_flush = false WHERE server = $1", 1, types,
                  values, SPI_OK_UPDATE);
        SPI_finish();
    });
}

void owe_flush(const std::vector<std::uint32_t> &servers) {
    for (const std::uint32_t server : servers)
        call([&] {
            Oid types[] = {OIDOID};
            Datum values[] = {ObjectIdGetDatum(server)};
            SPI_connect();
            run_query(
                "INSERT INTO cache_sync.target_state (server, timeline, system_identifier, needs_flush)"
                " VALUES ($1, 0, 0, true) ON CONFLICT (server) DO UPDATE SET needs_flush = true",
                1, types, values, SPI_OK_INSERT);
            SPI_finish();
        });
}

void forget_dropped_targets() {
    call([] {
        SPI_connect();
        run_query(
            "DELETE FROM cache_sync.target_state s WHERE NOT EXISTS"
            " (SELECT FROM pg_catalog.pg_foreign_server f WHERE f.oid = s.server)",
            0, nullptr, nullptr, SPI_OK_DELETE);
        SPI_finish();
    });
}

}  // namespace cache_sync
