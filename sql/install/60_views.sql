-- The views. Columns are named like those of pg_stat_*; durations without a type of their own are milliseconds.

CREATE VIEW cache_sync.tables WITH (security_barrier) AS
SELECT r.id AS rule,
       r.relation,
       r.key,
       r.tags,
       r.columns,
       r.condition,
       coalesce((SELECT string_agg(DISTINCT f.fault, ', ' ORDER BY f.fault)
                 FROM cache_sync._trigger_faults(r.relation) f), 'enabled') AS triggers
FROM cache_sync.rule r
JOIN pg_catalog.pg_class c ON c.oid = r.relation
-- Those of materialized views are in cache_sync.views.
WHERE c.relkind <> 'm' AND (pg_has_role(c.relowner, 'USAGE') OR pg_has_role('pg_monitor', 'USAGE'));

COMMENT ON VIEW cache_sync.tables IS 'Rules of registered tables. Everybody sees those of their own tables.';
COMMENT ON COLUMN cache_sync.tables.rule IS 'Id of the rule, as register_table() returned it';
COMMENT ON COLUMN cache_sync.tables.relation IS 'The registered table; its partitions and inheritance children are included';
COMMENT ON COLUMN cache_sync.tables.key IS 'Key template; NULL: the rule has tags only';
COMMENT ON COLUMN cache_sync.tables.tags IS 'Tag templates';
COMMENT ON COLUMN cache_sync.tables.columns IS 'An UPDATE counts only if one of these changed; NULL: always';
COMMENT ON COLUMN cache_sync.tables.condition IS 'A change counts only if the old or the new row satisfies this; NULL: always';
COMMENT ON COLUMN cache_sync.tables.triggers IS
'enabled, or what is wrong with triggers of the table or its children: missing, disabled, not always (does not fire for replicated changes), surplus';

CREATE VIEW cache_sync.targets AS
SELECT t.name,
       t.url,
       t.prefix,
       t.source,
       t.channel,
       s.mode,
       coalesce(s.state, CASE WHEN t.paused THEN 'paused' ELSE 'unknown' END) AS state,
       coalesce(s.state = 'connected', false) AS connected,
       t.paused,
       CASE WHEN s.state = 'circuit open' THEN 'open' ELSE 'closed' END AS circuit,
       coalesce(s.pending_transactions, 0) AS pending_transactions,
       coalesce(s.pending_bytes, 0) AS pending_bytes,
       coalesce(s.in_flight, 0) AS in_flight,
       s.last_lag,
       s.connected_at,
       s.next_attempt,
       s.last_error,
       s.last_error_at,
       CASE WHEN t.url IS NULL THEN 'no url'
            WHEN s.mode = 'unlink' AND EXISTS (SELECT FROM cache_sync.rule r WHERE r.tags <> '{}')
            THEN 'tags are not invalidated: this target allows no Functions' END AS note
FROM cache_sync._target t
LEFT JOIN cache_sync._target_states() s USING (server);

COMMENT ON VIEW cache_sync.targets IS 'The targets of this database: how they are, and what they still have to be told';
COMMENT ON COLUMN cache_sync.targets.name IS 'Name of the foreign server';
COMMENT ON COLUMN cache_sync.targets.mode IS
'functions: invalidates entries of the fill protocol and tags; unlink: the target allows no Functions, keys are removed and tags are not known; NULL: not connected yet';
COMMENT ON COLUMN cache_sync.targets.connected IS 'Connected and being published to';
COMMENT ON COLUMN cache_sync.targets.circuit IS 'open: failed so often in a row that it is only tried now and then';
COMMENT ON COLUMN cache_sync.targets.pending_transactions IS 'Transactions that it has not confirmed';
COMMENT ON COLUMN cache_sync.targets.pending_bytes IS 'Size of what it has not confirmed, in bytes';
COMMENT ON COLUMN cache_sync.targets.in_flight IS 'Batches sent and not yet confirmed';
COMMENT ON COLUMN cache_sync.targets.last_lag IS 'Of what was confirmed last: milliseconds from visible to confirmed';
COMMENT ON COLUMN cache_sync.targets.next_attempt IS 'When it is tried again';
COMMENT ON COLUMN cache_sync.targets.note IS 'Something to know about this target';

CREATE VIEW cache_sync.queue AS
SELECT q.xid,
       min(q.queued_at) AS queued_at,
       clock_timestamp() - min(q.queued_at) AS age,
       coalesce(array_agg(d.name ORDER BY d.name) FILTER (WHERE d.kind = 'key'), '{}') AS keys,
       coalesce(array_agg(d.name ORDER BY d.name) FILTER (WHERE d.kind = 'tag'), '{}') AS tags,
       coalesce(array_agg(d.name ORDER BY d.name) FILTER (WHERE d.kind = 'pattern'), '{}') AS patterns,
       coalesce(array_agg(coalesce(nullif(d.name, ''), '*') ORDER BY d.name) FILTER (WHERE d.kind = 'flush'), '{}') AS flush,
       coalesce(array_agg(d.name::oid::regclass ORDER BY d.name) FILTER (WHERE d.kind = 'relation'), '{}') AS relations,
       coalesce(array_agg(d.name::oid::regclass ORDER BY d.name) FILTER (WHERE d.kind = 'view'), '{}') AS views
FROM cache_sync._queue() q
LEFT JOIN LATERAL cache_sync._decode_payload(q.payload) d ON true
GROUP BY q.xid;

COMMENT ON VIEW cache_sync.queue IS 'Committed transactions that some target has not confirmed yet, decoded';
COMMENT ON COLUMN cache_sync.queue.xid IS 'The transaction that touched them';
COMMENT ON COLUMN cache_sync.queue.queued_at IS 'When the transaction was about to commit';
COMMENT ON COLUMN cache_sync.queue.patterns IS 'Redis globs: every key that matches is invalid, for example after TRUNCATE';
COMMENT ON COLUMN cache_sync.queue.flush IS 'Targets that are flushed as a whole; * is every target';
COMMENT ON COLUMN cache_sync.queue.relations IS 'Changed relations that registered views read; targets are not told of them';
COMMENT ON COLUMN cache_sync.queue.views IS 'Registered views that a refresh was asked for; targets are not told of them';

-- A queue table is emptied when nobody holds a lock on it and every target has confirmed all of its rows. A prepared
-- transaction has no pid; its locks carry the virtual id that its transactionid lock carries, too.
CREATE VIEW cache_sync.queue_tables AS
SELECT c.relname AS name,
       c.relname = 'queue_' || cache_sync._active_queue_table() AS active,
       s.bytes / current_setting('block_size')::bigint AS pages,
       s.bytes,
       pg_stat_get_dead_tuples(c.oid) AS dead_tuples,
       h.pid,
       h.gid,
       h.age,
       CASE WHEN h.reason IS NOT NULL THEN h.reason
            WHEN s.bytes > 0 THEN 'not confirmed by ' || t.behind END AS reason
FROM pg_catalog.pg_class c
CROSS JOIN LATERAL (SELECT pg_relation_size(c.oid) AS bytes) s
LEFT JOIN LATERAL (
    SELECT l.pid,
           p.gid,
           clock_timestamp() - coalesce(p.prepared, a.xact_start) AS age,
           CASE WHEN p.gid IS NOT NULL THEN 'prepared transaction'
                WHEN l.mode = 'RowExclusiveLock' THEN 'open transaction that wrote to it'
                ELSE 'locked in mode ' || l.mode END AS reason
    FROM pg_catalog.pg_locks l
    LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
    LEFT JOIN pg_catalog.pg_locks x
           ON l.pid IS NULL AND x.pid IS NULL AND x.locktype = 'transactionid' AND x.granted
          AND x.virtualtransaction = l.virtualtransaction
    LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid
    WHERE l.locktype = 'relation' AND l.granted AND l.relation = c.oid
      AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = current_database())
      AND a.backend_type IS DISTINCT FROM 'cache_sync publisher'
    ORDER BY age DESC NULLS LAST, l.pid
    LIMIT 1
) h ON true
CROSS JOIN (
    SELECT string_agg(format('target "%s"', g.name), ', ' ORDER BY g.name) AS behind
    FROM cache_sync.targets g
    WHERE g.pending_transactions > 0
) t
WHERE c.oid IN ('cache_sync.queue_0'::regclass, 'cache_sync.queue_1'::regclass, 'cache_sync.queue_2'::regclass);

COMMENT ON VIEW cache_sync.queue_tables IS
'The tables of the queue, and who keeps each from being emptied: the transaction that has locked it for longest, or targets';
COMMENT ON COLUMN cache_sync.queue_tables.active IS 'Writers use this one; NULL: nobody has written since the server started';
COMMENT ON COLUMN cache_sync.queue_tables.pages IS 'Size in pages';
COMMENT ON COLUMN cache_sync.queue_tables.bytes IS 'Size in bytes';
COMMENT ON COLUMN cache_sync.queue_tables.dead_tuples IS 'Rows of transactions that were rolled back, as far as the statistics know';
COMMENT ON COLUMN cache_sync.queue_tables.pid IS 'Process whose transaction holds it back';
COMMENT ON COLUMN cache_sync.queue_tables.gid IS 'Prepared transaction that holds it back';
COMMENT ON COLUMN cache_sync.queue_tables.age IS 'Since that transaction began, or was prepared';
COMMENT ON COLUMN cache_sync.queue_tables.reason IS 'Why it is not emptied; NULL: nothing is in the way';

CREATE VIEW cache_sync.workers AS
SELECT w.pid, w.role, d.datname, w.state, w.started, w.last_error, w.last_error_at
FROM cache_sync._workers() w
LEFT JOIN pg_catalog.pg_database d ON d.oid = w.database;

COMMENT ON VIEW cache_sync.workers IS 'Processes of cache_sync in this cluster';
COMMENT ON COLUMN cache_sync.workers.role IS 'launcher: starts the others; publisher: publishes for one database';
COMMENT ON COLUMN cache_sync.workers.datname IS 'Database that it works for';

CREATE VIEW cache_sync.stat_capture AS
SELECT c.transactions, c.rows, c.keys, c.tags, c.patterns, c.duplicates, c.queue_rows, c.queue_bytes, c.ring_overflows,
       c.rotations, c.stats_reset
FROM cache_sync._stat_capture() c;

COMMENT ON VIEW cache_sync.stat_capture IS 'What was captured in this database';
COMMENT ON COLUMN cache_sync.stat_capture.transactions IS 'Transactions that touched anything';
COMMENT ON COLUMN cache_sync.stat_capture.rows IS 'Row changes seen by capture triggers';
COMMENT ON COLUMN cache_sync.stat_capture.keys IS 'Keys queued';
COMMENT ON COLUMN cache_sync.stat_capture.tags IS 'Tags queued';
COMMENT ON COLUMN cache_sync.stat_capture.patterns IS 'Patterns and flushes queued: TRUNCATE, flush(), and keys too long to be queued as they are';
COMMENT ON COLUMN cache_sync.stat_capture.duplicates IS 'Keys and tags that their transaction had touched before';
COMMENT ON COLUMN cache_sync.stat_capture.queue_rows IS 'Rows written to the queue';
COMMENT ON COLUMN cache_sync.stat_capture.queue_bytes IS 'Bytes written to the queue';
COMMENT ON COLUMN cache_sync.stat_capture.ring_overflows IS 'Transactions that did not fit the ring and were read from the queue table';
COMMENT ON COLUMN cache_sync.stat_capture.rotations IS 'Times that a queue table was emptied';
COMMENT ON COLUMN cache_sync.stat_capture.stats_reset IS 'When the counters were last set to zero';

CREATE VIEW cache_sync.stat_targets AS
SELECT t.name, s.published_keys, s.published_tags, s.published_patterns, s.batches, s.coalesced, s.retried, s.errors,
       s.connections, s.flushes, s.lag_p50, s.lag_p95, s.lag_p99, s.lag_max, s.stats_reset
FROM cache_sync._stat_targets() s
JOIN cache_sync._target t USING (server);

COMMENT ON VIEW cache_sync.stat_targets IS 'What each target was told';
COMMENT ON COLUMN cache_sync.stat_targets.name IS 'Name of the foreign server';
COMMENT ON COLUMN cache_sync.stat_targets.published_keys IS 'Keys confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.published_tags IS 'Tags confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.published_patterns IS 'Patterns walked';
COMMENT ON COLUMN cache_sync.stat_targets.batches IS 'Batches confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.coalesced IS 'Keys and tags that were in their batch already';
COMMENT ON COLUMN cache_sync.stat_targets.retried IS 'Batches sent again, because the connection was lost before they were confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.errors IS 'Failed connections, refused commands, timeouts';
COMMENT ON COLUMN cache_sync.stat_targets.connections IS 'Connections made';
COMMENT ON COLUMN cache_sync.stat_targets.flushes IS 'Times that it was flushed as a whole';
COMMENT ON COLUMN cache_sync.stat_targets.lag_p50 IS 'Median of the milliseconds from commit visible to confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.lag_p95 IS '95th percentile of the milliseconds from commit visible to confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.lag_p99 IS '99th percentile of the milliseconds from commit visible to confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.lag_max IS 'Longest of the milliseconds from commit visible to confirmed';
COMMENT ON COLUMN cache_sync.stat_targets.stats_reset IS 'When the counters were last set to zero';
