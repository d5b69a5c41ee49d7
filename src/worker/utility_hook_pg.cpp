// Statements that concern the workers.
//
//   DROP, RENAME, ALTER .. TABLESPACE of a database, and copying one, fail while anybody is connected: the
//     publisher is stopped before and started again after, whatever came out.
//   DROP EXTENSION: the same, after taking the registered tables before the queue, as writers do.
//   CREATE / DROP EXTENSION, CREATE DATABASE: the launcher looks.
//   Servers and user mappings: the publisher reloads.
//   REFRESH MATERIALIZED VIEW: queues what it changes.
//   What drops a view, or gives it to another owner: ends its refresh instead of waiting for it.
//   COMMIT PREPARED: what the transaction queued was written long ago; the publisher reads it from the table.
#include "boundary.h"
#include "queue/shared_state_pg.h"
#include "refresh/contents_pg.h"
#include "refresh/jobs_pg.h"
#include "refresh/stop_refreshes_pg.h"
#include "worker/commit_wait_pg.h"
#include "worker/wake_pg.h"
#include "worker/workers_pg.h"

extern "C" {
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"  // strVal
#include "storage/lmgr.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
}

namespace cache_sync {
namespace {

ProcessUtility_hook_type previous_hook = nullptr;

constexpr int kStopTimeoutMs = 5000;

struct Statement {
    PlannedStmt *planned;
    const char *text;
    bool read_only_tree;
    ProcessUtilityContext context;
    ParamListInfo parameters;
    QueryEnvironment *environment;
    DestReceiver *destination;
    QueryCompletion *completion;
};

void run(const Statement &statement) {
    const auto next = previous_hook != nullptr ? previous_hook : standard_ProcessUtility;
    next(statement.planned, statement.text, statement.read_only_tree, statement.context, statement.parameters,
         statement.environment, statement.destination, statement.completion);
}

bool may_create_databases() {
    HeapTuple tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(GetUserId()));
    if (!HeapTupleIsValid(tuple))
        return false;
    const bool may = reinterpret_cast<Form_pg_authid>(GETSTRUCT(tuple))->rolcreatedb;
    ReleaseSysCache(tuple);
    return may;
}

const char *template_of(const CreatedbStmt *statement) {
    ListCell *cell;
    foreach (cell, statement->options) {
        auto *option = static_cast<DefElem *>(lfirst(cell));
        if (strcmp(option->defname, "template") == 0 && option->arg != nullptr)
            return defGetString(option);
    }
    return "template1";
}

// The database whose publisher is in the way of this statement, if the user may run it at all.
Oid database_in_the_way(Node *node) {
    const char *name = nullptr;
    bool allowed = superuser();
    if (IsA(node, DropdbStmt))
        name = castNode(DropdbStmt, node)->dbname;
    else if (IsA(node, AlterDatabaseStmt))
        name = castNode(AlterDatabaseStmt, node)->dbname;
    else if (IsA(node, RenameStmt) && castNode(RenameStmt, node)->renameType == OBJECT_DATABASE)
        name = castNode(RenameStmt, node)->subname;
    else if (IsA(node, CreatedbStmt)) {
        name = template_of(castNode(CreatedbStmt, node));
        allowed = allowed || may_create_databases();
    }
    const Oid database = name != nullptr ? get_database_oid(name, true) : InvalidOid;
    if (!OidIsValid(database))
        return InvalidOid;
    allowed = allowed || object_ownercheck(DatabaseRelationId, database, GetUserId());
    return allowed ? database : InvalidOid;
}

// Ends the publisher and the refreshes of a database whose slot is held.
void stop_processes(DatabaseSlot *slot) {
    const TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), kStopTimeoutMs);
    ConditionVariablePrepareToSleep(&slot->drained);
    for (;;) {
        LWLockAcquire(slot_lock(slot), LW_SHARED);
        const int pid = slot->pid;
        const bool starting = slot->state == WorkerState::starting;
        LWLockRelease(slot_lock(slot));
        const Oid database = pg_atomic_read_u32(&slot->database);
        terminate_jobs(database, InvalidOid);
        if ((pid == 0 && !starting && !has_running_jobs(database, InvalidOid)) ||
            GetCurrentTimestamp() >= until)
            break;
        if (pid != 0)
            kill(pid, SIGTERM);
        ConditionVariableTimedSleep(&slot->drained, 50, PG_WAIT_EXTENSION);
    }
    ConditionVariableCancelSleep();
}

void release(DatabaseSlot *slot) noexcept {
    pg_atomic_fetch_sub_u32(&slot->held, 1);
    wake_launcher();
}

// Runs fn, which may raise, while no publisher and no refresh is started in the database.
template <typename Fn>
void holding(DatabaseSlot *slot, Fn fn) {
    entry([&] {
        pg_atomic_fetch_add_u32(&slot->held, 1);
        try {
            call([&] { fn(); });
        } catch (...) {
            release(slot);
            throw;
        }
        release(slot);
    });
}

bool drops_extension(Node *node) {
    if (!IsA(node, DropStmt) || castNode(DropStmt, node)->removeType != OBJECT_EXTENSION)
        return false;
    ListCell *cell;
    foreach (cell, castNode(DropStmt, node)->objects)
        if (strcmp(strVal(lfirst(cell)), "cache_sync") == 0)
            return true;
    return false;
}

// Writers lock their table first and the queue at their commit. DROP EXTENSION ... CASCADE would do it the
// other way round and end some writer's commit by a deadlock: so it gets the tables before.
void lock_registered_tables() {
    entry([] {
        call([] {
            SPI_connect();
            if (SPI_execute("SELECT DISTINCT t.tgrelid FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p"
                            " ON p.oid = t.tgfoid JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace"
                            " WHERE n.nspname = 'cache_sync' AND p.proname IN ('capture', 'capture_truncate',"
                            " 'capture_change')"
                            " ORDER BY 1",
                            false, 0) == SPI_OK_SELECT)
                for (uint64 n = 0; n < SPI_processed; ++n) {
                    bool is_null;
                    LockRelationOid(DatumGetObjectId(SPI_getbinval(SPI_tuptable->vals[n],
                                                                   SPI_tuptable->tupdesc, 1, &is_null)),
                                    AccessExclusiveLock);
                }
            SPI_finish();
        });
    });
}

// Refreshes read the registered tables. The publisher, which goes on while writers are waited for, takes the
// extension's tables in other orders than DROP EXTENSION does.
void drop_extension(const Statement &statement, DatabaseSlot *slot) {
    if (slot == nullptr) {
        lock_registered_tables();
        run(statement);
        return;
    }
    holding(slot, [&] {
        terminate_jobs(MyDatabaseId, InvalidOid);
        lock_registered_tables();
        stop_processes(slot);
        run(statement);
    });
}

void commit_prepared(const Statement &statement) {
    DatabaseSlot *slot = my_slot();
    if (slot == nullptr) {
        run(statement);
        return;
    }
    entry([&] {
        pg_atomic_fetch_add_u32(&slot->finishing, 1);
        const auto done = [&]() noexcept {
            pg_atomic_write_u32(&slot->need_walk, 1);
            pg_atomic_write_u32(&slot->reload, 1);  // it may have changed targets too
            pg_atomic_fetch_sub_u32(&slot->finishing, 1);
            wake_publisher(slot);
        };
        try {
            call([&] { run(statement); });
        } catch (...) {
            done();
            throw;
        }
        done();
        call([] { wait_for_committed(); });
    });
}

bool concerns_launcher(Node *node) {
    switch (nodeTag(node)) {
        case T_CreateExtensionStmt:
        case T_CreatedbStmt:
        case T_DropdbStmt:
            return true;
        default:
            return false;
    }
}

bool concerns_publisher(Node *node) {
    switch (nodeTag(node)) {
        case T_CreateForeignServerStmt:
        case T_AlterForeignServerStmt:
        case T_CreateUserMappingStmt:
        case T_AlterUserMappingStmt:
        case T_DropUserMappingStmt:
        case T_CreateExtensionStmt:
        case T_AlterExtensionStmt:
        case T_DropOwnedStmt:
            return true;
        case T_DropStmt: {
            const ObjectType type = castNode(DropStmt, node)->removeType;
            return type == OBJECT_FOREIGN_SERVER || type == OBJECT_EXTENSION || type == OBJECT_FDW ||
                   type == OBJECT_SCHEMA;
        }
        case T_RenameStmt:
            return castNode(RenameStmt, node)->renameType == OBJECT_FOREIGN_SERVER;
        case T_AlterOwnerStmt:
            return castNode(AlterOwnerStmt, node)->objectType == OBJECT_FOREIGN_SERVER;
        default:
            return false;
    }
}

void utility_hook(PlannedStmt *planned, const char *text, bool read_only_tree, ProcessUtilityContext context,
                  ParamListInfo parameters, QueryEnvironment *environment, DestReceiver *destination,
                  QueryCompletion *completion) {
    const Statement statement{planned,    text,        read_only_tree, context,
                              parameters, environment, destination,    completion};
    Node *node = planned->utilityStmt;
    if (IsA(node, TransactionStmt)) {
        if (castNode(TransactionStmt, node)->kind == TRANS_STMT_COMMIT_PREPARED)
            commit_prepared(statement);
        else
            run(statement);
        return;
    }
    if (IsA(node, RefreshMatViewStmt)) {
        run_refresh(
            *castNode(RefreshMatViewStmt, node), completion,
            [](void *watched) { run(*static_cast<const Statement *>(watched)); },
            const_cast<Statement *>(&statement));
        return;
    }
    const bool launcher = concerns_launcher(node);
    const bool publisher = concerns_publisher(node);
    const Oid database = IsTransactionState() ? database_in_the_way(node) : InvalidOid;
    DatabaseSlot *slot = OidIsValid(database) ? find_slot(database) : nullptr;
    if (IsTransactionState())
        entry([&] { stop_refreshes_for(node); });
    if (slot != nullptr)
        holding(slot, [&] {
            stop_processes(slot);
            run(statement);
        });
    else if (drops_extension(node) && IsTransactionState() && superuser())
        drop_extension(statement, my_slot());
    else
        run(statement);
    if (launcher)
        wake_launcher_at_commit();
    if (publisher)
        reload_publisher_at_commit();
}

}  // namespace

void install_utility_hook() {
    previous_hook = ProcessUtility_hook;
    ProcessUtility_hook = utility_hook;
}

}  // namespace cache_sync
