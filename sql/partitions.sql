-- Triggers are where the rules need them, on partitions and inheritance children, now and later.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA partitions;
SET search_path = partitions, public;
CREATE TABLE sale (id int, region text, amount int) PARTITION BY LIST (region);
CREATE TABLE sale_eu PARTITION OF sale FOR VALUES IN ('eu');
-- Other attribute numbers than the parent has.
CREATE TABLE sale_us (gone int, amount int, region text, id int);
ALTER TABLE sale_us DROP COLUMN gone;
ALTER TABLE sale ATTACH PARTITION sale_us FOR VALUES IN ('us');

-- One partition alone.
SELECT cache_sync.register_table('sale_eu', 'eu:{id}') > 0 AS registered;
SELECT * FROM pg_temp.placed('partitions');
-- The whole: the partition's own row trigger makes room for its parent's.
SELECT cache_sync.register_table('sale', 'sale:{region}:{id}') > 0 AS registered;
SELECT * FROM pg_temp.placed('partitions');
INSERT INTO sale VALUES (1, 'eu', 1), (2, 'us', 2);
SELECT * FROM pg_temp.touched();
INSERT INTO sale_us (id, region) VALUES (3, 'us');
SELECT * FROM pg_temp.touched();
-- Moved to another partition.
UPDATE sale SET region = 'us' WHERE id = 1;
SELECT * FROM pg_temp.touched();
-- The same call again changes nothing.
SELECT cache_sync.register_table('sale', 'sale:{region}:{id}') > 0 AS registered;
SELECT cache_sync.register_table('sale_us', 'us:{id}') > 0 AS registered;
SELECT * FROM pg_temp.placed('partitions');

-- New partitions, whatever way they come, and partitions of partitions.
CREATE TABLE sale_as PARTITION OF sale FOR VALUES IN ('as') PARTITION BY RANGE (id);
CREATE TABLE sale_as_1 PARTITION OF sale_as FOR VALUES FROM (0) TO (100);
CREATE TABLE sale_af (LIKE sale);
SELECT cache_sync.register_table('sale_af', 'af:{id}') > 0 AS registered;
ALTER TABLE sale ATTACH PARTITION sale_af FOR VALUES IN ('af');
SET session_replication_role = replica;
CREATE TABLE sale_sa PARTITION OF sale FOR VALUES IN ('sa');
RESET session_replication_role;
CREATE SCHEMA partitions_too CREATE TABLE sale_oc PARTITION OF partitions.sale FOR VALUES IN ('oc');
SELECT * FROM pg_temp.placed('partitions');
SELECT * FROM pg_temp.placed('partitions_too');
INSERT INTO sale VALUES (5, 'as', 1), (6, 'af', 1), (7, 'sa', 1), (8, 'oc', 1);
SELECT * FROM pg_temp.touched();
SELECT DISTINCT triggers FROM cache_sync.tables;

-- Partitions that leave: with a rule of their own they get their own trigger, else none.
ALTER TABLE sale DETACH PARTITION sale_af;
ALTER TABLE sale DETACH PARTITION sale_as;
SELECT * FROM pg_temp.placed('partitions') WHERE relation ~ '_a';
INSERT INTO sale_af VALUES (9, 'af', 1);
INSERT INTO sale_as VALUES (9, 'as', 1);
SELECT * FROM pg_temp.touched();
-- And come back.
ALTER TABLE sale ATTACH PARTITION sale_af FOR VALUES IN ('af');
ALTER TABLE sale ATTACH PARTITION sale_as FOR VALUES IN ('as');
SELECT * FROM pg_temp.placed('partitions') WHERE relation ~ '_a';

-- Unregistering the whole leaves what single partitions need.
SELECT cache_sync.unregister_table('sale');
SELECT * FROM pg_temp.placed('partitions');
INSERT INTO sale VALUES (10, 'eu', 1), (11, 'sa', 1);
SELECT * FROM pg_temp.touched();
SELECT cache_sync.unregister_table('sale_eu'), cache_sync.unregister_table('sale_us'), cache_sync.unregister_table('sale_af');
SELECT cache_sync.unregister_table('sale_af');
SELECT * FROM pg_temp.placed('partitions');

-- Inheritance.
CREATE TABLE person (id int, name text);
CREATE TABLE employee (salary int) INHERITS (person);
SELECT cache_sync.register_table('person', 'person:{id}') > 0 AS registered;
CREATE TABLE manager (bonus int) INHERITS (employee);
CREATE TABLE guest (id int, name text);
ALTER TABLE guest INHERIT person;
SELECT * FROM pg_temp.placed('partitions');
INSERT INTO manager VALUES (1), (2);
INSERT INTO guest VALUES (3);
SELECT * FROM pg_temp.touched();
UPDATE person SET name = 'x' WHERE id = 2;
SELECT * FROM pg_temp.touched();
ALTER TABLE guest NO INHERIT person;
SELECT * FROM pg_temp.placed('partitions') WHERE relation = 'guest';
INSERT INTO guest VALUES (4);
SELECT * FROM pg_temp.touched();

SET client_min_messages = warning;
DROP SCHEMA partitions CASCADE;
DROP SCHEMA partitions_too CASCADE;
