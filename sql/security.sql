-- Who may do what.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA security;
SET search_path = security, public;
CREATE ROLE regress_cache_sync_owner;
CREATE ROLE regress_cache_sync_other;
CREATE ROLE regress_cache_sync_monitor IN ROLE pg_monitor;
CREATE ROLE regress_cache_sync_operator;
GRANT ALL ON SCHEMA security TO PUBLIC;

-- What everybody may call.
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'cache_sync'::regnamespace AND has_function_privilege('regress_cache_sync_other', p.oid, 'EXECUTE')
ORDER BY 1;
-- And read. Nobody may write.
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind IN ('r', 'v')
  AND has_table_privilege('regress_cache_sync_other', c.oid, 'SELECT')
ORDER BY 1;
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind IN ('r', 'v')
  AND (has_table_privilege('regress_cache_sync_other', c.oid, 'INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER')
       OR has_table_privilege('regress_cache_sync_monitor', c.oid, 'INSERT,UPDATE,DELETE,TRUNCATE,TRIGGER'));
-- What members of pg_monitor may, besides.
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'cache_sync'::regnamespace AND has_function_privilege('regress_cache_sync_monitor', p.oid, 'EXECUTE')
  AND NOT has_function_privilege('regress_cache_sync_other', p.oid, 'EXECUTE')
ORDER BY 1;
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind IN ('r', 'v')
  AND has_table_privilege('regress_cache_sync_monitor', c.oid, 'SELECT')
ORDER BY 1;

-- Functions that look names up in the caller's path: only those that have to.
SELECT p.proname, p.prosecdef FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang AND l.lanname <> 'c'
WHERE p.pronamespace = 'cache_sync'::regnamespace
  AND NOT coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false)
ORDER BY 1;

-- Registering is for owners.
SET ROLE regress_cache_sync_owner;
CREATE TABLE mine (id int, name text);
INSERT INTO mine VALUES (1, 'a');
SELECT cache_sync.register_table('mine', 'mine:{id}') > 0 AS registered;
SELECT key, triggers FROM cache_sync.tables;
SELECT kind, name FROM cache_sync.explain('mine', '{"id": 1}');
-- Their rules follow their tables, though they may not touch the rules themselves.
CREATE TABLE mine_too (id int, part int) PARTITION BY LIST (part);
SELECT cache_sync.register_table('mine_too', 'mine_too:{id}') > 0 AS registered;
CREATE TABLE mine_too_1 PARTITION OF mine_too FOR VALUES IN (1);
ALTER TABLE mine_too RENAME id TO number;
SELECT key, triggers FROM cache_sync.tables ORDER BY key;
ALTER TABLE mine_too DROP COLUMN number;
DROP TABLE mine_too;
SELECT key FROM cache_sync.tables;
SET ROLE regress_cache_sync_other;
SELECT cache_sync.register_table('mine', 'other:{id}');
SELECT cache_sync.unregister_table('mine');
SELECT key FROM cache_sync.tables;
SELECT cache_sync._store_rule('mine', 'other:{id}', '{}', NULL, NULL);
SELECT cache_sync._delete_rules('mine', NULL);
SELECT cache_sync._place_triggers('mine', true);
RESET ROLE;
ALTER TABLE mine DISABLE TRIGGER cache_sync_capture;
SET ROLE regress_cache_sync_other;
SELECT cache_sync._place_triggers('mine', true);
RESET ROLE;
ALTER TABLE mine ENABLE ALWAYS TRIGGER cache_sync_capture;
SET ROLE regress_cache_sync_other;
TABLE cache_sync.rule;
TABLE cache_sync.queue;
TABLE cache_sync.queue_0;
TABLE cache_sync.targets;
SELECT * FROM cache_sync.check();
SELECT cache_sync.invalidate('x');
SELECT cache_sync.invalidate_tags('x');
SELECT cache_sync.flush();
SELECT cache_sync.pause();
SELECT cache_sync.drain();
SELECT cache_sync.stat_reset();
SELECT cache_sync._queue_flush('');
SET cache_sync.enabled = off;
CREATE SERVER mine FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h');
RESET ROLE;

-- Monitoring.
SET ROLE regress_cache_sync_monitor;
SELECT key FROM cache_sync.tables;
SELECT count(*) > 0 AS targets FROM cache_sync.targets;
SELECT count(*) >= 0 AS queue FROM cache_sync.queue;
SELECT count(*) > 0 AS workers FROM cache_sync.workers;
SELECT count(*) > 0 AS stat_capture FROM cache_sync.stat_capture;
SELECT count(*) >= 0 AS stat_targets FROM cache_sync.stat_targets;
SELECT count(*) > 5 AS checks FROM cache_sync.check();
RESET ROLE;

-- An operator needs EXECUTE and nothing else.
GRANT EXECUTE ON FUNCTION cache_sync.pause(name), cache_sync.resume(name), cache_sync.flush(name)
    TO regress_cache_sync_operator;
CREATE SERVER operated FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:1/0', paused 'true');
SET ROLE regress_cache_sync_operator;
SELECT cache_sync.resume('operated');
SELECT cache_sync.pause('operated');
SELECT cache_sync.flush('operated');
RESET ROLE;
SELECT paused FROM cache_sync.targets WHERE name = 'operated';
SELECT * FROM pg_temp.touched();
DROP SERVER operated;

-- Names in a condition are looked up in the path of who registers, and written down with their schema: a writer with
-- another path, or with something of the same name in it, evaluates the same.
CREATE FUNCTION security.wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT $1 > 1';
SET ROLE regress_cache_sync_owner;
SELECT cache_sync.register_table('mine', 'wanted:{id}', condition => 'wanted(id) AND id < 10') > 0 AS registered;
SELECT condition FROM cache_sync.tables WHERE key = 'wanted:{id}';
GRANT ALL ON mine TO regress_cache_sync_other;
RESET ROLE;
SELECT * FROM pg_temp.touched();
CREATE SCHEMA security_other;
GRANT ALL ON SCHEMA security_other TO PUBLIC;
SET ROLE regress_cache_sync_other;
CREATE FUNCTION security_other.wanted(int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION security_other.less(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR security_other.< (LEFTARG = int, RIGHTARG = int, FUNCTION = security_other.less);
SET search_path = security_other, pg_catalog;
INSERT INTO security.mine VALUES (1), (2), (11);
RESET ROLE;
SET search_path = security, public;
SELECT * FROM pg_temp.touched();
-- And whoever plants functions in the path of who registers gains nothing by it.
CREATE FUNCTION security_other._check_rule(regclass, text, text[], name[], text) RETURNS text LANGUAGE sql AS $$SELECT 'stolen'$$;
SET search_path = security_other, security, pg_catalog;
SELECT cache_sync.register_table('mine', 'path:{id}') > 0 AS registered;
SELECT condition FROM cache_sync.tables WHERE key = 'path:{id}';
RESET search_path;

SET client_min_messages = warning;
DROP SCHEMA security, security_other CASCADE;
DROP OWNED BY regress_cache_sync_operator;
DROP ROLE regress_cache_sync_owner, regress_cache_sync_other, regress_cache_sync_monitor, regress_cache_sync_operator;
