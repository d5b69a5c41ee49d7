-- The views show what is there, and no secret.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA views;
SET search_path = views, public;
CREATE TABLE item (id int PRIMARY KEY, name text);
SELECT cache_sync.register_table('item', 'item:{id}', '{items,"{name}"}') > 0 AS registered;
SELECT relation, key, tags, columns, condition, triggers FROM cache_sync.tables WHERE relation = 'item'::regclass;

-- One row a transaction.
SELECT coalesce(max(xid::text::bigint), 0) AS before FROM cache_sync.queue \gset
BEGIN;
SELECT pg_current_xact_id() AS xid \gset
INSERT INTO item VALUES (1, 'a'), (2, 'b');
SELECT cache_sync.flush();
SELECT cache_sync.flush('waiting');
COMMIT;
TRUNCATE item;
SELECT xid = :'xid' AS first, age >= '0' AND age < '1 hour' AND queued_at <= clock_timestamp() AS aged, keys, tags, patterns, flush
FROM cache_sync.queue WHERE xid::text::bigint > :before ORDER BY queued_at;

SELECT name, url, prefix, state, connected, paused, circuit, pending_transactions > 0 AS pending, pending_bytes > 0 AS bytes,
       in_flight, note
FROM cache_sync.targets WHERE name = 'waiting';
CREATE USER MAPPING FOR PUBLIC SERVER waiting OPTIONS (user 'app', password 'topsecret');
SELECT count(*) FROM cache_sync.targets t WHERE t::text ~ 'topsecret';
DROP USER MAPPING FOR PUBLIC SERVER waiting;

-- The queue's tables: who keeps them from being emptied.
SELECT name, active IS NOT NULL AS active, pages * current_setting('block_size')::int = bytes AS pages, dead_tuples >= 0 AS dead,
       pid, gid, age
FROM cache_sync.queue_tables ORDER BY name;
SELECT count(*) FILTER (WHERE active) AS active, max(reason) FILTER (WHERE bytes > 0) AS reason FROM cache_sync.queue_tables;
BEGIN;
LOCK TABLE cache_sync.queue_1 IN SHARE MODE;
SELECT name, pid = pg_backend_pid() AS here, gid, age >= '0' AS age, reason FROM cache_sync.queue_tables WHERE name = 'queue_1';
SELECT regexp_replace(held, 'pid \d+ for .*', 'pid N for T') AS held FROM unnest(cache_sync._queue_tables_held('0')) AS held;
SELECT cache_sync._queue_tables_held('1 minute');
COMMIT;

SELECT role, datname = current_database() AS here, pid > 0 AS pid, started <= clock_timestamp() AS started, last_error
FROM cache_sync.workers WHERE datname IS NULL OR datname = current_database() ORDER BY role;

-- Counters.
SELECT cache_sync.stat_reset();
SELECT transactions, rows, keys, tags, patterns, duplicates, queue_rows, queue_bytes, ring_overflows, rotations,
       stats_reset <= clock_timestamp() AS reset
FROM cache_sync.stat_capture;
INSERT INTO item VALUES (1, 'a'), (2, 'a'), (3, 'c');
BEGIN;
INSERT INTO item VALUES (4, 'a');
ROLLBACK;
TRUNCATE item;
SELECT transactions, rows, keys, tags, patterns, duplicates, queue_rows, queue_bytes > 0 AS bytes
FROM cache_sync.stat_capture;
SELECT name, published_keys, published_tags, published_patterns, batches, coalesced, retried, errors, connections, flushes,
       lag_p50, lag_p95, lag_p99, lag_max
FROM cache_sync.stat_targets WHERE name = 'waiting';
SET client_min_messages = warning;
DROP SCHEMA views CASCADE;
