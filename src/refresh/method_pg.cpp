#include "refresh/method_pg.h"

extern "C" {
#include "access/genam.h"
#include "catalog/pg_am.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"  // MyDatabaseId
#include "nodes/pg_list.h"
#include "utils/acl.h"
#include "utils/relcache.h"
}

namespace cache_sync {
namespace {

bool is_usable(Relation index) {
    const Form_pg_index form = index->rd_index;
    if (!form->indisunique || !form->indimmediate || !form->indisvalid || form->indnatts <= 0 ||
        index->rd_rel->relam != BTREE_AM_OID || RelationGetIndexPredicate(index) != NIL)
        return false;
    for (int n = 0; n < form->indnatts; ++n)
        if (form->indkey.values[n] <= 0)
            return false;  // an expression
    return true;
}

}  // namespace

bool has_usable_unique_index(Relation view) {
    bool found = false;
    List *const indexes = RelationGetIndexList(view);
    ListCell *cell;
    foreach (cell, indexes) {
        const Relation index = index_open(lfirst_oid(cell), AccessShareLock);
        found = found || is_usable(index);
        index_close(index, AccessShareLock);
    }
    list_free(indexes);
    return found;
}

bool refreshes_concurrently(Relation view, std::optional<bool> wanted) {
    if (!RelationIsPopulated(view))
        return false;
    if (wanted.has_value())
        return *wanted;
    // The new contents go into a temporary table first.
    return has_usable_unique_index(view) &&
           object_aclcheck(DatabaseRelationId, MyDatabaseId, view->rd_rel->relowner, ACL_CREATE_TEMP) ==
               ACLCHECK_OK;
}

}  // namespace cache_sync
