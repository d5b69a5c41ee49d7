-- Registering materialized views. The public functions are guards of the library: they find out whether the caller owns
-- the view, and then run the function of the same name with _ before it, which nobody else can call. See
-- src/refresh/owner_only_pg.cpp.

CREATE FUNCTION cache_sync.register_view(
    view regclass, schedule text DEFAULT NULL, on_change boolean DEFAULT true, min_interval interval DEFAULT '1 second',
    key text DEFAULT NULL, tags text[] DEFAULT '{}', "concurrently" boolean DEFAULT NULL,
    statement_timeout interval DEFAULT NULL)
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_owner_only';

COMMENT ON FUNCTION cache_sync.register_view(regclass, text, boolean, interval, text, text[], boolean, interval) IS
'Has the materialized view refreshed. view: one that you own. schedule: 5-field cron (''*/5 * * * *''), ''@hourly'' ... or '
'''30 seconds'', in the time zone cache_sync.timezone. on_change: after a change of a table that it reads, through views; '
'needs the privilege TRIGGER on those tables. min_interval: between the starts of such refreshes, from 0 to 24 days. key, '
'tags: templates, rendered from the rows of the view that a refresh changed. concurrently: NULL is when the view has a '
'usable unique index. statement_timeout: ends a refresh that takes longer, up to 24 days. Registering the same view again changes its options. '
'Errors: insufficient_privilege, wrong_object_type, invalid_parameter_value, undefined_column, feature_not_supported (on_change '
'can see nothing that the view reads, and there is no schedule), object_not_in_prerequisite_state (concurrently without a unique index). '
'A warning names what on_change cannot see.';

CREATE FUNCTION cache_sync.unregister_view(view regclass)
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_owner_only';

COMMENT ON FUNCTION cache_sync.unregister_view(regclass) IS
'Ends register_view(), and removes the triggers that no view needs any more. The view stays as it is, and so does its '
'history. Nothing happens if it is not registered. Errors: insufficient_privilege unless you own the view, wrong_object_type.';

CREATE FUNCTION cache_sync.refresh(view regclass)
RETURNS bigint
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_owner_only';

COMMENT ON FUNCTION cache_sync.refresh(regclass) IS
'Asks for a refresh of the registered view, which starts after the calling transaction has committed, and returns its id '
'in refresh_history. Errors: insufficient_privilege unless you own the view, wrong_object_type, '
'object_not_in_prerequisite_state if the view is not registered.';

-- Holds a lock on the view until the transaction ends, so that it is not dropped before it is registered.
CREATE FUNCTION cache_sync._check_view_rule(view regclass, key text, tags text[])
RETURNS void
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_check_view_rule';

CREATE FUNCTION cache_sync._register_view(
    caller oid, view regclass, schedule text, on_change boolean, min_interval interval, key text, tags text[],
    "concurrently" boolean, statement_timeout interval)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    was_on_change boolean;
BEGIN
    PERFORM cache_sync._check_view_options($4, $5, $9);
    IF $3 IS NOT NULL THEN
        PERFORM cache_sync._check_schedule($3);
    END IF;
    PERFORM cache_sync._check_view_rule($2, $6, $7);
    PERFORM cache_sync._lock_below($2);
    PERFORM cache_sync._check_snapshot();
    IF $8 THEN
        PERFORM cache_sync._check_view_index($2);
    END IF;
    IF $4 THEN
        PERFORM cache_sync._check_view_inputs($2, $3 IS NOT NULL);
    END IF;

    SELECT v.on_change INTO was_on_change FROM cache_sync.view v WHERE v.view = $2 FOR UPDATE;
    INSERT INTO cache_sync.view AS v (view, schedule, on_change, min_interval, "concurrently", statement_timeout)
    VALUES ($2, $3, $4, $5, $8, $9)
    ON CONFLICT (view) DO UPDATE
    SET schedule = excluded.schedule, on_change = excluded.on_change, min_interval = excluded.min_interval,
        "concurrently" = excluded."concurrently", statement_timeout = excluded.statement_timeout
    WHERE (v.schedule, v.on_change, v.min_interval, v."concurrently", v.statement_timeout)
          IS DISTINCT FROM
          (excluded.schedule, excluded.on_change, excluded.min_interval, excluded."concurrently", excluded.statement_timeout);
    PERFORM cache_sync._store_view_rule($2, $6, coalesce($7, '{}'));
    PERFORM cache_sync._place_view_triggers(true, true);
    -- What changed before the triggers were there.
    IF $4 AND was_on_change IS NOT TRUE THEN
        PERFORM cache_sync._touch_view($2);
    END IF;
END
$$;

CREATE FUNCTION cache_sync._check_view_options(on_change boolean, min_interval interval, statement_timeout interval)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    IF on_change IS NULL THEN
        RAISE EXCEPTION '"on_change" must not be NULL'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Give true or false; true if you leave it out.';
    END IF;
    IF min_interval IS NULL THEN
        RAISE EXCEPTION '"min_interval" must not be NULL'
            USING ERRCODE = 'null_value_not_allowed', HINT = 'Give ''0'' for none; 1 second if you leave it out.';
    END IF;
    FOR item IN SELECT o.*
                FROM (VALUES ('min_interval', min_interval, interval '0', 'such as ''0'' or ''10 seconds'''),
                             ('statement_timeout', statement_timeout, interval '1 millisecond',
                              'such as ''10 minutes'', or NULL for none')) AS o (name, value, least, example)
                WHERE NOT (o.value >= o.least AND o.value <= interval '24 days'
                           AND extract(year FROM o.value) = 0 AND extract(month FROM o.value) = 0) LOOP
        RAISE EXCEPTION '% is out of range: "%"', item.name, item.value
            USING ERRCODE = 'invalid_parameter_value',
                  DETAIL = format('It must be from %s to 24 days, without months and years.',
                                  CASE WHEN item.least = '0' THEN '0' ELSE '1 millisecond' END),
                  HINT = format('Give an interval %s.', item.example);
    END LOOP;
END
$$;

CREATE FUNCTION cache_sync._check_view_index(view regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (SELECT m.reason LIKE 'no unique index%' FROM cache_sync._view_method(view, true) m) THEN
        RAISE EXCEPTION 'materialized view % cannot be refreshed concurrently', view
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  DETAIL = 'It has no unique index on plain columns without a condition.',
                  HINT = format('Run CREATE UNIQUE INDEX ON %s (...), or leave "concurrently" out to refresh it plainly.',
                                view);
    END IF;
END
$$;

-- Is there anything that on_change can see? Says what it cannot.
CREATE FUNCTION cache_sync._check_view_inputs(view regclass, has_schedule boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unseen text := (SELECT string_agg(u.words, ', ') FROM cache_sync._view_unseen(view) AS u (words));
    owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = view);
    forbidden regclass := (SELECT t.root FROM cache_sync._view_tables(view) t
                           WHERE NOT t.allowed ORDER BY t.root::regclass::text COLLATE "C" LIMIT 1);
    sees_any boolean := EXISTS (SELECT FROM cache_sync._view_inputs(view));
BEGIN
    IF forbidden IS NOT NULL THEN
        RAISE EXCEPTION 'permission denied to watch table % for materialized view %', forbidden, view
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('The owner of the view, "%s", lacks the privilege TRIGGER on the table.', owner),
                  HINT = format('Run GRANT TRIGGER ON %s TO %I, or register the view with on_change => false.',
                                forbidden, owner);
    END IF;
    IF NOT sees_any AND NOT has_schedule THEN
        RAISE EXCEPTION 'on_change cannot see anything that materialized view % reads', view
            USING ERRCODE = 'feature_not_supported',
                  DETAIL = coalesce('It reads: ' || unseen || '.', 'It reads no table.'),
                  HINT = 'Give it a schedule, such as schedule => ''*/5 * * * *'', or on_change => false to refresh it on request only.';
    END IF;
    IF unseen IS NOT NULL THEN
        RAISE WARNING 'on_change cannot see % that materialized view % reads',
                      CASE WHEN sees_any THEN 'everything' ELSE 'anything' END, view
            USING DETAIL = format('It cannot see: %s.', unseen),
                  HINT = CASE WHEN has_schedule THEN 'Changes of these are in the view after the next refresh by schedule.'
                              ELSE 'Changes of these are in the view after the next refresh; give it a schedule as well.' END;
    END IF;
END
$$;

-- The view has one rule, or none.
CREATE FUNCTION cache_sync._store_view_rule(view regclass, key text, tags text[])
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM cache_sync.rule r
    WHERE r.relation = $1 AND (r.key IS DISTINCT FROM $2 OR $2 IS NULL AND $3 = '{}');
    INSERT INTO cache_sync.rule AS r (relation, key, tags)
    SELECT $1, $2, $3
    WHERE $2 IS NOT NULL OR $3 <> '{}'
    ON CONFLICT (relation, key) DO UPDATE SET tags = excluded.tags WHERE r.tags <> excluded.tags;
$$;

CREATE FUNCTION cache_sync._unregister_view(caller oid, view regclass)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cache_sync._check_snapshot();
    -- A refresh would keep its triggers from being dropped until it is done, and everybody else from the tables.
    PERFORM pg_terminate_backend(j.pid) FROM cache_sync._refresh_jobs() j WHERE j.view = $2 AND j.pid <> 0;
    PERFORM cache_sync._forget_view($2);
    UPDATE cache_sync.refresh_run r
    SET state = 'canceled', finished_at = clock_timestamp(), message = 'the view was unregistered'
    WHERE r.view = $2 AND r.state = 'queued';
    PERFORM cache_sync._place_view_triggers();
END
$$;

CREATE FUNCTION cache_sync._forget_view(view oid)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM cache_sync.view v WHERE v.view = $1;
    DELETE FROM cache_sync.view_state s WHERE s.view = $1;
    DELETE FROM cache_sync.rule r WHERE r.relation = $1;
$$;

CREATE FUNCTION cache_sync._refresh(caller oid, view regclass)
RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    run bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM cache_sync.view v WHERE v.view = $2) THEN
        RAISE EXCEPTION 'materialized view % is not registered', $2
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = format('Run SELECT cache_sync.register_view(%L) first.', $2::text);
    END IF;
    INSERT INTO cache_sync.refresh_run (view, reason, state, requested_by, requested_at)
    VALUES ($2, 'request', 'queued', $1, clock_timestamp())
    RETURNING id INTO run;
    PERFORM cache_sync._touch_view($2);
    RETURN run;
END
$$;

-- The publisher reads the views again, and sessions see that they changed.
CREATE TRIGGER views_written
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_sync.view
    FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.rule_changed();
ALTER TABLE cache_sync.view ENABLE ALWAYS TRIGGER views_written;
