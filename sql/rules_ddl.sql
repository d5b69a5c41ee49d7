-- Rules follow their tables: renames, drops, and a dump that is being restored.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA rules_ddl;
SET search_path = rules_ddl, public;
CREATE TABLE item (id int PRIMARY KEY, name text, price int, year int, zone text, extra int);
SELECT cache_sync.register_table('item', 'item:{id}:{name|raw}:{{name}}', '{"{name}","zone:{zone}"}', '{name,price}',
    'price > 1 AND name <> ''name'' AND extract(year FROM now()) > year AND year::text <> zone') > 0 AS registered;
-- Ids differ from run to run.
CREATE VIEW rules AS
SELECT relation, key, tags, columns, condition FROM cache_sync.tables WHERE relation::text ~ 'item|kid|side' ORDER BY key;
\x
TABLE rules;
-- Renaming a column.
ALTER TABLE item RENAME name TO title;
TABLE rules;
INSERT INTO item VALUES (1, 'a', 5, 1999, 'z');
SELECT * FROM pg_temp.touched();
ALTER TABLE item RENAME title TO "The ""Title""";
ALTER TABLE item RENAME year TO name;
TABLE rules;
UPDATE item SET price = 6;
SELECT * FROM pg_temp.touched();
ALTER TABLE item RENAME name TO year;
ALTER TABLE item RENAME "The ""Title""" TO name;
ALTER TABLE item RENAME price TO "price|raw";
ALTER TABLE item RENAME "price|raw" TO price;
-- The table itself, its schema, its other columns.
ALTER TABLE item RENAME extra TO more;
ALTER TABLE item ADD COLUMN even_more int, DROP COLUMN more;
ALTER TABLE item ALTER COLUMN price TYPE bigint;
ALTER TABLE item RENAME TO item_renamed;
ALTER TABLE item_renamed SET SCHEMA public;
TABLE rules;
UPDATE item_renamed SET price = 7;
SELECT * FROM pg_temp.touched();
ALTER TABLE item_renamed SET SCHEMA rules_ddl;
ALTER TABLE item_renamed RENAME TO item;
\x
-- A column that cannot be written into a template.
ALTER TABLE item RENAME zone TO "a{b}";
ALTER TABLE item RENAME zone TO "a|b";

-- A column that a rule needs cannot be dropped.
ALTER TABLE item DROP COLUMN id;
ALTER TABLE item DROP COLUMN zone CASCADE;
ALTER TABLE item DROP COLUMN price;
ALTER TABLE item DROP COLUMN year;
SELECT cache_sync.unregister_table('item');
ALTER TABLE item DROP COLUMN year;

-- Renames reach the rules of partitions and children.
CREATE TABLE side (id int, part int) PARTITION BY LIST (part);
CREATE TABLE side_1 PARTITION OF side FOR VALUES IN (1);
SELECT cache_sync.register_table('side_1', 'side_1:{id}') > 0 AS registered;
ALTER TABLE side RENAME id TO number;
SELECT relation, key FROM rules;
ALTER TABLE side DROP COLUMN number;
INSERT INTO side VALUES (1, 1);
SELECT * FROM pg_temp.touched();

-- Dropped tables take their rules along, however they are dropped.
SELECT cache_sync.register_table('side', 'side:{number}') > 0 AS registered;
DROP TABLE side_1;
SELECT relation, key FROM rules;
CREATE TYPE composed AS (id int);
CREATE TABLE kid OF composed;
SELECT cache_sync.register_table('kid', 'kid:{id}') > 0 AS registered;
DROP TYPE composed CASCADE;
SELECT relation, key FROM rules;
CREATE SCHEMA rules_ddl_too;
CREATE TABLE rules_ddl_too.kid (id int);
SELECT cache_sync.register_table('rules_ddl_too.kid', 'kid:{id}') > 0 AS registered;
DROP SCHEMA rules_ddl_too CASCADE;
BEGIN;
DROP TABLE side;
ROLLBACK;
SELECT relation, key FROM rules;
INSERT INTO side VALUES (1, 2);
CREATE TABLE side_2 PARTITION OF side FOR VALUES IN (2);
INSERT INTO side VALUES (1, 2);
SELECT * FROM pg_temp.touched();

-- A rule that changes in one session is known at once, also to prepared statements.
PREPARE put AS INSERT INTO side VALUES ($1, 2);
EXECUTE put(2);
SELECT cache_sync.register_table('side', 'other:{number}') > 0 AS registered;
EXECUTE put(3);
SELECT cache_sync.unregister_table('side', 'side:{number}');
EXECUTE put(4);
SELECT * FROM pg_temp.touched();
-- In the transaction itself, and after it was rolled back.
BEGIN;
SELECT cache_sync.register_table('side', 'brief:{number}') > 0 AS registered;
EXECUTE put(5);
ROLLBACK;
EXECUTE put(6);
SELECT * FROM pg_temp.touched();

-- Triggers that somebody switched off.
ALTER TABLE side DISABLE TRIGGER ALL;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'side'::regclass;
ALTER TABLE side ADD COLUMN more int;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'side'::regclass;
SELECT cache_sync.register_table('side', 'other:{number}') > 0 AS registered;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'side'::regclass;
DROP TRIGGER cache_sync_truncate ON side_2;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'side'::regclass;
ALTER TABLE side ADD COLUMN still_more int;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'side'::regclass;

-- While a dump is restored nothing is placed: its own CREATE TRIGGER commands come later.
CREATE TABLE restored (id int, part int) PARTITION BY LIST (part);
SELECT cache_sync.register_table('restored', 'restored:{id}') > 0 AS registered;
SET check_function_bodies = off;
SELECT set_config('search_path', '', false);
CREATE TABLE rules_ddl.restored_1 PARTITION OF rules_ddl.restored FOR VALUES IN (1);
CREATE TRIGGER cache_sync_truncate AFTER TRUNCATE ON rules_ddl.restored_1
    FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.capture_truncate();
ALTER TABLE rules_ddl.restored_1 ENABLE ALWAYS TRIGGER cache_sync_truncate;
RESET check_function_bodies;
SET search_path = rules_ddl, public;
SELECT relation, triggers FROM cache_sync.tables WHERE relation = 'restored'::regclass;
SET client_min_messages = warning;
DROP SCHEMA rules_ddl CASCADE;
SELECT count(*) FROM cache_sync.rule_column c WHERE NOT EXISTS (SELECT FROM cache_sync.rule r WHERE r.relation = c.relation);
