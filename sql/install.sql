-- The extension can be dropped and made again, and everything in it is described.
\set VERBOSITY default
SET client_min_messages = warning;
DROP EXTENSION cache_sync CASCADE;
-- It comes with its schema, and goes with it.
SELECT count(*) FROM pg_namespace WHERE nspname = 'cache_sync';
CREATE SCHEMA cache_sync;
CREATE EXTENSION cache_sync;
DROP SCHEMA cache_sync;
CREATE EXTENSION cache_sync SCHEMA public;
CREATE EXTENSION cache_sync;
RESET client_min_messages;

SELECT extversion = cache_sync._library_version() AS same_version FROM pg_extension WHERE extname = 'cache_sync';

-- What is public.
SELECT p.proname, pg_get_function_arguments(p.oid) AS arguments, pg_get_function_result(p.oid) AS result
FROM pg_proc p
WHERE p.pronamespace = 'cache_sync'::regnamespace AND p.proname NOT LIKE '\_%'
ORDER BY 1, 2;
SELECT c.relname, string_agg(a.attname, ', ' ORDER BY a.attnum) AS columns
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind = 'v' AND c.relname NOT LIKE '\_%'
GROUP BY c.relname ORDER BY 1;
SELECT name, setting, unit, min_val, max_val, context FROM pg_settings WHERE name LIKE 'cache\_sync.%' ORDER BY 1;

-- Nothing public is without a comment, no setting without a description.
SELECT p.proname FROM pg_proc p
WHERE p.pronamespace = 'cache_sync'::regnamespace AND p.proname NOT LIKE '\_%'
  AND obj_description(p.oid, 'pg_proc') IS NULL
ORDER BY 1;
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind IN ('r', 'v', 'S') AND c.relname NOT LIKE '\_%'
  AND obj_description(c.oid, 'pg_class') IS NULL
ORDER BY 1;
SELECT name FROM pg_settings WHERE name LIKE 'cache\_sync.%' AND short_desc = '';

-- Everything of the schema belongs to the extension, but for what belongs to something of it.
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'cache_sync'::regnamespace AND c.relkind NOT IN ('i', 't')
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e');
SELECT extconfig::regclass[] AS dumped FROM pg_extension WHERE extname = 'cache_sync';

-- A registered table keeps the extension from being dropped by accident.
CREATE TABLE keeper (id int PRIMARY KEY);
SELECT cache_sync.register_table('keeper', 'keeper:{id}') > 0 AS registered;
DROP EXTENSION cache_sync;
DROP TABLE keeper;
