-- For tests of registered views that no refresh may disturb. Include after pending.sql, in the same way.
--   pg_temp.marked()  like pg_temp.touched(), with names for oids
ALTER SYSTEM SET cache_sync.max_refresh_workers = 0;
\o /dev/null
SELECT pg_reload_conf();
-- A session reads the configuration between commands. Ends when there is no row any more.
SELECT 'waiting' WHERE current_setting('cache_sync.max_refresh_workers') <> '0' \watch i=0.02 c=1500 m=1
\o

CREATE FUNCTION pg_temp.marked()
RETURNS TABLE (kind text, name text)
LANGUAGE sql
AS $$
    SELECT t.kind, n.name
    FROM pg_temp.touched() t,
         LATERAL (SELECT CASE WHEN t.kind IN ('relation', 'view') THEN t.name::oid::regclass::text ELSE t.name END) AS n (name)
    ORDER BY t.kind, n.name COLLATE "C"
$$;
