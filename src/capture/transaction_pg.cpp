#include "capture/transaction_pg.h"

#include <algorithm>

#include "boundary.h"
#include "capture/key_template.h"
#include "capture/touched_set.h"
#include "queue/append_pg.h"
#include "queue/shared_state_pg.h"

extern "C" {
#include "access/xact.h"
#include "utils/memutils.h"
}

namespace cache_sync {
namespace {

// A transaction that holds more than this writes what it has to the queue as it goes.
constexpr std::size_t kSpillMemory = 16 * 1024 * 1024;
constexpr std::size_t kSpillAtLeast = 1024 * 1024;

MemoryContext memory = nullptr;

void *resize(void *block, std::size_t bytes) {
    constexpr int flags = MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM;
    if (bytes == 0) {
        pfree(block);
        return nullptr;
    }
    if (block != nullptr)
        return repalloc_extended(block, bytes, flags);
    if (memory == nullptr)
        memory = AllocSetContextCreate(TopMemoryContext, "cache_sync transaction", ALLOCSET_DEFAULT_SIZES);
    return MemoryContextAllocExtended(memory, bytes, flags);
}

TouchedSet touched(resize);
bool written = false;  // PRE_COMMIT is past; what another extension's callback touches is written at once
bool anything_touched = false;
CaptureTally tally;

[[noreturn]] void out_of_memory() {
    throw Failure("53200", "out of memory").detail("cache_sync gathers what the transaction touched.");
}

// Queues the records of the log.
void queue(std::string_view log, bool spilled) {
    append_rows(log, spilled);
    while (const auto record = take_record(log)) {
        if (record->kind == TouchKind::key)
            ++tally.keys;
        else if (record->kind == TouchKind::tag)
            ++tally.tags;
        else if (record->kind == TouchKind::pattern || record->kind == TouchKind::flush)
            ++tally.patterns;
    }
}

// The transaction's log was queued already, and is needed as it is until the announcement.
void queue_late(TouchKind kind, std::string_view text) {
    char record[kMaxTouchLength + 16];
    const char *end = write_record(record, kind, text);
    queue({record, static_cast<std::size_t>(end - record)}, true);
    expect_announcement();
}

void add(TouchKind kind, std::string_view text) {
    anything_touched = true;
    if (written)
        return queue_late(kind, text);
    const auto level = static_cast<std::uint32_t>(GetCurrentTransactionNestLevel());
    const TouchedSet::Added added = touched.add(kind, text, level);
    if (added == TouchedSet::Added::no_memory)
        out_of_memory();
    if (added == TouchedSet::Added::fresh && touched.memory() > kSpillMemory &&
        touched.level_log(level).size() > kSpillAtLeast) {
        queue(touched.level_log(level), true);
        touched.drop_level(level);
    }
}

// Keys that begin as this one does, which is too long to be queued.
void touch_keys_like(std::string_view key) {
    std::size_t length = kMaxTouchLength / 2 - 1;  // every byte may need a backslash
    while (length > 0 && (static_cast<unsigned char>(key[length]) & 0xc0) == 0x80)
        --length;  // do not cut a character in two
    TouchText glob;
    glob.append_glob_literal(key.substr(0, length));
    glob.append_glob_any();
    add(TouchKind::pattern, glob.view());
}

void write_to_queue() {
    if (touched.count() != 0)
        queue(touched.log(), false);
    expect_announcement();
}

bool nothing_happened() {
    return tally.rows == 0 && !anything_touched;
}

void end_transaction() {
    written = false;
    if (nothing_happened())
        return;
    touched.reset();
    anything_touched = false;
    tally = {};
}

void follow_transaction(XactEvent event) {
    switch (event) {
        case XACT_EVENT_PRE_COMMIT:
        case XACT_EVENT_PRE_PREPARE:
            if (!nothing_happened())
                write_to_queue();
            written = true;
            break;
        case XACT_EVENT_COMMIT:
            if (!nothing_happened()) {
                tally.duplicates = touched.duplicates();
                announce_rows(tally);
            }
            end_transaction();
            break;
        case XACT_EVENT_ABORT:
        case XACT_EVENT_PREPARE:
            forget_rows();
            end_transaction();
            break;
        default:  // parallel workers run no triggers
            break;
    }
}

void follow_subtransaction(SubXactEvent event) {
    const auto level = static_cast<std::uint32_t>(GetCurrentTransactionNestLevel());
    if (event == SUBXACT_EVENT_ABORT_SUB)
        touched.abort_level(level);
    else if (event == SUBXACT_EVENT_COMMIT_SUB)
        touched.commit_level(level);
}

void transaction_event(XactEvent event, void *) {
    entry([&] { follow_transaction(event); });
}

void subtransaction_event(SubXactEvent event, SubTransactionId, SubTransactionId, void *) {
    entry([&] { follow_subtransaction(event); });
}

}  // namespace

void register_transaction_callbacks() {
    RegisterXactCallback(transaction_event, nullptr);
    RegisterSubXactCallback(subtransaction_event, nullptr);
}

void touch(TouchKind kind, std::string_view text) {
    if (text.size() <= kMaxTouchLength)
        add(kind, text);
    else if (kind == TouchKind::key)
        touch_keys_like(text);
    else
        add(TouchKind::flush, {});
}

void count_captured_row() {
    ++tally.rows;
}

}  // namespace cache_sync
