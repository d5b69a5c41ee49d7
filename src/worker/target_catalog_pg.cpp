#include "worker/target_catalog_pg.h"

#include <cstring>

#include "boundary.h"
#include "capture/key_template.h"
#include "settings_pg.h"

extern "C" {
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/dbcommands.h"  // get_database_name
#include "commands/defrem.h"      // defGetString, defGetBoolean
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/syscache.h"
}

namespace cache_sync {
namespace {

bool has_mapping(Oid user, Oid server) {
    return SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(user), ObjectIdGetDatum(server));
}

// Options as plain pointers into the transaction's memory, so that PostgreSQL errors may pass.
struct ServerOptions {
    const char *name, *url, *user, *password, *prefix, *source, *channel;
    int connect_timeout, command_timeout, heartbeat;
    bool paused;
};

void read_server_option(DefElem *option, ServerOptions *to) {
    struct Text {
        const char *name;
        const char **value;
    } const texts[] = {{"url", &to->url},         {"prefix", &to->prefix}, {"source", &to->source},
                       {"channel", &to->channel}, {"user", &to->user},     {"password", &to->password}};
    for (const Text &text : texts)
        if (std::strcmp(option->defname, text.name) == 0)
            *text.value = defGetString(option);
    struct Duration {
        const char *name;
        int *value;
    } const durations[] = {{"connect_timeout", &to->connect_timeout},
                           {"command_timeout", &to->command_timeout},
                           {"heartbeat", &to->heartbeat}};
    for (const Duration &duration : durations)
        if (std::strcmp(option->defname, duration.name) == 0)
            parse_duration(defGetString(option), duration.value);
    if (std::strcmp(option->defname, "paused") == 0)
        to->paused = defGetBoolean(option);
}

void read_options(List *options, ServerOptions *to) {
    ListCell *cell;
    foreach (cell, options)
        read_server_option(static_cast<DefElem *>(lfirst(cell)), to);
}

// The server's options and those of its owner's user mapping, else of PUBLIC's.
ServerOptions read_server(Oid server_id) {
    const TargetConfig defaults;
    ServerOptions options{};
    options.connect_timeout = static_cast<int>(defaults.connect_timeout.count());
    options.command_timeout = static_cast<int>(defaults.command_timeout.count());
    options.heartbeat = static_cast<int>(defaults.heartbeat.count());
    ForeignServer *server = GetForeignServer(server_id);
    options.name = server->servername;
    read_options(server->options, &options);
    if (has_mapping(server->owner, server_id) || has_mapping(InvalidOid, server_id))
        read_options(GetUserMapping(server->owner, server_id)->options, &options);
    return options;
}

// Oids of all servers of the wrapper, in the transaction's memory.
List *server_oids() {
    const Oid wrapper = get_foreign_data_wrapper_oid("cache_sync", true);
    List *oids = NIL;
    if (!OidIsValid(wrapper))
        return oids;
    Relation relation = table_open(ForeignServerRelationId, AccessShareLock);
    SysScanDesc scan = systable_beginscan(relation, ForeignServerOidIndexId, true, nullptr, 0, nullptr);
    while (HeapTuple tuple = systable_getnext(scan)) {
        const auto *form = reinterpret_cast<Form_pg_foreign_server>(GETSTRUCT(tuple));
        if (form->srvfdw == wrapper)
            oids = lappend_oid(oids, form->oid);
    }
    systable_endscan(scan);
    table_close(relation, AccessShareLock);
    return oids;
}

std::string text_or(const char *text, const std::string &otherwise) {
    return text != nullptr ? text : otherwise;
}

TargetConfig make_config(Oid server, const ServerOptions &options, const std::string &database) {
    TargetConfig config;
    config.id = server;
    config.name = options.name;
    config.url = text_or(options.url, "");
    config.user = text_or(options.user, "");
    config.password = text_or(options.password, "");
    config.prefix = text_or(options.prefix, "");
    config.source = text_or(options.source, database);
    config.channel = text_or(options.channel, "cs:inv:" + config.source);
    config.connect_timeout = Milliseconds(options.connect_timeout);
    config.command_timeout = Milliseconds(options.command_timeout);
    config.heartbeat = Milliseconds(options.heartbeat);
    config.max_backoff = Milliseconds(setting_max_backoff);
    config.paused = options.paused;
    return config;
}

}  // namespace

bool parse_duration(const char *text, int *milliseconds) {
    const char *hint = nullptr;
    return parse_int(text, milliseconds, GUC_UNIT_MS, &hint) && *milliseconds >= 0;
}

std::vector<TargetConfig> load_targets() {
    std::vector<TargetConfig> configs;
    const std::string database = call([] { return get_database_name(MyDatabaseId); });
    List *oids = call([] { return server_oids(); });
    for (int n = 0; n < list_length(oids); ++n) {
        const Oid server = list_nth_oid(oids, n);
        const ServerOptions options = call([&] { return read_server(server); });
        configs.push_back(make_config(server, options, database));
    }
    return configs;
}

std::vector<std::string> load_flush_patterns() {
    call([] {
        SPI_connect();
        if (SPI_execute("SELECT DISTINCT key FROM cache_sync.rule WHERE key IS NOT NULL ORDER BY 1", true,
                        0) != SPI_OK_SELECT)
            throw Failure("XX000", "could not read cache_sync.rule");
    });
    std::vector<std::string> patterns;
    for (std::uint64_t n = 0; n < SPI_processed; ++n) {
        const char *key = call([&] { return SPI_getvalue(SPI_tuptable->vals[n], SPI_tuptable->tupdesc, 1); });
        TouchText glob;
        append_glob(key, glob);
        patterns.emplace_back(glob.view());
    }
    call([] { SPI_finish(); });
    return patterns;
}

}  // namespace cache_sync
