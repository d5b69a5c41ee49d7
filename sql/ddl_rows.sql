-- DDL that changes what rows there are, or how they read, invalidates everything that the rules may have named.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA ddl_rows;
SET search_path = ddl_rows, public;
CREATE TABLE whole (id int, part int, note text) PARTITION BY LIST (part);
CREATE TABLE whole_1 PARTITION OF whole FOR VALUES IN (1);
CREATE TABLE whole_2 PARTITION OF whole FOR VALUES IN (2) PARTITION BY LIST (id);
CREATE TABLE whole_2_1 PARTITION OF whole_2 FOR VALUES IN (1);
SELECT cache_sync.register_table('whole', 'whole:{id}', '{wholes}') > 0 AS registered;
SELECT cache_sync.register_table('whole_2', 'second:{id}') > 0 AS registered;
SELECT cache_sync.register_table('whole_1', NULL, '{"first:{id}"}') > 0 AS registered;
INSERT INTO whole VALUES (1, 1), (1, 2);
SELECT count(*) > 0 AS touched FROM pg_temp.touched();

-- Partitions that leave and come: what rules of the parents named, not their own.
ALTER TABLE whole DETACH PARTITION whole_1;
SELECT * FROM pg_temp.touched();
ALTER TABLE whole ATTACH PARTITION whole_1 FOR VALUES IN (1);
SELECT * FROM pg_temp.touched();
ALTER TABLE whole DETACH PARTITION whole_1 CONCURRENTLY;
SELECT count(*), kind, name FROM pg_temp.touched() GROUP BY kind, name;
ALTER TABLE whole_2 DETACH PARTITION whole_2_1;
SELECT * FROM pg_temp.touched();
ALTER TABLE whole_2 ATTACH PARTITION whole_2_1 FOR VALUES IN (1);
SELECT * FROM pg_temp.touched();
-- Empty ones change nothing.
CREATE TABLE whole_3 (LIKE whole);
ALTER TABLE whole ATTACH PARTITION whole_3 FOR VALUES IN (3);
ALTER TABLE whole DETACH PARTITION whole_3;
CREATE TABLE whole_4 PARTITION OF whole FOR VALUES IN (4);
SELECT * FROM pg_temp.touched();
-- What is rolled back has not been.
BEGIN;
ALTER TABLE whole ATTACH PARTITION whole_1 FOR VALUES IN (1);
SAVEPOINT s;
ALTER TABLE whole_2 DETACH PARTITION whole_2_1;
ROLLBACK TO s;
COMMIT;
SELECT * FROM pg_temp.touched();
-- Not the owner: no effect, not even before the error.
CREATE ROLE regress_cache_sync_other;
GRANT USAGE ON SCHEMA ddl_rows TO regress_cache_sync_other;
SET ROLE regress_cache_sync_other;
ALTER TABLE whole DETACH PARTITION whole_1 CONCURRENTLY;
RESET ROLE;
SELECT * FROM pg_temp.touched();

-- Dropped: a partition, a partition of a partition, a table with a rule, however that comes about.
DROP TABLE whole_2_1;
SELECT * FROM pg_temp.touched();
DROP TABLE whole_1;
SELECT * FROM pg_temp.touched();
BEGIN;
DROP TABLE whole_2;
ROLLBACK;
SELECT * FROM pg_temp.touched();
CREATE SCHEMA ddl_rows_too;
ALTER TABLE whole_2 SET SCHEMA ddl_rows_too;
DROP SCHEMA ddl_rows_too CASCADE;
SELECT * FROM pg_temp.touched();
DROP TABLE whole;
SELECT * FROM pg_temp.touched();
-- In a snapshot that is older than the partition.
CREATE TABLE young (id int) PARTITION BY LIST (id);
SELECT cache_sync.register_table('young', 'young:{id}') > 0 AS registered;
BEGIN ISOLATION LEVEL REPEATABLE READ;
CREATE TABLE young_1 PARTITION OF young FOR VALUES IN (1);
INSERT INTO young VALUES (1);
DROP TABLE young_1;
COMMIT;
SELECT * FROM pg_temp.touched();

-- Inheritance, and tables in between that have no rule.
CREATE TABLE top (id int);
CREATE TABLE middle (id int);
CREATE TABLE bottom () INHERITS (middle);
SELECT cache_sync.register_table('top', 'top:{id}') > 0 AS registered;
SELECT cache_sync.register_table('bottom', 'bottom:{id}') > 0 AS registered;
INSERT INTO bottom VALUES (1);
SELECT * FROM pg_temp.touched();
ALTER TABLE middle INHERIT top;
INSERT INTO bottom VALUES (2);
SELECT * FROM pg_temp.touched();
ALTER TABLE middle NO INHERIT top;
INSERT INTO bottom VALUES (3);
SELECT * FROM pg_temp.touched();
ALTER TABLE middle INHERIT top;
DROP TABLE middle CASCADE;
SELECT * FROM pg_temp.touched();

-- Other types and rewritten tables.
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE DOMAIN feeling AS mood;
CREATE TYPE felt AS (at date, moods feeling[]);
CREATE TABLE item (id int, price int, at timestamp, twice int GENERATED ALWAYS AS (price * 2) STORED, felt felt);
SELECT cache_sync.register_table('item', 'item:{id}') > 0 AS registered;
INSERT INTO item VALUES (1, 1, '2000-01-01', DEFAULT, ('2000-01-01', '{sad}'));
SELECT * FROM pg_temp.touched();
ALTER TABLE item ALTER COLUMN twice SET EXPRESSION AS (price * 3);
SELECT * FROM pg_temp.touched();
ALTER TABLE item DROP COLUMN twice, ALTER COLUMN price TYPE bigint USING price + 1;
SELECT * FROM pg_temp.touched();
SET timezone = 'UTC';
-- Without rewriting, though the text is another.
ALTER TABLE item ALTER COLUMN at TYPE timestamptz;
SELECT * FROM pg_temp.touched();
ALTER TYPE mood RENAME VALUE 'sad' TO 'blue';
SELECT * FROM pg_temp.touched();
-- No row changes.
ALTER TYPE mood ADD VALUE 'calm';
ALTER TABLE item ADD COLUMN more int DEFAULT 5, ALTER COLUMN price SET DEFAULT 7, ADD CHECK (id > 0);
ALTER TABLE item SET UNLOGGED;
ALTER TABLE item SET LOGGED;
CREATE INDEX ON item (id);
CLUSTER item USING item_id_idx;
SELECT * FROM pg_temp.touched();
CREATE TYPE composed AS (id int, at timestamp);
CREATE TABLE typed OF composed;
SELECT cache_sync.register_table('typed', 'typed:{id}') > 0 AS registered;
INSERT INTO typed VALUES (1, '2000-01-01');
SELECT * FROM pg_temp.touched();
ALTER TYPE composed ALTER ATTRIBUTE id TYPE text CASCADE;
SELECT * FROM pg_temp.touched();
ALTER TYPE composed ALTER ATTRIBUTE at TYPE timestamptz CASCADE;
SELECT * FROM pg_temp.touched();
ALTER TYPE composed RENAME ATTRIBUTE id TO number CASCADE;
SELECT key FROM cache_sync.tables WHERE relation = 'typed'::regclass;
ALTER TYPE composed DROP ATTRIBUTE number CASCADE;
INSERT INTO typed VALUES ('2', '2000-01-01');
SELECT * FROM pg_temp.touched();

-- Triggers that were off for a while.
ALTER TABLE item DISABLE TRIGGER ALL;
INSERT INTO item VALUES (2, 1);
SELECT * FROM pg_temp.touched();
ALTER TABLE item ENABLE TRIGGER ALL;
SELECT * FROM pg_temp.touched();
SELECT triggers FROM cache_sync.tables WHERE relation = 'item'::regclass;
ALTER TABLE item DISABLE TRIGGER cache_sync_capture;
ALTER TABLE item ENABLE ALWAYS TRIGGER cache_sync_capture;
SELECT * FROM pg_temp.touched();

-- Not while capture is off.
SET cache_sync.enabled = off;
DROP TABLE item;
RESET cache_sync.enabled;
SELECT * FROM pg_temp.touched();
SET client_min_messages = warning;
DROP SCHEMA ddl_rows CASCADE;
DROP ROLE regress_cache_sync_other;
