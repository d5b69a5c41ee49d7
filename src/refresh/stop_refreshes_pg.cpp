#include "refresh/stop_refreshes_pg.h"

#include "refresh/jobs_pg.h"

extern "C" {
#include "access/genam.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_depend.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_rewrite.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/value.h"  // strVal
#include "utils/acl.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
}

namespace cache_sync {
namespace {

// What a statement takes away.
struct Taken {
    List *relations = NIL;
    List *schemas = NIL;
    List *roles = NIL;  // their relations
    bool with_dependents = false;

    bool is_empty() const { return relations == NIL && schemas == NIL && roles == NIL; }
    bool has(Oid relation) const {
        return list_member_oid(relations, relation) ||
               list_member_oid(schemas, get_rel_namespace(relation)) ||
               list_member_oid(roles, owner_of(relation));
    }

 private:
    static Oid owner_of(Oid relation) {
        HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
        if (!HeapTupleIsValid(tuple))
            return InvalidOid;
        const Oid owner = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple))->relowner;
        ReleaseSysCache(tuple);
        return owner;
    }
};

void take_relation(Taken &taken, Oid relation) {
    if (OidIsValid(relation) &&
        (object_ownercheck(RelationRelationId, relation, GetUserId()) ||
         object_ownercheck(NamespaceRelationId, get_rel_namespace(relation), GetUserId())))
        taken.relations = lappend_oid(taken.relations, relation);
}

void take_relation(Taken &taken, const RangeVar *name) {
    if (name != nullptr)
        take_relation(taken, RangeVarGetRelid(name, NoLock, true));
}

void take_schema(Taken &taken, const char *name) {
    const Oid schema = get_namespace_oid(name, true);
    if (OidIsValid(schema) && object_ownercheck(NamespaceRelationId, schema, GetUserId()))
        taken.schemas = lappend_oid(taken.schemas, schema);
}

void take_roles(Taken &taken, List *roles) {
    ListCell *cell;
    foreach (cell, roles) {
        const Oid role = get_rolespec_oid(lfirst_node(RoleSpec, cell), true);
        if (OidIsValid(role) && has_privs_of_role(GetUserId(), role))
            taken.roles = lappend_oid(taken.roles, role);
    }
}

void take_dropped(Taken &taken, const DropStmt &drop) {
    taken.with_dependents = drop.behavior == DROP_CASCADE;
    ListCell *cell;
    foreach (cell, drop.objects) {
        if (drop.removeType == OBJECT_SCHEMA)
            take_schema(taken, strVal(lfirst(cell)));
        else if (drop.removeType == OBJECT_MATVIEW || drop.removeType == OBJECT_VIEW ||
                 drop.removeType == OBJECT_TABLE)
            take_relation(taken, makeRangeVarFromNameList(static_cast<List *>(lfirst(cell))));
    }
}

// Whether taken_by() can find anything: asked for every statement.
bool may_take(const Node *statement) {
    switch (nodeTag(statement)) {
        case T_DropStmt:
        case T_DropOwnedStmt:
        case T_ReassignOwnedStmt:
        case T_AlterTableStmt:
            return true;
        default:
            return false;
    }
}

Taken taken_by(Node *statement) {
    Taken taken;
    switch (nodeTag(statement)) {
        case T_DropStmt:
            take_dropped(taken, *castNode(DropStmt, statement));
            break;
        case T_DropOwnedStmt:
            taken.with_dependents = castNode(DropOwnedStmt, statement)->behavior == DROP_CASCADE;
            take_roles(taken, castNode(DropOwnedStmt, statement)->roles);
            break;
        case T_ReassignOwnedStmt:
            take_roles(taken, castNode(ReassignOwnedStmt, statement)->roles);
            break;
        case T_AlterTableStmt:  // OWNER TO, SET TABLESPACE ...
            if (castNode(AlterTableStmt, statement)->objtype == OBJECT_MATVIEW)
                take_relation(taken, castNode(AlterTableStmt, statement)->relation);
            break;
        default:
            break;
    }
    return taken;
}

// Adds the relations that the rules of a view read.
List *add_inputs(List *relations, Oid view) {
    const Relation rewrite = table_open(RewriteRelationId, AccessShareLock);
    const Relation depend = table_open(DependRelationId, AccessShareLock);
    ScanKeyData key[2];
    ScanKeyInit(&key[0], Anum_pg_rewrite_ev_class, BTEqualStrategyNumber, F_OIDEQ, ObjectIdGetDatum(view));
    SysScanDesc rules = systable_beginscan(rewrite, RewriteRelRulenameIndexId, true, nullptr, 1, key);
    while (HeapTuple rule = systable_getnext(rules)) {
        ScanKeyInit(&key[0], Anum_pg_depend_classid, BTEqualStrategyNumber, F_OIDEQ,
                    ObjectIdGetDatum(RewriteRelationId));
        ScanKeyInit(&key[1], Anum_pg_depend_objid, BTEqualStrategyNumber, F_OIDEQ,
                    ObjectIdGetDatum(reinterpret_cast<Form_pg_rewrite>(GETSTRUCT(rule))->oid));
        SysScanDesc inputs = systable_beginscan(depend, DependDependerIndexId, true, nullptr, 2, key);
        while (HeapTuple input = systable_getnext(inputs)) {
            const auto *const form = reinterpret_cast<Form_pg_depend>(GETSTRUCT(input));
            if (form->refclassid == RelationRelationId)
                relations = list_append_unique_oid(relations, form->refobjid);
        }
        systable_endscan(inputs);
    }
    systable_endscan(rules);
    table_close(depend, AccessShareLock);
    table_close(rewrite, AccessShareLock);
    return relations;
}

// Whether the statement takes the view, or with CASCADE something below it, at any depth.
bool takes(const Taken &taken, Oid view) {
    List *relations = list_make1_oid(view);
    for (int n = 0; n < list_length(relations); ++n) {
        const Oid relation = list_nth_oid(relations, n);
        if (taken.has(relation))
            return true;
        if (taken.with_dependents)
            relations = add_inputs(relations, relation);
    }
    return false;
}

}  // namespace

void stop_refreshes_for(Node *statement) {
    if (!may_take(statement) || !has_running_jobs(MyDatabaseId, InvalidOid))
        return;
    const Taken taken = taken_by(statement);
    if (taken.is_empty())
        return;
    for (int n = 0; n < kMaxRefreshJobs; ++n) {
        const RefreshJob job = look_at_job(n);
        if (job.used && !job.ended && job.database == MyDatabaseId && takes(taken, job.view))
            terminate_jobs(MyDatabaseId, job.view);
    }
}

}  // namespace cache_sync
