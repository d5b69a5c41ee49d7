#include "capture/rule_cache_pg.h"

#include "capture/rule_compile_pg.h"
#include "capture/rule_load_pg.h"

extern "C" {
#include "access/xact.h"
#include "common/hashfn.h"  // murmurhash32
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
}

namespace cache_sync {
namespace {

// Open addressing by relation. Stale rules keep their place until they are loaded again or the table grows.
struct Entry {
    Oid relation;  // InvalidOid: free
    TableRules *rules;
};

Entry *entries = nullptr;
std::uint32_t entry_count = 0;  // a power of two
std::uint32_t used_count = 0;

// The rules that were asked for last. Most statements change one table.
TableRules *latest = nullptr;

// Replaced rules. Somebody may be using them right now: an output function can make PostgreSQL take in
// invalidations. So they are freed at the end of the transaction, when nobody is.
TableRules *dead = nullptr;

// Rules of an older generation are stale.
std::uint64_t generation = 1;
std::uint64_t invalidations = 0;
Oid known_rule_table = InvalidOid;

bool is_current(const TableRules &rules) {
    return rules.is_valid && rules.generation == generation;
}

// The entry of the relation, or the free one where it would be.
Entry *find(Oid relation) {
    std::uint32_t at = murmurhash32(relation) & (entry_count - 1);
    while (entries[at].relation != InvalidOid && entries[at].relation != relation)
        at = (at + 1) & (entry_count - 1);
    return &entries[at];
}

void bury(TableRules *rules) {
    rules->next_dead = dead;
    dead = rules;
    if (latest == rules)
        latest = nullptr;
}

void grow() {
    const Entry *const old = entries;
    const std::uint32_t old_count = entry_count;
    const std::uint32_t new_count = old_count == 0 ? 64 : old_count * 2;
    auto *const fresh =
        static_cast<Entry *>(MemoryContextAllocZero(TopMemoryContext, sizeof(Entry) * new_count));
    entries = fresh;
    entry_count = new_count;
    used_count = 0;
    for (std::uint32_t n = 0; n < old_count; ++n) {
        if (old[n].rules == nullptr)
            continue;
        if (!is_current(*old[n].rules)) {
            bury(old[n].rules);
            continue;
        }
        *find(old[n].relation) = old[n];
        ++used_count;
    }
    if (old != nullptr)
        pfree(const_cast<Entry *>(old));
}

// Callbacks of PostgreSQL: at any place that takes in invalidations, so they only leave notes.

void relation_changed(Datum, Oid relation) {
    ++invalidations;
    if (relation == InvalidOid || relation == known_rule_table) {
        ++generation;
    } else if (entry_count != 0) {
        if (TableRules *const rules = find(relation)->rules)
            rules->is_valid = false;
    }
}

void function_changed(Datum, int, uint32) {
    for (std::uint32_t n = 0; n < entry_count; ++n)
        if (entries[n].rules != nullptr && entries[n].rules->uses_functions)
            entries[n].rules->is_valid = false;
}

void transaction_ended(XactEvent event, void *) {
    if (dead == nullptr ||
        (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE))
        return;
    while (dead != nullptr) {
        TableRules *const next = dead->next_dead;
        MemoryContextDelete(dead->memory);
        dead = next;
    }
}

void register_callbacks() {
    static bool is_registered = false;
    if (is_registered)
        return;
    is_registered = true;
    CacheRegisterRelcacheCallback(relation_changed, 0);
    CacheRegisterSyscacheCallback(PROCOID, function_changed, 0);
    RegisterXactCallback(transaction_ended, nullptr);
}

bool was_interrupted(const TableRules &rules) {
    for (int n = 0; n < rules.rule_count; ++n)
        if (rules.rules[n].condition != nullptr && rules.rules[n].condition->is_running)
            return true;
    return false;
}

TableRules *load(Relation relation) {
    register_callbacks();
    known_rule_table = rule_table();
    const std::uint64_t seen = invalidations;
    const std::uint64_t seen_generation = generation;
    TableRules *const rules = compile_rules(relation, load_rules(RelationGetRelid(relation)));
    // What changed while it was read may be missing: then it is read again for the next row.
    rules->generation = seen_generation;
    rules->is_valid = seen == invalidations;

    if (used_count >= entry_count / 2)
        grow();
    Entry *const entry = find(rules->relation);
    MemoryContextSetParent(rules->memory, CacheMemoryContext);
    if (entry->relation == InvalidOid) {
        entry->relation = rules->relation;
        ++used_count;
    } else if (entry->rules != nullptr) {
        bury(entry->rules);
    }
    entry->rules = rules;
    return rules;
}

}  // namespace

const TableRules &rules_of(Relation relation) {
    const Oid wanted = RelationGetRelid(relation);
    if (latest == nullptr || latest->relation != wanted || !is_current(*latest)) {
        TableRules *rules = entry_count != 0 ? find(wanted)->rules : nullptr;
        if (rules == nullptr || !is_current(*rules))
            rules = load(relation);
        latest = rules;
    }
    if (latest->uses_conditions && was_interrupted(*latest))
        latest = load(relation);
    return *latest;
}

}  // namespace cache_sync
