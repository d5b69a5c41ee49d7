-- What is known of registered views and their refreshes. Everybody sees those of their own views.

CREATE VIEW cache_sync.views WITH (security_barrier) AS
SELECT v.view,
       pg_get_userbyid(c.relowner) AS owner,
       v.schedule,
       v.on_change,
       v.min_interval,
       v.statement_timeout,
       r.key,
       coalesce(r.tags, '{}') AS tags,
       cache_sync._view_base_tables(v.view) AS base_tables,
       cache_sync._view_depends_on(v.view) AS depends_on,
       ARRAY(SELECT cache_sync._view_unseen(v.view)) AS unseen,
       CASE WHEN m."concurrently" THEN 'concurrently' ELSE 'plain' END AS method,
       m.reason AS method_reason,
       CASE WHEN j.view IS NOT NULL THEN 'running'
            WHEN q.requested_at IS NOT NULL THEN 'queued'
            WHEN s.next_attempt > clock_timestamp() THEN 'backing off'
            -- The publisher has not seen it yet.
            WHEN s.dirty_since IS NOT NULL OR v.on_change AND s.view IS NULL THEN 'dirty'
            WHEN v.on_change THEN 'clean'
            ELSE 'unwatched' END AS state,
       s.dirty_since,
       coalesce(q.requested_at,
                greatest(s.next_attempt,
                         least(CASE WHEN v.on_change AND s.dirty_since IS NOT NULL
                                    THEN greatest(s.dirty_since, s.last_started + v.min_interval) END,
                               cache_sync._next_run(v.schedule, s.scheduled_from)))) AS next_run,
       j.pid,
       j.phase,
       j.started AS running_since,
       CASE WHEN a.wait_event IS NOT NULL THEN a.wait_event_type || ': ' || a.wait_event END AS wait_event,
       good.finished_at AS last_success,
       bad.finished_at AS last_failure,
       bad.sqlstate AS last_sqlstate,
       bad.message AS last_error,
       extract(epoch FROM good.finished_at - good.started_at)::double precision * 1000 AS last_duration,
       good.rows_inserted AS last_rows_inserted,
       good.rows_removed AS last_rows_removed,
       coalesce(s.failures, 0) AS failures
FROM cache_sync.view v
JOIN pg_catalog.pg_class c ON c.oid = v.view
LEFT JOIN cache_sync.view_state s ON s.view = v.view
LEFT JOIN cache_sync.rule r ON r.relation = v.view
CROSS JOIN LATERAL cache_sync._view_method(v.view, v."concurrently") m
LEFT JOIN cache_sync._refresh_jobs() j ON j.view = v.view
LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = j.pid
CROSS JOIN LATERAL (
    SELECT min(o.requested_at) AS requested_at FROM cache_sync.refresh_run o WHERE o.view = v.view AND o.state = 'queued'
) q
LEFT JOIN LATERAL (
    SELECT o.* FROM cache_sync.refresh_run o WHERE o.view = v.view AND o.state = 'succeeded' ORDER BY o.id DESC LIMIT 1
) good ON true
LEFT JOIN LATERAL (
    -- One that was canceled because nobody waits for it any more has no SQLSTATE.
    SELECT o.* FROM cache_sync.refresh_run o
    WHERE o.view = v.view AND o.state IN ('failed', 'canceled') AND o.sqlstate IS NOT NULL ORDER BY o.id DESC LIMIT 1
) bad ON true
WHERE pg_has_role(c.relowner, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE');

COMMENT ON VIEW cache_sync.views IS 'Registered materialized views. Everybody sees their own.';
COMMENT ON COLUMN cache_sync.views.owner IS 'Role that it is refreshed as';
COMMENT ON COLUMN cache_sync.views.schedule IS 'When it is refreshed, whether anything changed or not; NULL: never';
COMMENT ON COLUMN cache_sync.views.on_change IS 'Refreshed after a change of what it reads';
COMMENT ON COLUMN cache_sync.views.min_interval IS 'Between the starts of refreshes after a change, at least';
COMMENT ON COLUMN cache_sync.views.statement_timeout IS 'A refresh that takes longer is ended; NULL: none is';
COMMENT ON COLUMN cache_sync.views.key IS 'Key template, rendered from the rows that a refresh changed; NULL: none';
COMMENT ON COLUMN cache_sync.views.tags IS 'Tag templates, rendered from the rows that a refresh changed';
COMMENT ON COLUMN cache_sync.views.base_tables IS
'Tables at the bottom of everything that it reads, through views and materialized views; those partitions and inheritance children are not listed that a query does not name';
COMMENT ON COLUMN cache_sync.views.depends_on IS 'Registered views below it, at any depth: it is refreshed after them';
COMMENT ON COLUMN cache_sync.views.unseen IS 'What it reads whose changes on_change cannot see';
COMMENT ON COLUMN cache_sync.views.method IS 'concurrently or plain: how the next refresh is done. A plain one blocks readers.';
COMMENT ON COLUMN cache_sync.views.method_reason IS 'Why it is done so';
COMMENT ON COLUMN cache_sync.views.state IS
'running; queued: asked for with refresh(); backing off: failed, is tried again at next_run; dirty: something changed; clean: nothing changed that on_change can see; unwatched: not refreshed on change';
COMMENT ON COLUMN cache_sync.views.dirty_since IS 'When the first change that is not in the view became visible';
COMMENT ON COLUMN cache_sync.views.next_run IS
'When the next refresh is due; it may wait for views below it and for a free process. NULL: none is planned';
COMMENT ON COLUMN cache_sync.views.pid IS 'Process of the running refresh';
COMMENT ON COLUMN cache_sync.views.phase IS 'What the running refresh does: starting, locking, refreshing, comparing, retrying';
COMMENT ON COLUMN cache_sync.views.running_since IS 'When the running refresh started';
COMMENT ON COLUMN cache_sync.views.wait_event IS 'What the running refresh waits for, as in pg_stat_activity';
COMMENT ON COLUMN cache_sync.views.last_success IS 'When the last refresh that succeeded finished';
COMMENT ON COLUMN cache_sync.views.last_failure IS 'When the last refresh that failed or was canceled finished';
COMMENT ON COLUMN cache_sync.views.last_sqlstate IS 'SQLSTATE of that failure';
COMMENT ON COLUMN cache_sync.views.last_error IS 'Message of that failure';
COMMENT ON COLUMN cache_sync.views.last_duration IS 'Of the last refresh that succeeded, in milliseconds';
COMMENT ON COLUMN cache_sync.views.last_rows_inserted IS 'Rows that the last refresh that succeeded added to the view';
COMMENT ON COLUMN cache_sync.views.last_rows_removed IS
'Rows that the last refresh that succeeded removed from the view; a changed row is removed and added. NULL: not counted';
COMMENT ON COLUMN cache_sync.views.failures IS 'Failed refreshes in a row; 0: the last one did not fail';

CREATE VIEW cache_sync.refresh_history WITH (security_barrier) AS
SELECT r.id,
       r.view::regclass AS view,
       r.reason,
       r.state,
       pg_get_userbyid(r.requested_by) AS requested_by,
       r.requested_at,
       r.started_at,
       r.finished_at,
       extract(epoch FROM r.finished_at - r.started_at)::double precision * 1000 AS duration,
       CASE WHEN r."concurrently" THEN 'concurrently' WHEN NOT r."concurrently" THEN 'plain' END AS method,
       r.rows_inserted,
       r.rows_removed,
       r.keys,
       r.tags,
       r.sqlstate,
       r.message
FROM cache_sync.refresh_run r
JOIN pg_catalog.pg_class c ON c.oid = r.view
WHERE pg_has_role(c.relowner, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE');

COMMENT ON VIEW cache_sync.refresh_history IS
'Refreshes, of which the newest cache_sync.history_limit of each view are kept. Everybody sees those of their own views.';
COMMENT ON COLUMN cache_sync.refresh_history.id IS 'As refresh() returned it';
COMMENT ON COLUMN cache_sync.refresh_history.reason IS 'change, schedule or request';
COMMENT ON COLUMN cache_sync.refresh_history.state IS 'queued, running, succeeded, failed or canceled';
COMMENT ON COLUMN cache_sync.refresh_history.requested_by IS 'Who called refresh()';
COMMENT ON COLUMN cache_sync.refresh_history.requested_at IS 'When refresh() was called';
COMMENT ON COLUMN cache_sync.refresh_history.started_at IS 'When its process began with it';
COMMENT ON COLUMN cache_sync.refresh_history.finished_at IS 'When it ended, however it did';
COMMENT ON COLUMN cache_sync.refresh_history.duration IS 'Milliseconds from started_at to finished_at';
COMMENT ON COLUMN cache_sync.refresh_history.method IS 'concurrently or plain; NULL: it has not come to that yet';
COMMENT ON COLUMN cache_sync.refresh_history.rows_inserted IS 'Rows added to the view';
COMMENT ON COLUMN cache_sync.refresh_history.rows_removed IS
'Rows removed from the view; a changed row is removed and added. NULL: not counted';
COMMENT ON COLUMN cache_sync.refresh_history.keys IS 'Cache keys queued';
COMMENT ON COLUMN cache_sync.refresh_history.tags IS 'Tags queued';
COMMENT ON COLUMN cache_sync.refresh_history.sqlstate IS 'SQLSTATE of the error that ended it';
COMMENT ON COLUMN cache_sync.refresh_history.message IS 'Message of the error that ended it, or why it did not run';

CREATE VIEW cache_sync.stat_views WITH (security_barrier) AS
SELECT v.view,
       coalesce(s.refreshes, 0) AS refreshes,
       coalesce(s.failed, 0) AS failed,
       coalesce(s.canceled, 0) AS canceled,
       coalesce(s.total_time, 0) AS total_time,
       s.total_time / nullif(s.refreshes + s.failed + s.canceled, 0) AS mean_time,
       coalesce(s.max_time, 0) AS max_time,
       coalesce(s.rows_inserted, 0) AS rows_inserted,
       coalesce(s.rows_removed, 0) AS rows_removed,
       coalesce(s.keys, 0) AS keys,
       coalesce(s.tags, 0) AS tags,
       s.stats_reset
FROM cache_sync.view v
JOIN pg_catalog.pg_class c ON c.oid = v.view
LEFT JOIN cache_sync.view_state s ON s.view = v.view
WHERE pg_has_role(c.relowner, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE');

COMMENT ON VIEW cache_sync.stat_views IS
'What refreshing each registered view came to, since stats_reset and not only in the history. Everybody sees those of their own views.';
COMMENT ON COLUMN cache_sync.stat_views.refreshes IS 'Refreshes that succeeded';
COMMENT ON COLUMN cache_sync.stat_views.failed IS 'Refreshes that failed';
COMMENT ON COLUMN cache_sync.stat_views.canceled IS 'Refreshes that were canceled';
COMMENT ON COLUMN cache_sync.stat_views.total_time IS 'Time of all of them, in milliseconds';
COMMENT ON COLUMN cache_sync.stat_views.mean_time IS 'Mean time of one, in milliseconds';
COMMENT ON COLUMN cache_sync.stat_views.max_time IS 'Time of the longest, in milliseconds';
COMMENT ON COLUMN cache_sync.stat_views.rows_inserted IS 'Rows added to the view';
COMMENT ON COLUMN cache_sync.stat_views.rows_removed IS 'Rows removed from the view';
COMMENT ON COLUMN cache_sync.stat_views.keys IS 'Cache keys queued';
COMMENT ON COLUMN cache_sync.stat_views.tags IS 'Tags queued';
COMMENT ON COLUMN cache_sync.stat_views.stats_reset IS 'When the counters were last set to zero';
