-- The refreshes of this database that are under way, as shared memory has them.
CREATE FUNCTION cache_sync._refresh_jobs()
RETURNS TABLE (view oid, pid integer, reason text, phase text, run bigint, started timestamp with time zone)
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_refresh_jobs';
