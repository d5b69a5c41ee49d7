// What the processes of one database share: a slot in static shared memory, and an area of dynamic shared
// memory that its publisher creates (ring, marks of published rows, figures of the targets).
//
//   committing backend --rows--> queue table        slot: which table, who to wake
//          |                                        area: ring
//          +--after commit--> ring, latch --> publisher
//
// The area stays when a publisher ends, so that the next one goes on with it. Locks: one LWLock a slot, held
// for pushes into the ring and for changes of the slot's plain members, never while waiting.
#pragma once

#include <cstddef>
#include <cstdint>

#include "observe/latency_histogram.h"
#include "queue/ring.h"

#include "pg.h"

extern "C" {
#include "datatype/timestamp.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/dsa.h"
}

namespace cache_sync {

inline constexpr int kMaxDatabases = 128;
inline constexpr int kQueueTables = 3;
inline constexpr int kMaxTargets = 16;
inline constexpr int kRefreshPlace = kMaxTargets;  // of the scheduler of refreshes, among the targets' places
inline constexpr int kPlaces = kMaxTargets + 1;
inline constexpr int kMarkChunks = 1024;  // of 1024 pages: 8 GB a table
inline constexpr std::size_t kErrorLength = 256;

enum class WorkerState : std::uint32_t {
    none,      // no publisher was started yet, or it is to be started
    starting,  // registered by the launcher
    running,
    absent,   // the database has no extension: wait until somebody creates it
    stopped,  // ended; the launcher starts it again
};

// Counters behind cache_sync.stat_capture; added to once per transaction.
struct CaptureCounters {
    pg_atomic_uint64 transactions, rows, keys, tags, patterns, duplicates;
    pg_atomic_uint64 queue_rows, queue_bytes, ring_overflows, rotations;
};

struct DatabaseSlot {
    pg_atomic_uint32 database;    // oid; 0: free
    pg_atomic_uint32 active;      // the queue table that writers use
    pg_atomic_uint32 committing;  // transactions between their queue row and their entry in the ring
    pg_atomic_uint32 need_walk;   // the ring lacks something that the tables have
    pg_atomic_uint32 finishing;   // COMMIT PREPAREDs that are under way: need_walk will be set
    pg_atomic_uint32 reload;      // targets or rules changed
    pg_atomic_uint32 probe;       // the extension was created: absent is no longer the last word
    pg_atomic_uint32 held;        // > 0: somebody drops, renames or copies the database; no publisher wanted
    pg_atomic_uint64 drain_asked, drain_done;
    // All that was pushed into the ring before this many bytes is confirmed by every target that is not
    // paused.
    pg_atomic_uint64 confirmed;
    ConditionVariable drained;  // one of the two has moved
    CaptureCounters capture;
    TimestampTz stats_reset;

    // Under the slot's lock:
    WorkerState state;
    int pid;
    Latch *latch;
    TimestampTz started;
    TimestampTz last_error_at;
    char last_error[kErrorLength];
    dsa_handle area;
    dsa_pointer root;  // of the AreaRoot; InvalidDsaPointer until the publisher made it
};

// Figures of a target, written by the publisher alone; readers may see them torn by one.
struct TargetFigures {
    Oid server;              // 0: free
    std::uint64_t endpoint;  // hash of what it is called and where it is: marks count for this one only
    bool exempt, tags_lost, circuit_open;
    std::uint8_t state, mode;
    std::uint64_t published_keys, published_tags, published_patterns, batches, coalesced, retried;
    std::uint64_t errors, connections, flushes;
    std::uint64_t in_flight;  // batches
    double last_lag_us;
    TimestampTz connected_at, next_attempt, last_error_at;
    char last_error[kErrorLength];
    LatencyHistogram lag;
};

struct AreaRoot {
    dsa_pointer ring;
    TargetFigures targets[kMaxTargets];
    dsa_pointer marks[kPlaces][kQueueTables][kMarkChunks];  // published_rows_pg.h
    // Of the scheduler of refreshes. Only the publisher writes them.
    bool has_views;        // views are registered: rows are kept until the scheduler has read them
    bool changes_unsaved;  // it read changes that cache_sync.view_state does not have yet
};

struct LauncherState {
    pg_atomic_uint32 wake;  // databases or extensions changed
    int pid;
    Latch *latch;
    TimestampTz started;
    TimestampTz last_error_at;
    char last_error[kErrorLength];
};

// Hooks that reserve and initialise the static part; from _PG_init.
void install_shared_memory_hooks();

LauncherState *launcher_state();
LWLock *launcher_lock();
void wake_launcher();

// The slot of a database; find returns null if it has none, claim makes one (null: all are taken).
DatabaseSlot *find_slot(Oid database);
DatabaseSlot *claim_slot(Oid database);
DatabaseSlot *slot_at(int index);
void free_slot(DatabaseSlot *slot);
LWLock *slot_lock(const DatabaseSlot *slot);
// Of the database of this process; remembered.
DatabaseSlot *my_slot();
void wake_publisher(DatabaseSlot *slot);
// Was the flag set? It is not any more. Writes only if it was: it is asked all the time.
bool take_flag(pg_atomic_uint32 &flag);

// The area of my database, attached once per process. Null: there is none yet. May raise.
AreaRoot *my_area();
Ring *my_ring();
// The ring if this process is attached already: for callbacks that must not raise.
Ring *attached_ring();
dsa_area *my_dsa();
// The publisher makes the area if there is none; false: no memory, work without the fast path.
bool ensure_area(DatabaseSlot *slot);

}  // namespace cache_sync
