-- Every way of changing a row is captured, each key once a transaction.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA capture_dml;
SET search_path = capture_dml, public;
CREATE TABLE product (product_id int PRIMARY KEY, category_id int, name text, price numeric, stock int DEFAULT 0);
CREATE TABLE review (review_id int PRIMARY KEY, product_id int REFERENCES product ON DELETE CASCADE ON UPDATE CASCADE, stars int);
SELECT cache_sync.register_table('product', 'product:{product_id}', '{"category:{category_id}",products}') > 0 AS registered;
SELECT cache_sync.register_table('review', 'reviews:{product_id}') > 0 AS registered;

INSERT INTO product VALUES (1, 10, 'one', 1), (2, 10, 'two', 2);
SELECT * FROM pg_temp.touched();
UPDATE product SET price = 3 WHERE product_id = 1;
SELECT * FROM pg_temp.touched();
-- An UPDATE that changes a key or a tag touches the old one and the new one.
UPDATE product SET category_id = 20 WHERE product_id = 1;
SELECT * FROM pg_temp.touched();
UPDATE product SET product_id = 3 WHERE product_id = 1;
SELECT * FROM pg_temp.touched();
DELETE FROM product WHERE product_id = 3;
SELECT * FROM pg_temp.touched();
-- Nothing changed, nothing touched.
DELETE FROM product WHERE product_id = 3;
UPDATE product SET price = price, name = 'two';
SELECT * FROM pg_temp.touched();

COPY product (product_id, category_id, name) FROM stdin;
4	40	four
5	\N	five
\.
SELECT * FROM pg_temp.touched();
INSERT INTO product VALUES (4, 41) ON CONFLICT DO NOTHING;
SELECT * FROM pg_temp.touched();
INSERT INTO product VALUES (4, 42) ON CONFLICT (product_id) DO UPDATE SET category_id = excluded.category_id;
SELECT * FROM pg_temp.touched();
MERGE INTO product p USING (VALUES (4, 43), (5, 50), (6, 60)) AS v (id, category) ON p.product_id = v.id
    WHEN MATCHED AND v.id = 5 THEN DELETE
    WHEN MATCHED THEN UPDATE SET category_id = v.category
    WHEN NOT MATCHED THEN INSERT (product_id, category_id) VALUES (v.id, v.category);
SELECT * FROM pg_temp.touched();
WITH gone AS (DELETE FROM product WHERE product_id = 6 RETURNING *)
INSERT INTO product SELECT product_id + 1, category_id FROM gone;
SELECT * FROM pg_temp.touched();

-- Foreign keys that cascade.
INSERT INTO review VALUES (1, 4, 5), (2, 4, 3), (3, 7, 1);
SELECT * FROM pg_temp.touched();
UPDATE product SET product_id = 8 WHERE product_id = 7;
SELECT * FROM pg_temp.touched();
DELETE FROM product WHERE product_id = 4;
SELECT * FROM pg_temp.touched();

-- What replication applies.
SET session_replication_role = replica;
UPDATE product SET price = 5 WHERE product_id = 8;
SELECT * FROM pg_temp.touched();
RESET session_replication_role;

-- A BEFORE trigger of the table has the last word.
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.category_id := 99;
    RETURN NEW;
END $$;
CREATE TRIGGER upper_name BEFORE UPDATE ON product FOR EACH ROW EXECUTE FUNCTION upper_name();
UPDATE product SET name = 'x' WHERE product_id = 8;
SELECT * FROM pg_temp.touched();
DROP TRIGGER upper_name ON product;

-- Only some columns count.
SELECT cache_sync.register_table('product', 'price:{product_id}', columns => '{price,name}') > 0 AS registered;
UPDATE product SET stock = 7 WHERE product_id = 8;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'price:%';
UPDATE product SET price = 5, name = 'x' WHERE product_id = 8;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'price:%';
UPDATE product SET price = NULL WHERE product_id = 8;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'price:%';
INSERT INTO product VALUES (9);
SELECT * FROM pg_temp.touched() WHERE name LIKE 'price:%';
SELECT cache_sync.unregister_table('product', 'price:{product_id}');

-- Only some rows count: the old or the new one.
SELECT cache_sync.register_table('product', 'stocked:{product_id}', condition => 'stock > 10 AND name IS DISTINCT FROM ''it''''s''') > 0
       AS registered;
SELECT condition FROM cache_sync.tables WHERE key = 'stocked:{product_id}';
INSERT INTO product (product_id, stock) VALUES (10, 10), (11, 11);
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
UPDATE product SET stock = 12 WHERE product_id = 10;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
UPDATE product SET stock = 1 WHERE product_id = 10;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
UPDATE product SET stock = 2 WHERE product_id = 10;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
UPDATE product SET stock = NULL WHERE product_id = 10;
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
DELETE FROM product WHERE product_id IN (10, 11);
SELECT * FROM pg_temp.touched() WHERE name LIKE 'stocked:%';
SELECT cache_sync.unregister_table('product', 'stocked:{product_id}');

-- Each key and tag once a transaction, whatever rule or row it came from.
BEGIN;
UPDATE product SET price = 1 WHERE product_id = 8;
UPDATE product SET price = 2 WHERE product_id = 8;
SELECT cache_sync.invalidate('product:8', 'by hand', 'by hand');
SELECT cache_sync.invalidate_tags('products', 'by hand');
COMMIT;
SELECT * FROM pg_temp.touched();

-- Rules with tags only, and a key without columns.
CREATE TABLE setting (name text PRIMARY KEY, value text);
SELECT cache_sync.register_table('setting', tags => '{"setting:{name}"}') > 0 AS registered;
SELECT cache_sync.register_table('setting', 'settings') > 0 AS registered;
INSERT INTO setting VALUES ('a', '1'), ('b', '2');
SELECT * FROM pg_temp.touched();

-- A bulk load that captures nothing.
SET cache_sync.enabled = off;
UPDATE product SET price = 0;
TRUNCATE setting;
RESET cache_sync.enabled;
SELECT * FROM pg_temp.touched();

-- Large transactions.
CREATE TABLE big (id int PRIMARY KEY);
SELECT cache_sync.register_table('big', 'big:{id}') > 0 AS registered;
INSERT INTO big SELECT generate_series(1, 20000);
SELECT kind, count(*), count(DISTINCT name) FROM pg_temp.touched() GROUP BY kind;

-- A row larger than a page, and columns dropped and added.
ALTER TABLE big ADD COLUMN gone int;
ALTER TABLE big DROP COLUMN gone;
ALTER TABLE big ADD COLUMN body text DEFAULT 'x';
SELECT cache_sync.register_table('big', 'big:{id}:{body}') > 0 AS registered;
UPDATE big SET body = 'y' WHERE id = 1;
SELECT * FROM pg_temp.touched();

-- Writers need no right on anything of cache_sync.
CREATE ROLE regress_cache_sync_writer;
GRANT USAGE ON SCHEMA capture_dml TO regress_cache_sync_writer;
GRANT ALL ON ALL TABLES IN SCHEMA capture_dml TO regress_cache_sync_writer;
REVOKE USAGE ON SCHEMA cache_sync FROM PUBLIC;
SET ROLE regress_cache_sync_writer;
UPDATE product SET price = 6 WHERE product_id = 8;
RESET ROLE;
GRANT USAGE ON SCHEMA cache_sync TO PUBLIC;
SELECT * FROM pg_temp.touched();
SET client_min_messages = warning;
DROP SCHEMA capture_dml CASCADE;
DROP ROLE regress_cache_sync_writer;
