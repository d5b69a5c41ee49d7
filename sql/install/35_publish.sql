-- Functions of the library around the publisher: waking it, waiting for it, looking at it.

CREATE FUNCTION cache_sync._wake()
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_wake';

CREATE FUNCTION cache_sync.drain(timeout interval DEFAULT '30 seconds')
RETURNS boolean
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_drain';

COMMENT ON FUNCTION cache_sync.drain(interval) IS
'Waits until everything that committed before the call is published to every target that is not paused. True when it is, '
'false when the timeout came first, NULL at once for NULL. Errors: invalid_parameter_value for a negative timeout.';

CREATE FUNCTION cache_sync._stat_reset()
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_stat_reset';

CREATE FUNCTION cache_sync.stat_reset()
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cache_sync._stat_reset();
    -- These are in a table, which a standby cannot write.
    IF NOT pg_is_in_recovery() THEN
        UPDATE cache_sync.view_state
        SET refreshes = 0, failed = 0, canceled = 0, total_time = 0, max_time = 0, rows_inserted = 0, rows_removed = 0,
            keys = 0, tags = 0, stats_reset = clock_timestamp();
    END IF;
END
$$;

COMMENT ON FUNCTION cache_sync.stat_reset() IS
'Sets the counters of stat_capture, stat_targets and stat_views of this database to zero';

CREATE FUNCTION cache_sync._workers(
    OUT database oid, OUT pid integer, OUT role text, OUT state text, OUT started timestamp with time zone,
    OUT last_error text, OUT last_error_at timestamp with time zone)
RETURNS SETOF record
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_workers';

CREATE FUNCTION cache_sync._target_states(
    OUT server oid, OUT state text, OUT mode text, OUT pending_transactions bigint, OUT pending_bytes bigint,
    OUT in_flight bigint, OUT last_lag double precision, OUT connected_at timestamp with time zone,
    OUT next_attempt timestamp with time zone, OUT last_error text, OUT last_error_at timestamp with time zone)
RETURNS SETOF record
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_target_states';

CREATE FUNCTION cache_sync._stat_targets(
    OUT server oid, OUT published_keys bigint, OUT published_tags bigint, OUT published_patterns bigint,
    OUT batches bigint, OUT coalesced bigint, OUT retried bigint, OUT errors bigint, OUT connections bigint,
    OUT flushes bigint, OUT lag_p50 double precision, OUT lag_p95 double precision, OUT lag_p99 double precision,
    OUT lag_max double precision, OUT stats_reset timestamp with time zone)
RETURNS SETOF record
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_stat_targets';

CREATE FUNCTION cache_sync._stat_capture(
    OUT transactions bigint, OUT rows bigint, OUT keys bigint, OUT tags bigint, OUT patterns bigint,
    OUT duplicates bigint, OUT queue_rows bigint, OUT queue_bytes bigint, OUT ring_overflows bigint,
    OUT rotations bigint, OUT stats_reset timestamp with time zone)
RETURNS SETOF record
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_stat_capture';

CREATE FUNCTION cache_sync._queue(
    OUT queue_table text, OUT row_id tid, OUT xid xid8, OUT queued_at timestamp with time zone, OUT payload bytea)
RETURNS SETOF record
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_queue';

CREATE FUNCTION cache_sync._decode_payload(payload bytea, OUT kind text, OUT name text)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_decode_payload';

CREATE FUNCTION cache_sync._active_queue_table()
RETURNS integer
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_active_queue_table';
