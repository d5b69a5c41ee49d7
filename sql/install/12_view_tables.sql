-- What refreshing remembers. Nobody but the extension's owner has rights on these tables.

-- Registered materialized views. Key and tags are a rule of the view in cache_sync.rule.
CREATE TABLE cache_sync.view (
    view regclass PRIMARY KEY,
    schedule text,
    on_change boolean NOT NULL DEFAULT true,
    min_interval interval NOT NULL DEFAULT '1 second',
    "concurrently" boolean,  -- a reserved word
    statement_timeout interval
);

COMMENT ON TABLE cache_sync.view IS 'What register_view() stored; read cache_sync.views instead';

SELECT pg_extension_config_dump('cache_sync.view', '');

-- How each view is. Not dumped: a restored view without a row here is refreshed once.
CREATE TABLE cache_sync.view_state (
    view oid PRIMARY KEY,
    -- A change that is not in the view yet became visible then; NULL: none.
    dirty_since timestamp with time zone,
    -- The next run by schedule is the first time of the schedule after this.
    scheduled_from timestamp with time zone NOT NULL,
    last_started timestamp with time zone,
    -- Failed runs in a row, and when the next attempt is.
    failures integer NOT NULL DEFAULT 0,
    next_attempt timestamp with time zone,
    -- For stat_views: finished refreshes by how they ended, and of all of them milliseconds, rows, keys and tags.
    refreshes bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    canceled bigint NOT NULL DEFAULT 0,
    total_time double precision NOT NULL DEFAULT 0,
    max_time double precision NOT NULL DEFAULT 0,
    rows_inserted bigint NOT NULL DEFAULT 0,
    rows_removed bigint NOT NULL DEFAULT 0,
    keys bigint NOT NULL DEFAULT 0,
    tags bigint NOT NULL DEFAULT 0,
    stats_reset timestamp with time zone NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 50);

COMMENT ON TABLE cache_sync.view_state IS 'How each registered view is; read cache_sync.views instead';

-- One row a refresh, of which the newest cache_sync.history_limit of each view are kept. Not dumped.
CREATE TABLE cache_sync.refresh_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    view oid NOT NULL,
    reason text NOT NULL CHECK (reason IN ('change', 'schedule', 'request')),
    state text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    requested_by oid,
    requested_at timestamp with time zone,
    started_at timestamp with time zone,
    finished_at timestamp with time zone,
    pid integer,
    "concurrently" boolean,  -- a reserved word
    rows_inserted bigint,
    rows_removed bigint,
    keys bigint,
    tags bigint,
    sqlstate text,
    message text
);

CREATE INDEX refresh_run_view ON cache_sync.refresh_run (view, id);

COMMENT ON TABLE cache_sync.refresh_run IS 'Refreshes; read cache_sync.refresh_history instead';
COMMENT ON SEQUENCE cache_sync.refresh_run_id_seq IS 'Ids of refreshes';
