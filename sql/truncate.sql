-- TRUNCATE invalidates everything that the table's rules can have named.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA truncate;
SET search_path = truncate, public;
CREATE TABLE parent (id int PRIMARY KEY, kind text);
CREATE TABLE child (id int PRIMARY KEY, parent_id int REFERENCES parent);
SELECT cache_sync.register_table('parent', 'parent:{id}', '{"kind:{kind}",parents}') > 0 AS registered;
SELECT cache_sync.register_table('parent', 'p*[x]?\:{kind}:{id}') > 0 AS registered;
SELECT cache_sync.register_table('child', 'child:{parent_id}:{id}') > 0 AS registered;
SELECT cache_sync.register_table('child', 'children', condition => 'id > 5') > 0 AS registered;
TRUNCATE child;
SELECT * FROM pg_temp.touched();
TRUNCATE parent CASCADE;
SELECT * FROM pg_temp.touched();
TRUNCATE parent, child RESTART IDENTITY;
SELECT * FROM pg_temp.touched();
BEGIN;
TRUNCATE child;
ROLLBACK;
SELECT * FROM pg_temp.touched();
SET session_replication_role = replica;
TRUNCATE child;
RESET session_replication_role;
SELECT * FROM pg_temp.touched();

-- Partitions: the whole, and one alone.
CREATE TABLE event (id int, day int) PARTITION BY RANGE (day);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (1) TO (2);
SELECT cache_sync.register_table('event', 'event:{day}:{id}') > 0 AS registered;
CREATE TABLE event_2 PARTITION OF event FOR VALUES FROM (2) TO (3) PARTITION BY LIST (id);
CREATE TABLE event_2_all PARTITION OF event_2 DEFAULT;
TRUNCATE event;
SELECT * FROM pg_temp.touched();
TRUNCATE event_1;
SELECT * FROM pg_temp.touched();
TRUNCATE event_2_all;
SELECT * FROM pg_temp.touched();
TRUNCATE ONLY parent CASCADE;
SELECT * FROM pg_temp.touched();
SET client_min_messages = warning;
DROP SCHEMA truncate CASCADE;
