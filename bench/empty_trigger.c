// A row trigger that does nothing: what PostgreSQL itself charges for having one.
#include "postgres.h"

#include "fmgr.h"

PG_MODULE_MAGIC;
PG_FUNCTION_INFO_V1(bench_empty_trigger);

Datum bench_empty_trigger(PG_FUNCTION_ARGS) {
    (void)fcinfo;
    return PointerGetDatum(NULL);
}
