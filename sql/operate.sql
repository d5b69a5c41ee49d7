-- pause, resume, flush, drain, explain, check.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA operate;
SET search_path = operate, public;
CREATE TABLE product (product_id int PRIMARY KEY, category_id int, name text, price numeric);
SELECT cache_sync.register_table('product', 'product:{product_id}', '{"category:{category_id}"}') AS product_rule \gset
SELECT cache_sync.register_table('product', 'dear:{product_id}:{name}', condition => 'price > 100') AS dear_rule \gset

-- Which keys and tags would a row touch, and by which rule?
SELECT CASE rule WHEN :product_rule THEN 'product' WHEN :dear_rule THEN 'dear' END AS rule, kind, name
FROM cache_sync.explain('product', '{"product_id": 1, "category_id": 5, "price": 7, "name": "a:b"}');
SELECT CASE rule WHEN :product_rule THEN 'product' WHEN :dear_rule THEN 'dear' END AS rule, kind, name
FROM cache_sync.explain('product', '{"product_id": 1, "price": 101, "name": "a:b"}');
SELECT * FROM cache_sync.explain('product', '{}');
SELECT * FROM cache_sync.explain('product', '{"product": 1}');
SELECT * FROM cache_sync.explain('product', '[1]');
SELECT * FROM cache_sync.explain('product', NULL);
SELECT * FROM cache_sync.explain('product', '{"product_id": "x"}');
SELECT * FROM pg_temp.touched();

-- Pausing and resuming. There is nobody at this address, and nothing is pending for it.
CREATE SERVER second FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:1/0', paused 'false');
SELECT cache_sync.pause('second');
SELECT name, paused FROM cache_sync.targets ORDER BY name;
SELECT cache_sync.pause('second');
SELECT cache_sync.resume('second');
SELECT name, paused FROM cache_sync.targets ORDER BY name;
SELECT cache_sync.pause();
SELECT name, paused FROM cache_sync.targets ORDER BY name;
SELECT cache_sync.pause('third');
SELECT cache_sync.resume('third');
SELECT cache_sync.flush('third');
SELECT cache_sync.flush('');
BEGIN;
SELECT cache_sync.resume();
SELECT name, paused FROM cache_sync.targets ORDER BY name;
ROLLBACK;
SELECT name, paused FROM cache_sync.targets ORDER BY name;

-- Flushing is queued with the transaction.
BEGIN;
SELECT cache_sync.flush('waiting');
ROLLBACK;
SELECT * FROM pg_temp.touched();
SELECT cache_sync.flush('waiting');
SELECT cache_sync.flush();
SELECT * FROM pg_temp.touched();

-- With every target paused there is nothing to wait for.
INSERT INTO product VALUES (1, 1, 'a', 1);
SELECT cache_sync.drain('10 seconds');
SELECT cache_sync.drain('-1 seconds');
SELECT cache_sync.drain(NULL);
DROP SERVER second;

-- Is everything in order? Numbers and names of processes differ.
SELECT "check", ok, regexp_replace(detail, '\d+', 'N', 'g') AS detail, hint FROM cache_sync.check()
WHERE "check" NOT IN ('library', 'worker slots', 'queue');
ALTER TABLE product DISABLE TRIGGER cache_sync_capture;
CREATE FUNCTION cheap(numeric) RETURNS boolean LANGUAGE sql AS 'SELECT $1 < 10';
SELECT cache_sync.register_table('product', 'cheap:{product_id}', condition => 'cheap(price)') > 0 AS registered;
SELECT cache_sync._condition_error('product'::regclass, 'operate.cheap(price)');
DROP FUNCTION cheap;
ALTER TABLE product DISABLE TRIGGER cache_sync_capture;
CREATE UNLOGGED TABLE scratch (id int);
SELECT cache_sync.register_table('scratch', 'scratch:{id}') > 0 AS registered;
ALTER TABLE scratch ENABLE TRIGGER cache_sync_truncate;
SET client_min_messages = error;
CREATE PUBLICATION regress_cache_sync FOR TABLES IN SCHEMA cache_sync;
RESET client_min_messages;
ALTER EVENT TRIGGER cache_sync_ddl DISABLE;
ALTER TABLE product RENAME name TO title;
SET cache_sync.enabled = off;
SELECT "check", ok, regexp_replace(detail, 'rule \d+', 'rule N', 'g') AS detail, hint FROM cache_sync.check() WHERE NOT ok;
RESET cache_sync.enabled;
DROP PUBLICATION regress_cache_sync;
ALTER EVENT TRIGGER cache_sync_ddl ENABLE ALWAYS;
-- The next ALTER TABLE finds what was missed.
ALTER TABLE product ALTER COLUMN price SET NOT NULL;
SELECT key FROM cache_sync.tables WHERE relation = 'product'::regclass ORDER BY key;
SET client_min_messages = warning;
DROP SCHEMA operate CASCADE;
