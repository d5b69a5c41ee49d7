\echo Use "CREATE EXTENSION cache_sync" to load this file. \quit

-- Everything below is resolved in pg_catalog or named in full, whatever the installing session has in its path.
SET LOCAL search_path TO pg_catalog, pg_temp;

CREATE SCHEMA cache_sync;

COMMENT ON SCHEMA cache_sync IS 'cache_sync: keeps Redis and Valkey caches right. Names that start with _ are internal.';
