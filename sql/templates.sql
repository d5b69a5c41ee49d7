-- Key templates: what is encoded, what is not, and that nothing of the session shows.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA templates;
SET search_path = templates, public;

-- By hand: the values fill the template's columns in the order of their first appearance.
SELECT cache_sync.key('product:{product_id}', 42);
SELECT cache_sync.key('v1:user:{tenant}:{id}:profile', 'acme'::text, 7);
SELECT cache_sync.key('{b}:{a}:{b}', 1, 2);
SELECT cache_sync.key('cart:{{{user_id}}}:items', 5);
SELECT cache_sync.key('{{literal}}:{x}', 1);
SELECT cache_sync.key('settings'), cache_sync.key('{{}}');
SELECT cache_sync.key('a:{x}', NULL::text);
SELECT cache_sync.key('a:{x}', '50%: {a} b'::text), cache_sync.key('a:{x|raw}', '50%: {a} b'::text);
SELECT cache_sync.key('a:{x}', E'tab\there\nand \x7f'::text);
SELECT cache_sync.key('a:{x}', ''::text);
-- Only text-like values are encoded: others cannot be taken for one another.
SELECT cache_sync.key('t:{x}', '2024-01-02 03:04:05'::timestamp), cache_sync.key('t:{x}', 'a:b'::varchar),
       cache_sync.key('t:{x}', 'a:b'::char(5)), cache_sync.key('t:{x}', 'a:b'::name);
SELECT cache_sync.key('n:{x}', 1.50), cache_sync.key('n:{x}', true), cache_sync.key('n:{x}', -9223372036854775808),
       cache_sync.key('n:{x}', '0b36e7e0-0000-4000-8000-00000000000a'::uuid);
SELECT cache_sync.key('j:{x}', '{"a": 1}'::jsonb), cache_sync.key('j:{x}', ARRAY['a:b', 'c']);
-- VARIADIC takes an array of values.
SELECT cache_sync.key('{a}:{b}', VARIADIC ARRAY['x:1', 'y']);

-- Wrong numbers of values, and wrong templates with the offset of the mistake.
SELECT cache_sync.key('{a}:{b}', 1);
SELECT cache_sync.key('{a}', 1, 2);
SELECT cache_sync.key('{a}');
SELECT cache_sync.key('{a}', VARIADIC NULL::text[]);
SELECT cache_sync.key(NULL, 1);
SELECT cache_sync.key('a:{b', 1);
SELECT cache_sync.key('a:b}', 1);
SELECT cache_sync.key('a:{}', 1);
SELECT cache_sync.key('a:{b|low}', 1);
SELECT cache_sync.key('', 1);

-- One key whatever the session's settings are.
CREATE TYPE mood AS ENUM ('so so', 'fine');
CREATE DOMAIN code AS text;
CREATE TABLE everything (
    id int PRIMARY KEY, at timestamptz, day date, took interval, money money, ratio float8, data bytea, mood mood,
    code code, label text, number numeric(10, 2), doc xml, class regclass);
SELECT cache_sync.register_table('everything', 'e:{id}:{at}:{day}:{took}:{ratio}:{data}:{mood}:{code}:{label}:{number}:{class}') > 0
       AS registered;
INSERT INTO everything VALUES (1, '2024-01-02 03:04:05+00', '2024-01-02', '1 day 02:03:04', 12.5, 0.1::float8 + 0.2, '\x00ff',
    'so so', 'a:b', 'l%l', 7, NULL, 'everything');
SELECT * FROM pg_temp.touched();
SET DateStyle = 'SQL, DMY';
SET TimeZone = 'Asia/Tokyo';
SET IntervalStyle = 'iso_8601';
SET extra_float_digits = -3;
SET bytea_output = 'escape';
SET search_path = public;
SET lc_monetary = 'C';
UPDATE templates.everything SET money = 3;
SELECT * FROM pg_temp.touched();
SHOW DateStyle;
SHOW search_path;
RESET ALL;
\set SHOW_CONTEXT never
SET search_path = templates, public;

-- A NULL anywhere in the key: no key. A key that changes: both.
UPDATE everything SET label = NULL;
SELECT * FROM pg_temp.touched();
UPDATE everything SET label = 'new';
SELECT * FROM pg_temp.touched();
UPDATE everything SET id = 2, label = 'newer';
SELECT * FROM pg_temp.touched();

-- Keys that are too long become a pattern over their beginning.
CREATE TABLE long (label text);
SELECT cache_sync.register_table('long', 'long:{label}') > 0 AS registered;
INSERT INTO long VALUES (repeat('x', 4000)), (repeat('y', 6000));
SELECT kind, left(name, 20) AS name, length(name) FROM pg_temp.touched();

SET client_min_messages = warning;
DROP SCHEMA templates CASCADE;
