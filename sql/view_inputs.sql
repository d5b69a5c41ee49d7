-- What a view reads: found through everything, and what of it cannot be seen to change.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\set views :src '/sql/helper/views.sql'
\i :pending
\i :views
\set ECHO all
CREATE SCHEMA view_inputs;
SET search_path = view_inputs, public;
CREATE TABLE a (id int PRIMARY KEY, name text, at timestamptz);
CREATE TABLE b (id int, a int);
CREATE TABLE c (id int);
CREATE TABLE d (id int);
CREATE TABLE e (id int);
CREATE TABLE f (id int);
CREATE TABLE part (id int, region text) PARTITION BY LIST (region);
CREATE TABLE part_eu PARTITION OF part FOR VALUES IN ('eu') PARTITION BY RANGE (id);
CREATE TABLE part_eu_1 PARTITION OF part_eu FOR VALUES FROM (0) TO (100);
CREATE TABLE part_us PARTITION OF part FOR VALUES IN ('us');
CREATE TABLE person (id int);
CREATE TABLE employee (salary int) INHERITS (person);
CREATE TABLE boss () INHERITS (employee);
CREATE UNLOGGED TABLE scratch (id int);

CREATE FUNCTION pg_temp.reads(view regclass)
RETURNS TABLE (inputs text, bases regclass[], unseen text[])
LANGUAGE sql AS $$
    SELECT (SELECT string_agg(format('%s %s', i.kind, i.input::regclass), ', ' ORDER BY i.input::regclass::text COLLATE "C")
            FROM cache_sync._view_inputs(view) i),
           (SELECT array_agg(t ORDER BY t::text COLLATE "C") FROM unnest(cache_sync._view_base_tables(view)) AS t),
           ARRAY(SELECT cache_sync._view_unseen(view))
$$;

-- Every place of a query.
CREATE MATERIALIZED VIEW places AS
WITH common AS (SELECT id FROM b), RECURSIVE_one AS MATERIALIZED (SELECT id FROM c)
SELECT a.id, (SELECT max(d.id) FROM d) AS most
FROM a JOIN common USING (id) LEFT JOIN LATERAL (SELECT e.id FROM e WHERE e.id = a.id) x ON true
WHERE EXISTS (SELECT FROM f WHERE f.id = a.id) OR a.id IN (SELECT id FROM RECURSIVE_one)
UNION ALL
(SELECT id, 0 FROM person EXCEPT SELECT id, 0 FROM scratch)
ORDER BY 1;
SELECT * FROM pg_temp.reads('places');
CREATE MATERIALIZED VIEW recursive_one AS
WITH RECURSIVE up AS (SELECT id, a FROM b UNION SELECT b.id, b.a FROM up JOIN b ON b.id = up.a) SELECT * FROM up;
SELECT * FROM pg_temp.reads('recursive_one');

-- Partitions and children of every level, even where a query names one in the middle.
CREATE MATERIALIZED VIEW parts AS SELECT * FROM part;
SELECT * FROM pg_temp.reads('parts');
CREATE MATERIALIZED VIEW some_parts AS SELECT * FROM part_eu UNION ALL SELECT * FROM part_us;
SELECT * FROM pg_temp.reads('some_parts');
CREATE MATERIALIZED VIEW people AS SELECT * FROM employee;
SELECT * FROM pg_temp.reads('people');

-- Through views to any depth; inputs end at materialized views, base tables do not.
CREATE VIEW v1 AS SELECT id FROM a;
CREATE VIEW v2 AS SELECT v1.id FROM v1 JOIN b USING (id);
CREATE VIEW v3 AS SELECT id FROM v2 WHERE id IN (SELECT id FROM v1);
CREATE MATERIALIZED VIEW m1 AS SELECT * FROM v3;
SELECT * FROM pg_temp.reads('m1');
CREATE VIEW v4 AS SELECT m1.id FROM m1 JOIN c USING (id);
CREATE MATERIALIZED VIEW m2 AS SELECT * FROM v4;
SELECT * FROM pg_temp.reads('m2');
CREATE MATERIALIZED VIEW m3 AS SELECT * FROM m2 JOIN d USING (id);
SELECT * FROM pg_temp.reads('m3');
SELECT cache_sync._view_depends_on('m3'::regclass);
SELECT cache_sync.register_view('m1');
SELECT cache_sync._view_depends_on('m3'::regclass);
SELECT cache_sync.register_view('m2');
SELECT * FROM pg_temp.reads('m2');
SELECT cache_sync._view_depends_on('m3'::regclass);
SELECT * FROM pg_temp.reads('m3');
-- One over another that is not registered: when that one is refreshed is seen.
SELECT cache_sync.unregister_view('m2');
SELECT cache_sync.register_view('m3');
SELECT view, base_tables, depends_on, unseen FROM cache_sync.views ORDER BY view::text;

-- Functions: volatile ones, stable ones of users, and those of PostgreSQL that do not depend on settings alone.
CREATE FUNCTION reads_table(int) RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM view_inputs.b WHERE id = $1';
CREATE FUNCTION fixed(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION plus(int, text) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT $1';
CREATE OPERATOR @+@ (LEFTARG = int, RIGHTARG = text, FUNCTION = plus);
CREATE FUNCTION rows() RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT id FROM view_inputs.c';
CREATE AGGREGATE last_of (int) (SFUNC = int4larger, STYPE = int);
CREATE MATERIALIZED VIEW functions AS
SELECT reads_table(id), fixed(id), id @+@ 'x'::text AS plus, random(), now(), CURRENT_DATE, LOCALTIMESTAMP, CURRENT_USER AS who,
       to_char(at, 'YYYY') AS year, name || id AS concat, at::date AS day, age(at) AS age, count(*) OVER () AS n,
       pg_backend_pid(), version(), clock_timestamp(), (SELECT last_of(id) FROM b) AS last
FROM a CROSS JOIN rows() r WHERE at > now() - interval '1 day';
SELECT * FROM pg_temp.reads('functions');
-- In a view below, in a condition, in ORDER BY and LIMIT, as a table, sampled.
CREATE VIEW below AS SELECT id FROM a WHERE at < now();
CREATE MATERIALIZED VIEW over_below AS SELECT id FROM below ORDER BY random() LIMIT (SELECT pg_backend_pid());
SELECT * FROM pg_temp.reads('over_below');
CREATE MATERIALIZED VIEW sampled AS SELECT * FROM a TABLESAMPLE bernoulli (50);
SELECT * FROM pg_temp.reads('sampled');
CREATE MATERIALIZED VIEW table_function AS SELECT * FROM rows();
SELECT * FROM pg_temp.reads('table_function');

-- Catalogues, PostgreSQL's own views, cache_sync's own relations, sequences, foreign tables.
CREATE SEQUENCE counter;
CREATE FOREIGN DATA WRAPPER view_inputs_wrapper;
CREATE SERVER view_inputs_server FOREIGN DATA WRAPPER view_inputs_wrapper;
CREATE FOREIGN TABLE far (id int) SERVER view_inputs_server;
CREATE FOREIGN TABLE part_far PARTITION OF part FOR VALUES IN ('far') SERVER view_inputs_server;
CREATE MATERIALIZED VIEW others AS
SELECT a.id FROM a, pg_class k, pg_stat_activity s, information_schema.tables t, cache_sync.tables u, counter, far, part
WITH NO DATA;
SELECT * FROM pg_temp.reads('others');
SELECT cache_sync.register_view('others');
SELECT * FROM pg_temp.placed('view_inputs') WHERE relation ~ 'far|counter';
SELECT cache_sync.unregister_view('others');
CREATE MATERIALIZED VIEW only_far AS SELECT * FROM far WITH NO DATA;
SELECT cache_sync.register_view('only_far');
SELECT cache_sync.register_view('only_far', '30 seconds');
SELECT unseen FROM cache_sync.views WHERE view = 'only_far'::regclass;

ALTER SYSTEM RESET cache_sync.max_refresh_workers;
SELECT pg_reload_conf();
SET client_min_messages = warning;
DROP SCHEMA view_inputs CASCADE;
DROP FOREIGN DATA WRAPPER view_inputs_wrapper CASCADE;
