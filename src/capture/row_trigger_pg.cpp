// The trigger functions of registered tables. They run for every changed row, so the way of an integer key is
// short: cached rules, no allocation, no catalogue.
#include "boundary.h"
#include "capture/row_change_pg.h"
#include "capture/rule_cache_pg.h"
#include "capture/rule_ddl_pg.h"
#include "capture/transaction_pg.h"
#include "settings_pg.h"
#include "worker/wake_pg.h"

extern "C" {
#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/inval.h"  // CacheInvalidateRelcache

PG_FUNCTION_INFO_V1(cache_sync_capture);
PG_FUNCTION_INFO_V1(cache_sync_capture_truncate);
PG_FUNCTION_INFO_V1(cache_sync_rule_changed);
}

namespace cache_sync {
namespace {

constinit TouchText scratch;

TriggerData &trigger_data(FunctionCallInfo call_info, const char *function) {
    if (!CALLED_AS_TRIGGER(call_info))
        throw Failure("39P01", "cache_sync.%s() is a trigger function", function)
            .hint("It is placed on tables by cache_sync.register_table().");
    return *reinterpret_cast<TriggerData *>(call_info->context);
}

[[noreturn]] void wrong_event(const char *function, const char *wanted) {
    throw Failure("39P01", "cache_sync.%s() must be fired %s", function, wanted)
        .hint("It is placed on tables by cache_sync.register_table().");
}

void capture_row(FunctionCallInfo call_info) {
    const TriggerData &trigger = trigger_data(call_info, "capture");
    const TriggerEvent event = trigger.tg_event;
    if (!TRIGGER_FIRED_AFTER(event) || !TRIGGER_FIRED_FOR_ROW(event))
        wrong_event("capture", "AFTER INSERT, UPDATE or DELETE, FOR EACH ROW");
    if (!setting_enabled)
        return;
    count_captured_row();
    RowChange change{RelationGetDescr(trigger.tg_relation), nullptr, nullptr};
    if (TRIGGER_FIRED_BY_INSERT(event)) {
        change.new_row = trigger.tg_trigtuple;
    } else {
        change.old_row = trigger.tg_trigtuple;
        change.new_row = TRIGGER_FIRED_BY_UPDATE(event) ? trigger.tg_newtuple : nullptr;
    }
    touch_change(rules_of(trigger.tg_relation), change, scratch,
                 [](const CompiledRule &, TouchKind kind, std::string_view name) { touch(kind, name); });
}

// TRUNCATE shows no rows: everything that a rule may have named counts as touched.
void capture_truncate(FunctionCallInfo call_info) {
    const TriggerData &trigger = trigger_data(call_info, "capture_truncate");
    const TriggerEvent event = trigger.tg_event;
    if (!TRIGGER_FIRED_AFTER(event) || !TRIGGER_FIRED_FOR_STATEMENT(event) ||
        !TRIGGER_FIRED_BY_TRUNCATE(event))
        wrong_event("capture_truncate", "AFTER TRUNCATE, FOR EACH STATEMENT");
    touch_everything(RelationGetRelid(trigger.tg_relation));
}

void announce_rule_change(FunctionCallInfo call_info) {
    const TriggerData &trigger = trigger_data(call_info, "rule_changed");
    CacheInvalidateRelcache(trigger.tg_relation);
    reload_publisher_at_commit();  // it walks the templates' patterns when it flushes
}

}  // namespace
}  // namespace cache_sync

// capture() -> trigger
Datum cache_sync_capture(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] {
        cache_sync::capture_row(fcinfo);
        return PointerGetDatum(nullptr);  // not PG_RETURN_NULL: trigger managers refuse that
    });
}

// capture_truncate() -> trigger
Datum cache_sync_capture_truncate(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] {
        cache_sync::capture_truncate(fcinfo);
        return PointerGetDatum(nullptr);
    });
}

// rule_changed() -> trigger of cache_sync.rule: every session drops its compiled rules.
Datum cache_sync_rule_changed(PG_FUNCTION_ARGS) {
    return cache_sync::entry([&] {
        cache_sync::announce_rule_change(fcinfo);
        return PointerGetDatum(nullptr);
    });
}
