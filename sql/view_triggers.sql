-- The triggers on what registered views read: where they are after each DDL, and what they queue.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\set views :src '/sql/helper/views.sql'
\i :pending
\i :views
\set ECHO all
CREATE SCHEMA view_triggers;
SET search_path = view_triggers, public;
CREATE FUNCTION pg_temp.watched() RETURNS TABLE (relation name, triggers text) LANGUAGE sql AS $$
    SELECT p.relation, string_agg(format('%s %s', p.trigger_name, p.fires), ', ' ORDER BY p.trigger_name)
    FROM pg_temp.placed('view_triggers') p WHERE p.trigger_name LIKE '%change%' GROUP BY 1 ORDER BY 1
$$;
CREATE TABLE a (id int PRIMARY KEY, name text);
CREATE TABLE b (id int);
CREATE TABLE part (id int, region text) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu');
CREATE VIEW va AS SELECT * FROM a;
CREATE MATERIALIZED VIEW ma AS SELECT id FROM va;
CREATE MATERIALIZED VIEW mp AS SELECT * FROM part;
SELECT cache_sync.register_view('ma');
SELECT cache_sync.register_view('mp');
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();

-- One mark a transaction and relation, however many rows and statements; none for what changed nothing or was undone.
BEGIN;
INSERT INTO a SELECT g, 'a' FROM generate_series(1, 100) g;
UPDATE a SET name = 'b';
DELETE FROM a WHERE id > 50;
INSERT INTO part VALUES (1, 'eu');
COMMIT;
SELECT * FROM pg_temp.marked();
UPDATE a SET name = 'c' WHERE id < 0;
DELETE FROM a WHERE false;
INSERT INTO a VALUES (1) ON CONFLICT DO NOTHING;
MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE;
COPY a FROM stdin;
\.
BEGIN;
INSERT INTO a VALUES (1000);
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO a VALUES (1000);
ROLLBACK TO s;
COMMIT;
SELECT * FROM pg_temp.marked();
-- A mark that was rolled back is made again.
BEGIN;
SAVEPOINT s;
INSERT INTO a VALUES (1001);
ROLLBACK TO s;
INSERT INTO a VALUES (1002);
SAVEPOINT s2;
INSERT INTO a VALUES (1003);
COMMIT;
SELECT * FROM pg_temp.marked();
-- Directly into the partition, moved between partitions, TRUNCATE of both.
INSERT INTO part_eu VALUES (2, 'eu');
SELECT * FROM pg_temp.marked();
TRUNCATE part_eu;
SELECT * FROM pg_temp.marked();
TRUNCATE part;
SELECT * FROM pg_temp.marked();
COPY a FROM stdin;
2000	x
\.
SELECT * FROM pg_temp.marked();
MERGE INTO a USING (VALUES (2000)) AS n (id) ON a.id = n.id WHEN MATCHED THEN UPDATE SET name = 'y';
SELECT * FROM pg_temp.marked();
-- As logical apply does.
SET session_replication_role = replica;
INSERT INTO part_eu SELECT g, 'eu' FROM generate_series(1, 10) g;
UPDATE a SET name = 'z' WHERE id < 5;
DELETE FROM a WHERE id = 1;
RESET session_replication_role;
SELECT * FROM pg_temp.marked();
-- Not while capturing is off.
SET cache_sync.enabled = off;
UPDATE a SET name = 'off';
RESET cache_sync.enabled;
SELECT * FROM pg_temp.marked();
-- PREPARE TRANSACTION.
BEGIN;
UPDATE a SET name = 'prepared';
PREPARE TRANSACTION 'view_triggers';
COMMIT PREPARED 'view_triggers';
SELECT * FROM pg_temp.marked();

-- New partitions and children; rows that come or go with them count as changes of the parent.
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us') PARTITION BY RANGE (id);
CREATE TABLE part_us_1 PARTITION OF part_us FOR VALUES FROM (0) TO (100);
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
CREATE TABLE loose (id int, region text);
ALTER TABLE part ATTACH PARTITION loose FOR VALUES IN ('loose');
SELECT * FROM pg_temp.marked();
ALTER TABLE part DETACH PARTITION loose;
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
INSERT INTO loose VALUES (1, 'loose');
ALTER TABLE part ATTACH PARTITION loose FOR VALUES IN ('loose');
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
ALTER TABLE part DETACH PARTITION loose;
SELECT * FROM pg_temp.marked();
INSERT INTO loose VALUES (2, 'loose');
SELECT * FROM pg_temp.marked();
-- A table with triggers for a view of its own can be attached.
CREATE MATERIALIZED VIEW ml AS SELECT * FROM loose;
SELECT cache_sync.register_view('ml');
ALTER TABLE part ATTACH PARTITION loose FOR VALUES IN ('loose');
SELECT * FROM pg_temp.watched() WHERE relation = 'loose';
SELECT cache_sync.unregister_view('ml');
SELECT * FROM pg_temp.watched() WHERE relation = 'loose';
SELECT * FROM pg_temp.marked() WHERE kind = 'nothing';
DROP TABLE loose CASCADE;
SELECT * FROM pg_temp.marked();
CREATE TABLE child () INHERITS (a);
SELECT * FROM pg_temp.watched() WHERE relation IN ('a', 'child');
INSERT INTO child VALUES (1);
UPDATE a SET name = 'child' WHERE tableoid = 'child'::regclass;
SELECT * FROM pg_temp.marked();
ALTER TABLE child NO INHERIT a;
SELECT * FROM pg_temp.watched() WHERE relation IN ('a', 'child');
SELECT * FROM pg_temp.marked();
ALTER TABLE child INHERIT a;
SELECT * FROM pg_temp.marked();
DROP TABLE child;
SELECT * FROM pg_temp.marked();
INSERT INTO part_us VALUES (1, 'us');
SELECT * FROM pg_temp.marked() WHERE kind = 'nothing';
ALTER TABLE part DETACH PARTITION part_us CONCURRENTLY;
SELECT * FROM pg_temp.watched() WHERE relation ~ 'part_us';
SELECT * FROM pg_temp.marked();
DROP TABLE part_us;
CREATE SCHEMA view_triggers_2 CREATE TABLE part_asia PARTITION OF view_triggers.part FOR VALUES IN ('asia');
SELECT * FROM pg_temp.placed('view_triggers_2');
DROP SCHEMA view_triggers_2 CASCADE;
SELECT * FROM pg_temp.marked();
-- Tables that have nothing to do with views get nothing.
CREATE TABLE unrelated (id int);
CREATE TEMP TABLE temporary (id int);
ALTER TABLE unrelated ADD name text;
CREATE VIEW unrelated_view AS SELECT * FROM unrelated;
SELECT * FROM pg_temp.watched();

-- A view below is redefined: at once the new tables have triggers, the old ones none, and the view is stale.
CREATE OR REPLACE VIEW va AS SELECT id, 'b'::text AS name FROM b;
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
CREATE OR REPLACE RULE "_RETURN" AS ON SELECT TO va DO INSTEAD SELECT a.id, a.name FROM a JOIN b USING (id);
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
BEGIN;
CREATE OR REPLACE VIEW va AS SELECT id, name FROM a;
ROLLBACK;
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
ALTER VIEW va RENAME TO va2;
ALTER VIEW va2 RENAME TO va;
SELECT count(*) > 0 AS harmless FROM pg_temp.marked();

-- Beside the triggers of register_table().
SELECT cache_sync.register_table('a', 'a:{id}') > 0 AS registered;
UPDATE a SET name = 'both' WHERE id = 3;
SELECT * FROM pg_temp.marked();
SELECT cache_sync.unregister_table('a');
SELECT * FROM pg_temp.watched();

-- Disabled triggers.
ALTER TABLE a DISABLE TRIGGER cache_sync_change;
ALTER TABLE b ENABLE TRIGGER cache_sync_change_replica;
SELECT ok, detail, hint FROM cache_sync.check() WHERE "check" = 'view triggers';
SELECT cache_sync.register_view('ma');
SELECT ok, detail FROM cache_sync.check() WHERE "check" = 'view triggers';
SELECT * FROM pg_temp.marked();
ALTER TABLE a DISABLE TRIGGER ALL;
ALTER TABLE a ENABLE TRIGGER ALL;
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
DROP TRIGGER cache_sync_change ON a;
SELECT ok, detail FROM cache_sync.check() WHERE "check" = 'view triggers';
SELECT cache_sync.register_view('ma');
SELECT * FROM pg_temp.marked();
ALTER TABLE cache_sync.view DISABLE TRIGGER ALL;
ALTER TABLE cache_sync.view ENABLE TRIGGER ALL;
SELECT tgname, tgenabled FROM pg_trigger WHERE tgrelid = 'cache_sync.view'::regclass;

-- Two views on one table: the triggers stay as long as one needs them.
CREATE MATERIALIZED VIEW mb AS SELECT * FROM b;
SELECT cache_sync.register_view('mb');
SELECT cache_sync.unregister_view('ma');
SELECT * FROM pg_temp.watched();
SELECT cache_sync.register_view('mb', on_change => false);
SELECT * FROM pg_temp.watched();
SELECT cache_sync.register_view('mb');
DROP MATERIALIZED VIEW mb, mp;
SELECT * FROM pg_temp.watched();

-- Privileges: of the owner of the view, on what its query names.
CREATE ROLE regress_trigger_owner;
GRANT USAGE, CREATE ON SCHEMA view_triggers TO regress_trigger_owner;
GRANT SELECT ON a, b, part TO regress_trigger_owner;
GRANT TRIGGER ON part TO regress_trigger_owner;
SET ROLE regress_trigger_owner;
CREATE VIEW own AS SELECT id, region FROM part;
CREATE MATERIALIZED VIEW own_m AS SELECT * FROM own;
SELECT cache_sync.register_view('own_m');
SELECT * FROM pg_temp.watched();
-- A table that comes later is missed with a warning, and check() goes on saying so.
CREATE OR REPLACE VIEW own AS SELECT a.id, b.id::text AS region FROM a, b;
RESET ROLE;
SELECT * FROM pg_temp.watched();
SELECT ok, detail, hint FROM cache_sync.check() WHERE "check" IN ('view triggers', 'view privileges');
SELECT * FROM pg_temp.marked() WHERE kind = 'nothing';
GRANT TRIGGER ON a TO regress_trigger_owner;
GRANT ALL ON b TO regress_trigger_owner;
SELECT * FROM pg_temp.watched();
SELECT * FROM pg_temp.marked();
-- Taking the right away takes no trigger away.
REVOKE TRIGGER ON a FROM regress_trigger_owner;
CREATE OR REPLACE VIEW own AS SELECT a.id, b.id::text AS region FROM a, b WHERE a.id > 0;
SELECT * FROM pg_temp.watched();
-- The owner's own tables take no privilege.
SET ROLE regress_trigger_owner;
CREATE TABLE own_table (id int);
CREATE OR REPLACE VIEW own AS SELECT id, ''::text AS region FROM own_table;
RESET ROLE;
SELECT * FROM pg_temp.watched();

-- Where else the trigger function is called.
SELECT cache_sync.capture_change();
CREATE TRIGGER early BEFORE INSERT ON unrelated FOR EACH ROW EXECUTE FUNCTION cache_sync.capture_change();
INSERT INTO unrelated VALUES (1);
DROP TABLE unrelated CASCADE;
DROP MATERIALIZED VIEW own_m;
SELECT * FROM pg_temp.watched();
SELECT (SELECT count(*) FROM cache_sync.view) AS views, (SELECT count(*) FROM cache_sync.rule) AS rules;

ALTER SYSTEM RESET cache_sync.max_refresh_workers;
SELECT pg_reload_conf();
SET client_min_messages = warning;
DROP SCHEMA view_triggers CASCADE;
DROP OWNED BY regress_trigger_owner;
DROP ROLE regress_trigger_owner;
