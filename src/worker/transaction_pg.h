// Runs a function in a transaction of its own: the only place where a worker recovers from a PostgreSQL
// error.
#pragma once

#include <cstdarg>
#include <string>

#include "boundary.h"

#include "pg.h"

extern "C" {
#include "access/xact.h"
#include "pgstat.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
}

namespace cache_sync {

// Why a transaction failed; empty text: it did not.
struct Problem {
    std::string text;
    explicit operator bool() const { return !text.empty(); }
};

namespace transaction_steps {
void begin(const char *activity);
void commit();
void abort();
void report(const char *activity, const Problem &problem);
}  // namespace transaction_steps

// Begins a transaction with an active snapshot, runs fn, commits. A PostgreSQL error or a Failure in fn
// aborts the transaction, is logged, and is returned. activity is shown in pg_stat_activity.
template <typename Fn>
Problem in_transaction(const char *activity, Fn &&fn) {
    Problem problem;
    try {
        transaction_steps::begin(activity);
        fn();
        transaction_steps::commit();
        return problem;
    } catch (const std::exception &error) {
        problem.text = error.what();
    }
    if (problem.text.empty())
        problem.text = "unknown error";
    transaction_steps::abort();
    transaction_steps::report(activity, problem);
    return problem;
}

}  // namespace cache_sync
