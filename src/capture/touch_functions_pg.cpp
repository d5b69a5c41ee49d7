// SQL functions that queue something by hand: invalidate(), invalidate_tags(), and flush()'s inner part.
#include "boundary.h"
#include "capture/key_template.h"
#include "capture/transaction_pg.h"

extern "C" {
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"     // PreventCommandDuringRecovery
#include "tcop/utility.h"  // PreventCommandIfReadOnly
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(cache_sync_invalidate);
PG_FUNCTION_INFO_V1(cache_sync_invalidate_tags);
PG_FUNCTION_INFO_V1(cache_sync_queue_flush);
}

namespace cache_sync {
namespace {

// What is queued is written: not on a standby, not in a read-only transaction.
void require_writable(const char *function) {
    PreventCommandIfReadOnly(function);
    PreventCommandDuringRecovery(function);
    PreventCommandIfParallelMode(function);
}

// Calls fn with each text of the array that is the only argument.
template <typename Fn>
void for_each_text(FunctionCallInfo call_info, const char *what, Fn &&fn) {
    if (call_info->args[0].isnull)
        throw Failure("22004", "the %ss must not be NULL", what).hint("Give an empty array for none.");
    Datum *values;
    bool *nulls;
    int count;
    deconstruct_array_builtin(DatumGetArrayTypeP(call_info->args[0].value), TEXTOID, &values, &nulls, &count);
    for (int n = 0; n < count; ++n) {
        if (nulls[n])
            throw Failure("22004", "a %s must not be NULL", what).hint("Leave it out.");
        const text *const value = DatumGetTextPP(values[n]);
        fn(std::string_view(VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value)));
    }
}

void invalidate(FunctionCallInfo call_info) {
    require_writable("cache_sync.invalidate()");
    for_each_text(call_info, "key", [](std::string_view key) {
        if (key.empty())
            throw Failure("22023", "a key must not be empty").hint("Leave it out.");
        touch(TouchKind::key, key);
    });
}

void invalidate_tags(FunctionCallInfo call_info) {
    require_writable("cache_sync.invalidate_tags()");
    for_each_text(call_info, "tag", [](std::string_view tag) {
        if (const auto error = check_tag(tag))
            throw Failure("22023", "bad tag at offset %zu: %s", error->offset, error->message)
                .detail("The tag is \"%.*s\".", static_cast<int>(tag.size()), tag.data())
                .hint("%s", error->hint);
        touch(TouchKind::tag, tag);
    });
}

void queue_flush(FunctionCallInfo call_info) {
    require_writable("cache_sync.flush()");
    touch(TouchKind::flush,
          call_info->args[0].isnull ? "" : NameStr(*DatumGetName(call_info->args[0].value)));
}

}  // namespace
}  // namespace cache_sync

// invalidate(VARIADIC keys text[])
Datum cache_sync_invalidate(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::invalidate(fcinfo);
        PG_RETURN_VOID();
    });
}

// invalidate_tags(VARIADIC tags text[])
Datum cache_sync_invalidate_tags(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::invalidate_tags(fcinfo);
        PG_RETURN_VOID();
    });
}

// _queue_flush(target name): '' or NULL for every target
Datum cache_sync_queue_flush(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&]() -> Datum {
        cache_sync::queue_flush(fcinfo);
        PG_RETURN_VOID();
    });
}
