-- Registering checks its arguments and says what is wrong.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA register_errors;
SET search_path = register_errors, public;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, note text);
CREATE VIEW item_view AS SELECT * FROM item;
CREATE MATERIALIZED VIEW item_matview AS SELECT * FROM item;
CREATE SEQUENCE item_seq;
CREATE TEMP TABLE item_temp (id int);
CREATE UNLOGGED TABLE item_unlogged (id int);
CREATE INDEX item_name ON item (name);
\set VERBOSITY sqlstate
-- First the SQLSTATEs alone, then the texts.
SELECT cache_sync.register_table(NULL, 'item:{id}');
SELECT cache_sync.register_table('item');
SELECT cache_sync.register_table('item', 'item:{nothing}');
SELECT cache_sync.register_table('item', 'item:{id');
SELECT cache_sync.register_table('item', 'item:id}');
SELECT cache_sync.register_table('item', 'item:{}');
SELECT cache_sync.register_table('item', 'item:{id|upper}');
SELECT cache_sync.register_table('item', '');
SELECT cache_sync.register_table('item', repeat('x', 5000));
SELECT cache_sync.register_table('item', 'item:{id}', '{"tag:{nothing}"}');
SELECT cache_sync.register_table('item', 'item:{id}', '{a,NULL}');
SELECT cache_sync.register_table('item', 'item:{id}', '{""}');
SELECT cache_sync.register_table('item', 'item:{id}', '{"a,b"}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{nothing}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{name,NULL}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{ctid}');
SELECT cache_sync.register_table('item', 'item:{ctid}');
SELECT cache_sync.register_table('item', 'item:{id}', condition => '');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'nothing > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price >');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price > 1; DROP TABLE item');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'true) OR (true');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'EXISTS (SELECT FROM item)');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'count(*) > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'row_number() OVER () > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'generate_series(1, 2) > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'random() > 0.5');
SELECT cache_sync.register_table('item', 'item:{id}', condition => '$1 > 1');
SELECT cache_sync.register_table('item_view', 'item:{id}');
SELECT cache_sync.register_table('item_matview', 'item:{id}');
SELECT cache_sync.register_table('item_seq', 'item:{last_value}');
SELECT cache_sync.register_table('item_name', 'item:{name}');
SELECT cache_sync.register_table('item_temp', 'item:{id}');
SELECT cache_sync.register_table('pg_class', 'item:{relname}');
SELECT cache_sync.register_table('cache_sync.rule', 'item:{id}');
SELECT cache_sync.register_table('cache_sync.queue_0', 'item:{payload}');
SELECT cache_sync.register_table(4294967295::regclass, 'item:{id}');
\set VERBOSITY default
SELECT cache_sync.register_table(NULL, 'item:{id}');
SELECT cache_sync.register_table('item');
SELECT cache_sync.register_table('item', 'item:{nothing}');
SELECT cache_sync.register_table('item', 'item:{nam}');
SELECT cache_sync.register_table('item', 'item:{id');
SELECT cache_sync.register_table('item', 'item:id}');
SELECT cache_sync.register_table('item', 'item:{}');
SELECT cache_sync.register_table('item', 'item:{id|upper}');
SELECT cache_sync.register_table('item', '');
SELECT cache_sync.register_table('item', 'item:{id}', '{"tag:{nothing}"}');
SELECT cache_sync.register_table('item', 'item:{id}', '{a,NULL}');
SELECT cache_sync.register_table('item', 'item:{id}', '{""}');
SELECT cache_sync.register_table('item', 'item:{id}', '{"a,b"}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{nothing}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{name,NULL}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{}');
SELECT cache_sync.register_table('item', 'item:{id}', columns => '{ctid}');
SELECT cache_sync.register_table('item', 'item:{ctid}');
SELECT cache_sync.register_table('item', 'item:{id}', condition => '');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'nothing > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price >');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'price > 1; DROP TABLE item');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'true) OR (true');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'EXISTS (SELECT FROM item)');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'count(*) > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'row_number() OVER () > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'generate_series(1, 2) > 1');
SELECT cache_sync.register_table('item', 'item:{id}', condition => 'random() > 0.5');
SELECT cache_sync.register_table('item', 'item:{id}', condition => '$1 > 1');
SELECT cache_sync.register_table('item_view', 'item:{id}');
SELECT cache_sync.register_table('item_matview', 'item:{id}');
SELECT cache_sync.register_table('item_seq', 'item:{last_value}');
SELECT cache_sync.register_table('item_name', 'item:{name}');
SELECT cache_sync.register_table('item_temp', 'item:{id}');
SELECT cache_sync.register_table('pg_class', 'item:{relname}');
SELECT cache_sync.register_table('cache_sync.rule', 'item:{id}');
SELECT cache_sync.register_table('cache_sync.queue_0', 'item:{payload}');
SELECT cache_sync.register_table(4294967295::regclass, 'item:{id}');

-- Nothing of all that was stored or placed.
SELECT count(*) FROM cache_sync.tables WHERE relation::text LIKE '%item%';
SELECT * FROM pg_temp.placed('register_errors');

-- These are no mistakes: no tags, and a table of tags.
SELECT cache_sync.register_table('item', 'item:{id}', NULL) > 0 AS registered;
SELECT tags FROM cache_sync.tables WHERE relation = 'item'::regclass;
SELECT cache_sync.register_table('item', 'item:{id}', '{{a,"{name}"},{c,d}}') > 0 AS registered;
INSERT INTO item VALUES (1, 'x');
SELECT * FROM pg_temp.touched();

-- Invalidating by hand.
SELECT cache_sync.invalidate('a', NULL);
SELECT cache_sync.invalidate('a', '');
SELECT cache_sync.invalidate(VARIADIC NULL);
SELECT cache_sync.invalidate_tags('a', NULL);
SELECT cache_sync.invalidate_tags('');
SELECT cache_sync.invalidate_tags('a,b');
SELECT cache_sync.invalidate_tags(E'a\nb');
SELECT * FROM pg_temp.touched();
SET client_min_messages = warning;
DROP SCHEMA register_errors CASCADE;
