-- Who may do what. PostgreSQL gives EXECUTE on new functions to everybody: take it all back, then give.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA cache_sync FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA cache_sync FROM PUBLIC;

GRANT USAGE ON SCHEMA cache_sync TO PUBLIC;

-- The owner of a table may register it; whoever writes to it needs nothing. The trigger functions are for restoring a
-- dump as the table's owner.
GRANT EXECUTE ON FUNCTION
    cache_sync.register_table(regclass, text, text[], name[], text),
    cache_sync.unregister_table(regclass, text),
    cache_sync._check_rule(regclass, text, text[], name[], text),
    cache_sync._store_rule(regclass, text, text[], name[], text),
    cache_sync._delete_rules(regclass, text),
    cache_sync._place_triggers(regclass, boolean),
    cache_sync._check_snapshot(),
    cache_sync._create_trigger(regclass, boolean),
    cache_sync._trigger_faults(oid),
    cache_sync._is_restoring(),
    cache_sync.capture(),
    cache_sync.capture_truncate(),
    cache_sync.capture_change(),
    cache_sync.key(text),
    cache_sync.key(text, "any"),
    cache_sync.explain(regclass, jsonb),
    cache_sync._explain_row(regclass, record)
TO PUBLIC;

GRANT SELECT ON cache_sync.tables TO PUBLIC;

-- These find out by themselves whether the caller owns the view.
GRANT EXECUTE ON FUNCTION
    cache_sync.register_view(regclass, text, boolean, interval, text, text[], boolean, interval),
    cache_sync.unregister_view(regclass),
    cache_sync.refresh(regclass)
TO PUBLIC;

-- A view's functions are called with the reader's rights.
GRANT SELECT ON cache_sync.views, cache_sync.refresh_history, cache_sync.stat_views TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    cache_sync._view_base_tables(oid),
    cache_sync._view_depends_on(oid),
    cache_sync._view_unseen(oid),
    cache_sync._view_method(oid, boolean),
    cache_sync._next_run(text, timestamp with time zone),
    cache_sync._refresh_jobs()
TO PUBLIC;

-- Monitoring.
GRANT SELECT ON cache_sync.targets, cache_sync.queue, cache_sync.queue_tables, cache_sync.workers, cache_sync.stat_capture, cache_sync.stat_targets
TO pg_monitor;
GRANT EXECUTE ON FUNCTION
    cache_sync._target_states(),
    cache_sync._queue(),
    cache_sync._active_queue_table(),
    cache_sync._decode_payload(bytea),
    cache_sync._workers(),
    cache_sync._stat_capture(),
    cache_sync._stat_targets()
TO pg_monitor, pg_read_all_data;
GRANT EXECUTE ON FUNCTION cache_sync.check() TO pg_monitor;
