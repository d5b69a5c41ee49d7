// SQL in a worker's transactions. To be called inside call(), between SPI_connect() and SPI_finish().
#pragma once

#include "failure.h"

#include "pg.h"

extern "C" {
#include "executor/spi.h"
}

namespace cache_sync {

// Runs one statement with its parameters. Throws a Failure if the result is not the one expected.
inline void run_query(const char *query, int count, Oid *types, Datum *values, int expected) {
    const int result = SPI_execute_with_args(query, count, types, values, nullptr, false, 0);
    if (result != expected)
        throw Failure("XX000", "%s: %s", query, SPI_result_code_string(result));
}

}  // namespace cache_sync
