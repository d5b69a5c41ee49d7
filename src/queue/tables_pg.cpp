#include "queue/tables_pg.h"

extern "C" {
#include "catalog/namespace.h"  // get_namespace_oid
#include "utils/inval.h"        // CacheRegisterRelcacheCallback
#include "utils/lsyscache.h"    // get_relname_relid
#include "utils/syscache.h"     // NAMESPACEOID
}

namespace cache_sync {
namespace {

QueueTables tables;
bool known = false;   // tables.oid are the tables
bool looked = false;  // and if not known: we looked, and they are not there
bool listening = false;

void relation_changed(Datum, Oid relation) {
    if (!known) {
        looked = false;
        return;
    }
    for (Oid oid : tables.oid)
        if (relation == oid || relation == InvalidOid)
            known = looked = false;
}

void namespace_changed(Datum, int, uint32) {
    known = looked = false;
}

void listen_for_changes() {
    if (listening)
        return;
    CacheRegisterRelcacheCallback(relation_changed, 0);
    CacheRegisterSyscacheCallback(NAMESPACEOID, namespace_changed, 0);
    listening = true;
}

bool look_up() {
    const Oid schema = get_namespace_oid("cache_sync", true);
    if (!OidIsValid(schema))
        return false;
    for (int n = 0; n < kQueueTables; ++n) {
        char name[] = "queue_0";
        name[6] = static_cast<char>('0' + n);
        tables.oid[n] = get_relname_relid(name, schema);
        if (!OidIsValid(tables.oid[n]))
            return false;
    }
    return true;
}

}  // namespace

const QueueTables *queue_tables() {
    listen_for_changes();
    if (!known && !looked) {
        looked = true;
        known = look_up();
    }
    return known ? &tables : nullptr;
}

}  // namespace cache_sync
