// DDL does not wait for the refreshes of what it drops: it ends them.
#pragma once

#include "pg.h"

extern "C" {
#include "nodes/nodes.h"
}

namespace cache_sync {

// Ends the refreshes of this database that the statement would wait for, if the user may run it: those of
// views which it drops or gives to another owner. Costs nothing while no refresh runs. Needs a transaction;
// may raise.
void stop_refreshes_for(Node *statement);

}  // namespace cache_sync
