// Running something that may fail without failing the caller's transaction.
#pragma once

#include "boundary.h"

extern "C" {
#include "access/xact.h"  // BeginInternalSubTransaction
#include "utils/resowner.h"
}

namespace cache_sync {

struct Attempt {
    bool succeeded;
    char message[512];  // why not
};

// Runs fn, which may raise or throw Failure, in a subtransaction that is rolled back then. A cancelled query
// goes on being cancelled.
template <typename Fn>
Attempt attempt(Fn &&fn) {
    const MemoryContext memory = CurrentMemoryContext;
    const ResourceOwner owner = CurrentResourceOwner;
    Attempt result{true, {}};
    ErrorData *error = nullptr;

    BeginInternalSubTransaction(nullptr);
    MemoryContextSwitchTo(memory);
    try {
        call(fn);
    } catch (PgError &caught) {
        error = caught.release();
        result.succeeded = false;
    } catch (const Failure &failure) {
        strlcpy(result.message, failure.what(), sizeof(result.message));
        result.succeeded = false;
    }
    if (result.succeeded)
        ReleaseCurrentSubTransaction();
    else
        RollbackAndReleaseCurrentSubTransaction();
    MemoryContextSwitchTo(memory);
    CurrentResourceOwner = owner;

    if (error != nullptr && error->sqlerrcode == ERRCODE_QUERY_CANCELED)
        throw PgError(error);
    if (error != nullptr) {
        strlcpy(result.message, error->message != nullptr ? error->message : "unknown error",
                sizeof(result.message));
        FreeErrorData(error);
    }
    return result;
}

}  // namespace cache_sync
