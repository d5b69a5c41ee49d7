-- check(): is everything in order? One function a subject, one row a check.

-- The row of a check that looks for offenders: in order if there are none, else it names the first few.
CREATE FUNCTION cache_sync._verdict(subject text, offenders text[], good text, bad text, advice text)
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT subject,
           o.count = 0,
           CASE WHEN o.count = 0 THEN good
                ELSE bad || ': ' || array_to_string(offenders[1:5], ', ')
                     || CASE WHEN o.count > 5 THEN format(' and %s more', o.count - 5) ELSE '' END END,
           CASE WHEN o.count > 0 THEN advice END
    FROM (SELECT coalesce(cardinality(offenders), 0) AS count) o
$$;

CREATE FUNCTION cache_sync._check_server()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'library', v.library = v.extension,
           format('library %s, extension %s', v.library, v.extension),
           CASE WHEN v.library <> v.extension
                THEN 'Run ALTER EXTENSION cache_sync UPDATE, or restart the server if it runs an older library.' END
    FROM (SELECT cache_sync._library_version() AS library, e.extversion AS extension
          FROM pg_extension e WHERE e.extname = 'cache_sync') v
    UNION ALL
    SELECT 'capture', c.enabled, 'cache_sync.enabled is ' || CASE WHEN c.enabled THEN 'on' ELSE 'off' END,
           CASE WHEN NOT c.enabled
                THEN 'This session captures nothing. After the bulk load: RESET cache_sync.enabled, and cache_sync.flush().' END
    FROM (SELECT current_setting('cache_sync.enabled')::boolean AS enabled) c
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('event triggers',
        (SELECT array_agg(t.name ORDER BY t.name)
         FROM unnest('{cache_sync_alter,cache_sync_ddl,cache_sync_drop,cache_sync_rewrite}'::text[]) AS t (name)
         WHERE NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = t.name AND e.evtenabled = 'A')),
        'rules follow ALTER TABLE and DROP TABLE', 'not enabled for every session',
        'Run ALTER EVENT TRIGGER ... ENABLE ALWAYS.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('publications',
        (SELECT array_agg(DISTINCT format('%I', p.pubname)) FROM pg_publication_tables p
         WHERE p.schemaname = 'cache_sync'),
        'none sends tables of cache_sync', 'send tables of cache_sync, which subscribers need not have',
        'Name the tables or schemas to publish, instead of FOR ALL TABLES.') v
$$;

CREATE FUNCTION cache_sync._check_workers()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.role, w.pid IS NOT NULL,
           CASE WHEN w.pid IS NULL THEN 'not running' ELSE format('pid %s, %s', w.pid, w.state) END
               || coalesce('; last error: ' || w.last_error, ''),
           CASE WHEN w.pid IS NULL THEN r.advice END
    FROM (VALUES ('launcher', NULL::name,
                  'Is this server a standby, or is the server log full of its errors?'),
                 ('publisher', current_database(),
                  format('Look into the server log. It needs a free slot of max_worker_processes (%s).',
                         current_setting('max_worker_processes')))) AS r (role, database, advice)
    LEFT JOIN cache_sync.workers w ON w.role = r.role AND w.datname IS NOT DISTINCT FROM r.database
    UNION ALL
    SELECT 'worker slots', s.used < s.most, format('%s of max_worker_processes = %s in use', s.used, s.most),
           CASE WHEN s.used >= s.most
                THEN 'Raise max_worker_processes: every database with cache_sync needs one, and the launcher one.' END
    FROM (SELECT current_setting('max_worker_processes')::bigint AS most,
                 (SELECT count(*) FROM pg_stat_activity a
                  WHERE a.backend_type <> ALL ('{client backend,autovacuum launcher,autovacuum worker,checkpointer,'
                                               'background writer,walwriter,walsender,walreceiver,walsummarizer,startup,'
                                               'archiver,slotsync worker}')) AS used) s
$$;

-- Who has kept which queue table from being emptied for longer than this.
CREATE FUNCTION cache_sync._queue_tables_held(most interval)
RETURNS text[]
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT array_agg(format('%s by %s for %s', q.name, CASE WHEN q.gid IS NULL THEN format('pid %s', q.pid)
                                                            ELSE format('prepared transaction "%s"', q.gid) END,
                            date_trunc('second', q.age)) ORDER BY q.name)
    FROM cache_sync.queue_tables q
    WHERE q.age > most
$$;

CREATE FUNCTION cache_sync._check_targets()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'targets', count(*) > 0, format('%s registered', count(*)),
           CASE WHEN count(*) = 0
                THEN 'Run CREATE SERVER ... FOREIGN DATA WRAPPER cache_sync OPTIONS (url ''redis://...'').' END
    FROM cache_sync._target
    UNION ALL
    (SELECT format('target %s', t.name),
            t.url IS NOT NULL AND t.note IS NULL AND (t.connected OR t.paused),
            concat_ws('; ', t.state, t.note, CASE WHEN NOT t.connected THEN 'last error: ' || t.last_error END),
            CASE WHEN t.url IS NULL THEN 'Run ALTER SERVER ... OPTIONS (ADD url ''redis://...'').'
                 WHEN NOT t.connected AND NOT t.paused
                 THEN 'What commits is kept until the target is back; see cache_sync.targets.'
                 WHEN t.note IS NOT NULL
                 THEN 'Allow the user of the target FCALL and FUNCTION, or register the table without tags.' END
     FROM cache_sync.targets t ORDER BY t.name)
    UNION ALL
    SELECT 'queue', q.age IS NULL OR q.age < interval '1 minute',
           format('%s transactions pending', q.count)
               || coalesce(', the oldest for ' || date_trunc('second', q.age), ''),
           CASE WHEN q.age >= interval '1 minute'
                THEN 'See cache_sync.targets for the one that is behind, and cache_sync.workers.' END
    FROM (SELECT count(DISTINCT q.xid), clock_timestamp() - min(q.queued_at) AS age
          FROM cache_sync._queue() q
          -- What only paused targets miss is not late.
          WHERE EXISTS (SELECT FROM cache_sync.targets t WHERE NOT t.paused AND t.pending_transactions > 0)) q
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('queue tables', cache_sync._queue_tables_held('1 minute'),
        'no transaction keeps one from being emptied', 'held back',
        'End the transaction: COMMIT PREPARED, ROLLBACK PREPARED, pg_terminate_backend(). The others are used meanwhile.') v
$$;

CREATE FUNCTION cache_sync._check_rules()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.* FROM cache_sync._verdict('triggers',
        (SELECT array_agg(DISTINCT format('%s %s', f.member::regclass, f.fault))
         FROM (SELECT DISTINCT relation FROM cache_sync.rule) r, cache_sync._trigger_faults(r.relation) f),
        'in place and always enabled', 'wrong',
        'Register the table again, or ALTER TABLE ... ENABLE ALWAYS TRIGGER ...; then cache_sync.flush().') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('rules',
        (SELECT array_agg(format('rule %s names column "%s" of %s', r.id, c.name, r.relation) ORDER BY r.id, c.name)
         FROM cache_sync.rule r,
              unnest(cache_sync._rule_columns(r.relation, r.key, r.tags, r.columns, r.condition)) AS c (name)
         WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = r.relation AND a.attname = c.name
                           AND a.attnum > 0 AND NOT a.attisdropped)),
        format('%s rules, every column is there', (SELECT count(*) FROM cache_sync.rule)), 'columns missing',
        'Unregister the rule and register it with the columns as they are named now.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('conditions',
        (SELECT array_agg(format('rule %s of %s: %s', r.id, r.relation, c.error) ORDER BY r.id)
         FROM cache_sync.rule r, cache_sync._condition_error(r.relation, r.condition) AS c (error)
         WHERE c.error IS NOT NULL),
        'every condition works', 'do not work, so that every row counts as satisfying them',
        'Register the table again with a condition that fits it.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('tables logged',
        (SELECT array_agg(DISTINCT c.oid::regclass::text)
         FROM (SELECT DISTINCT relation FROM cache_sync.rule) r, cache_sync._tree(r.relation) m
         JOIN pg_class c ON c.oid = m.member
         WHERE c.relpersistence <> 'p'),
        'no unlogged or temporary table is registered', 'unlogged or temporary',
        'A crash empties an unlogged table unseen. Run cache_sync.flush() after one, or ALTER TABLE ... SET LOGGED.') v
$$;

CREATE FUNCTION cache_sync._check_views()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT 'views', v.count = 0 OR v.workers > 0,
           format('%s registered, cache_sync.max_refresh_workers is %s', v.count, v.workers),
           CASE WHEN v.count > 0 AND v.workers = 0
                THEN 'Nothing is refreshed. Set cache_sync.max_refresh_workers to 1 or more, and reload the configuration.' END
    FROM (SELECT count(*) AS count, current_setting('cache_sync.max_refresh_workers')::integer AS workers
          FROM cache_sync.view) v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('view triggers',
        (SELECT array_agg(DISTINCT format('%s %s', f.relation::regclass, f.fault)) FROM cache_sync._view_trigger_faults() f),
        'in place and enabled', 'wrong',
        'Register the view again, which repairs them; then cache_sync.refresh().') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('view privileges',
        (SELECT array_agg(format('%s for %s', u.relation, v.view) ORDER BY u.relation::text, v.view::text)
         FROM cache_sync.view v, cache_sync._view_unwatched(v.view) AS u (relation) WHERE v.on_change),
        'the owners of views may watch every table', 'not watched, because the owner of the view lacks TRIGGER',
        'Run GRANT TRIGGER ON the table TO the owner of the view.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('views populated',
        (SELECT array_agg(v.view::text ORDER BY v.view::text)
         FROM cache_sync.view v JOIN pg_class c ON c.oid = v.view AND NOT c.relispopulated),
        'every registered view has been refreshed', 'not populated',
        'Run SELECT cache_sync.refresh(...), and see cache_sync.refresh_history.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('views concurrently',
        (SELECT array_agg(format('%s: %s', v.view, m.reason) ORDER BY v.view::text)
         FROM cache_sync.view v, cache_sync._view_method(v.view, true) m
         WHERE v."concurrently" AND m.reason LIKE 'no unique index%'),
        'possible where it was asked for', 'registered with concurrently => true, and not refreshed until that is possible',
        'Create a unique index on plain columns without a condition, or register the view without concurrently.') v
    UNION ALL
    SELECT v.* FROM cache_sync._verdict('view refreshes',
        (SELECT array_agg(format('%s: %s (SQLSTATE %s)', v.view, r.message, r.sqlstate) ORDER BY v.view::text)
         FROM cache_sync.view v
         CROSS JOIN LATERAL (SELECT r.* FROM cache_sync.refresh_run r
                             WHERE r.view = v.view AND r.state NOT IN ('queued', 'running') ORDER BY r.id DESC LIMIT 1) r
         WHERE r.state = 'failed'),
        'none failed last', 'failed last', 'See cache_sync.refresh_history; it is tried again at next_run of cache_sync.views.') v
$$;

-- Runs as the extension's owner: roles that may call it may read everything that it tells.
CREATE FUNCTION cache_sync.check()
RETURNS TABLE ("check" text, ok boolean, detail text, hint text)
LANGUAGE sql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT * FROM cache_sync._check_server()
    UNION ALL
    SELECT * FROM cache_sync._check_workers()
    UNION ALL
    SELECT * FROM cache_sync._check_targets()
    UNION ALL
    SELECT * FROM cache_sync._check_rules()
    UNION ALL
    SELECT * FROM cache_sync._check_views()
$$;

COMMENT ON FUNCTION cache_sync.check() IS
'Is everything in order? One row a check: what was looked at, whether it is in order, what was found, and what to do. '
'For members of pg_monitor.';
