-- Registering views: what is checked, what is stored, who may.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\set views :src '/sql/helper/views.sql'
\i :pending
\i :views
\set ECHO all
CREATE SCHEMA register_view;
SET search_path = register_view, public;
CREATE TABLE product (id int PRIMARY KEY, category int, name text, price money);
CREATE VIEW product_view AS SELECT * FROM product;
CREATE MATERIALIZED VIEW top AS SELECT id, name, price FROM product;
CREATE MATERIALIZED VIEW clock AS SELECT now() AS at;
CREATE MATERIALIZED VIEW constant AS SELECT 1 AS one;
CREATE SEQUENCE product_seq;

-- First the SQLSTATEs alone, then the texts.
\set VERBOSITY sqlstate
SELECT cache_sync.register_view(NULL);
SELECT cache_sync.register_view('product');
SELECT cache_sync.register_view('product_view');
SELECT cache_sync.register_view('product_seq');
SELECT cache_sync.register_view(4294967295::regclass);
SELECT cache_sync.register_view('top', '61 * * * *');
SELECT cache_sync.register_view('top', on_change => NULL);
SELECT cache_sync.register_view('top', min_interval => NULL);
SELECT cache_sync.register_view('top', min_interval => '-1 second');
SELECT cache_sync.register_view('top', min_interval => '1 month');
SELECT cache_sync.register_view('top', min_interval => '25 days');
SELECT cache_sync.register_view('top', min_interval => 'infinity');
SELECT cache_sync.register_view('top', statement_timeout => '0');
SELECT cache_sync.register_view('top', statement_timeout => '1 year');
SELECT cache_sync.register_view('top', key => 'top:{nothing}');
SELECT cache_sync.register_view('top', key => 'top:{id');
SELECT cache_sync.register_view('top', key => 'top:{price}');
SELECT cache_sync.register_view('top', key => '');
SELECT cache_sync.register_view('top', tags => '{"{nothing}"}');
SELECT cache_sync.register_view('top', tags => '{a,NULL}');
SELECT cache_sync.register_view('top', concurrently => true);
SELECT cache_sync.register_view('clock');
SELECT cache_sync.register_view('constant');
SELECT cache_sync.unregister_view(NULL);
SELECT cache_sync.unregister_view('product');
SELECT cache_sync.refresh(NULL);
SELECT cache_sync.refresh('product');
SELECT cache_sync.refresh('top');
SELECT cache_sync.register_table('top', 'top:{id}');
SELECT cache_sync.unregister_table('top');
\set VERBOSITY default
SELECT cache_sync.register_view(NULL);
SELECT cache_sync.register_view('product');
SELECT cache_sync.register_view('product_view');
SELECT cache_sync.register_view('product_seq');
SELECT cache_sync.register_view(4294967295::regclass);
SELECT cache_sync.register_view('top', '61 * * * *');
SELECT cache_sync.register_view('top', on_change => NULL);
SELECT cache_sync.register_view('top', min_interval => NULL);
SELECT cache_sync.register_view('top', min_interval => '-1 second');
SELECT cache_sync.register_view('top', min_interval => '1 month');
SELECT cache_sync.register_view('top', min_interval => '25 days');
SELECT cache_sync.register_view('top', statement_timeout => '0');
SELECT cache_sync.register_view('top', key => 'top:{nothing}');
SELECT cache_sync.register_view('top', key => 'top:{id');
SELECT cache_sync.register_view('top', key => 'top:{price}');
SELECT cache_sync.register_view('top', tags => '{"{nothing}"}');
SELECT cache_sync.register_view('top', tags => '{a,NULL}');
SELECT cache_sync.register_view('top', concurrently => true);
SELECT cache_sync.register_view('clock');
SELECT cache_sync.register_view('constant');
SELECT cache_sync.refresh('top');
SELECT cache_sync.register_table('top', 'top:{id}');
SELECT cache_sync.unregister_table('top');

-- Nothing of all that was stored or placed.
SELECT view FROM cache_sync.views WHERE view::text ~ 'top|clock|constant';
SELECT * FROM pg_temp.placed('register_view');
SELECT * FROM pg_temp.marked();

-- Neither schedule nor on_change: on request only. With a schedule, a view may read what nobody sees.
SELECT cache_sync.register_view('constant', on_change => false);
SELECT cache_sync.register_view('clock', '1 hour');
SELECT cache_sync.register_view('clock', '1 hour', on_change => false);
SELECT view, schedule, on_change, unseen FROM cache_sync.views ORDER BY view::text;
SELECT cache_sync.unregister_view('constant');
SELECT cache_sync.unregister_view('clock');
SELECT * FROM pg_temp.placed('register_view');
SELECT * FROM pg_temp.marked() WHERE kind <> 'view';

-- The same again changes nothing, other options do.
SELECT cache_sync.register_view('top', min_interval => '5 seconds', key => 'top:{id}', tags => '{tops,"top:{name}"}');
TABLE cache_sync.view;
SELECT relation, key, tags FROM cache_sync.rule WHERE relation = 'top'::regclass;
SELECT * FROM pg_temp.placed('register_view');
SELECT * FROM pg_temp.marked();
SELECT v.xmin AS view_xmin, r.xmin AS rule_xmin, r.id AS rule_id
FROM cache_sync.view v JOIN cache_sync.rule r ON r.relation = v.view \gset
SELECT cache_sync.register_view('top', min_interval => '5 seconds', key => 'top:{id}', tags => '{tops,"top:{name}"}');
SELECT v.xmin = :'view_xmin' AS same_view, r.xmin = :'rule_xmin' AS same_rule, r.id = :rule_id AS same_id
FROM cache_sync.view v JOIN cache_sync.rule r ON r.relation = v.view;
SELECT * FROM pg_temp.marked();
SELECT cache_sync.register_view('top', on_change => false, key => 'new:{id}', statement_timeout => '10 minutes', concurrently => false);
TABLE cache_sync.view;
SELECT relation, key, tags FROM cache_sync.rule WHERE relation = 'top'::regclass;
SELECT * FROM pg_temp.placed('register_view');
SELECT cache_sync.register_view('top', tags => '{tops}');
SELECT relation, key, tags FROM cache_sync.rule WHERE relation = 'top'::regclass;
SELECT * FROM pg_temp.marked();
SELECT cache_sync.register_view('top', tags => NULL);
SELECT relation, key, tags FROM cache_sync.rule WHERE relation = 'top'::regclass;

-- The rule is one like those of tables, but it is not among them, and no row trigger belongs to it.
SELECT cache_sync.register_view('top', key => 'top:{id}', tags => '{"{name}"}');
SELECT kind, name FROM cache_sync.explain('top', '{"id": 1, "name": "a b"}');
SELECT key FROM cache_sync.tables WHERE key LIKE 'top%';
SELECT key, tags, base_tables, depends_on, method, method_reason FROM cache_sync.views;
SELECT "check", ok, detail FROM cache_sync.check() WHERE "check" IN ('triggers', 'rules', 'view triggers', 'view privileges', 'views populated', 'views concurrently');

-- It follows renames of the view and of its columns.
ALTER MATERIALIZED VIEW top RENAME COLUMN id TO number;
ALTER TABLE top RENAME COLUMN name TO title;
ALTER MATERIALIZED VIEW top RENAME TO topmost;
SELECT view, key, tags FROM cache_sync.views;
SELECT kind, name FROM cache_sync.explain('topmost', '{"number": 1, "title": "a b"}');
ALTER MATERIALIZED VIEW topmost RENAME COLUMN number TO "a}b";

-- Concurrently.
CREATE INDEX topmost_plain ON topmost (number);
CREATE UNIQUE INDEX topmost_partial ON topmost (number) WHERE number > 0;
CREATE UNIQUE INDEX topmost_expression ON topmost ((number + 1));
SELECT method, method_reason FROM cache_sync.views;
CREATE UNIQUE INDEX topmost_number ON topmost (number);
SELECT method, method_reason FROM cache_sync.views;
SELECT cache_sync.register_view('topmost', concurrently => true);
SELECT cache_sync.register_view('topmost', concurrently => false);
SELECT method, method_reason FROM cache_sync.views;
SELECT cache_sync.register_view('topmost', concurrently => true);
REFRESH MATERIALIZED VIEW topmost WITH NO DATA;
SELECT method, method_reason FROM cache_sync.views;
REFRESH MATERIALIZED VIEW topmost;
DROP INDEX topmost_number;
SELECT "check", ok, detail FROM cache_sync.check() WHERE "check" IN ('view triggers', 'views populated', 'views concurrently');
CREATE UNIQUE INDEX topmost_number ON topmost (number);

-- What is known of refreshes. The newest of each kind counts, not the one that finished last.
INSERT INTO cache_sync.refresh_run (view, reason, state, requested_by, started_at, finished_at, "concurrently", rows_inserted, rows_removed, keys, tags, sqlstate, message)
SELECT 'topmost'::regclass, x.reason, x.state, NULL, x.started::timestamptz, x.started::timestamptz + interval '1.5 seconds', x.state = 'succeeded', x.n, x.n, x.n, 0, x.sqlstate, x.message
FROM (VALUES ('schedule', 'succeeded', '2026-01-01 00:00:00+00', 10, NULL, NULL),
             ('change', 'failed', '2026-01-01 00:01:00+00', NULL, '22012', 'division by zero'),
             ('change', 'succeeded', '2026-01-01 00:02:00+00', 20, NULL, NULL),
             ('request', 'canceled', '2026-01-01 00:03:00+00', NULL, '57014', 'canceling statement due to user request'),
             ('request', 'canceled', '2026-01-01 00:04:00+00', NULL, NULL, 'nobody waits for it')) AS x (reason, state, started, n, sqlstate, message);
SET timezone = 'UTC';
SELECT last_success, last_failure, last_sqlstate, last_error, last_duration, last_rows_inserted, last_rows_removed FROM cache_sync.views;
SELECT reason, state, duration, method, rows_inserted, rows_removed, keys, tags, sqlstate, message FROM cache_sync.refresh_history ORDER BY id;
SELECT "check", ok, detail, hint FROM cache_sync.check() WHERE "check" = 'view refreshes';
INSERT INTO cache_sync.refresh_run (view, reason, state, sqlstate, message) VALUES ('topmost'::regclass, 'change', 'failed', '22012', 'division by zero');
SELECT "check", ok, detail, hint FROM cache_sync.check() WHERE "check" = 'view refreshes';
SELECT "check", ok, detail, hint FROM cache_sync.check() WHERE "check" = 'views';
RESET timezone;

-- Asking for a refresh: every call gets an id, and it goes with the transaction.
DELETE FROM cache_sync.refresh_run;
SELECT * FROM pg_temp.marked() WHERE kind = 'nothing';
SELECT cache_sync.refresh('topmost') < cache_sync.refresh('topmost') AS ascending;
BEGIN;
SELECT cache_sync.refresh('topmost') > 0 AS asked;
ROLLBACK;
SELECT view, reason, state, requested_by = current_user AS by_me, requested_at IS NOT NULL AS at, started_at, message
FROM cache_sync.refresh_history;
SELECT state, next_run IS NOT NULL AS next_run FROM cache_sync.views;
SELECT * FROM pg_temp.marked();
SELECT cache_sync.unregister_view('topmost');
SELECT view, reason, state, finished_at IS NOT NULL AS finished, message FROM cache_sync.refresh_history;
SELECT cache_sync.unregister_view('topmost');
SELECT * FROM pg_temp.placed('register_view');
SELECT count(*) FROM cache_sync.rule WHERE relation = 'topmost'::regclass;
SELECT view FROM cache_sync.views;

DELETE FROM cache_sync.refresh_run;

-- A dropped view takes everything along; what its key may have named is invalid.
SELECT cache_sync.register_view('topmost', key => 'top:{number}');
SELECT cache_sync.refresh('topmost') > 0 AS asked;
SELECT * FROM pg_temp.marked() WHERE kind = 'nothing';
DROP MATERIALIZED VIEW topmost;
SELECT (SELECT count(*) FROM cache_sync.view) AS views, (SELECT count(*) FROM cache_sync.refresh_run) AS runs,
       (SELECT count(*) FROM cache_sync.rule WHERE key LIKE 'top%') AS rules;
SELECT * FROM pg_temp.placed('register_view');
SELECT * FROM pg_temp.marked();

-- Who may: the owner of the view, and members of that role. The owner needs TRIGGER on what it reads.
CREATE ROLE regress_view_owner;
CREATE ROLE regress_view_member IN ROLE regress_view_owner;
CREATE ROLE regress_view_other;
CREATE ROLE regress_view_monitor IN ROLE pg_monitor;
GRANT USAGE, CREATE ON SCHEMA register_view TO regress_view_owner, regress_view_member, regress_view_other, regress_view_monitor;
GRANT SELECT ON product TO regress_view_owner;
SET ROLE regress_view_owner;
CREATE MATERIALIZED VIEW theirs AS SELECT id, name FROM product;
SELECT cache_sync.register_view('theirs');
SELECT cache_sync.register_view('theirs', on_change => false);
SELECT cache_sync.register_view('theirs');
RESET ROLE;
-- Not even by a superuser: it is the owner's rights that count.
SELECT cache_sync.register_view('theirs');
GRANT TRIGGER ON product TO regress_view_owner;
SET ROLE regress_view_member;
SELECT cache_sync.register_view('theirs', key => 'theirs:{id}');
SELECT cache_sync.refresh('theirs') > 0 AS asked;
SELECT view, owner, key, state FROM cache_sync.views;
SELECT view, requested_by FROM cache_sync.refresh_history;
SELECT view, refreshes FROM cache_sync.stat_views;
SET ROLE regress_view_other;
SELECT cache_sync.register_view('theirs');
SELECT cache_sync.unregister_view('theirs');
SELECT cache_sync.refresh('theirs');
SELECT view FROM cache_sync.views;
SELECT view FROM cache_sync.refresh_history;
SELECT view FROM cache_sync.stat_views;
SELECT cache_sync._register_view(0, 'theirs', NULL, true, '1 second', NULL, NULL, NULL, NULL);
SELECT cache_sync._refresh(0, 'theirs');
SELECT cache_sync._touch_view('theirs'::regclass);
SELECT cache_sync._place_view_triggers();
TABLE cache_sync.view;
SET ROLE regress_view_monitor;
SELECT view FROM cache_sync.views;
SELECT view FROM cache_sync.refresh_history;
SELECT view FROM cache_sync.stat_views;
SELECT cache_sync.refresh('theirs');
SET ROLE regress_view_owner;
SELECT cache_sync.unregister_view('theirs');
RESET ROLE;

-- In REPEATABLE READ, not on old knowledge.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT cache_sync.register_view('theirs');
SELECT view FROM cache_sync.views;
ROLLBACK;
SELECT view FROM cache_sync.views;

ALTER SYSTEM RESET cache_sync.max_refresh_workers;
SELECT pg_reload_conf();
SET client_min_messages = warning;
DROP SCHEMA register_view CASCADE;
DROP OWNED BY regress_view_owner, regress_view_member, regress_view_other, regress_view_monitor;
DROP ROLE regress_view_owner, regress_view_member, regress_view_other, regress_view_monitor;
