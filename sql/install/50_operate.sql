-- What an operator calls. Nothing here is for PUBLIC, except explain().

CREATE FUNCTION cache_sync._require_target(target name)
RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known text;
BEGIN
    IF target IS NULL OR EXISTS (SELECT FROM cache_sync._target t WHERE t.name = target) THEN
        RETURN;
    END IF;
    SELECT string_agg(format('"%s"', t.name), ', ' ORDER BY t.name) INTO known FROM cache_sync._target t;
    RAISE EXCEPTION 'target "%" does not exist', target
        USING ERRCODE = 'undefined_object',
              HINT = coalesce(format('The targets are %s.', known),
                              'There is no target yet: CREATE SERVER ... FOREIGN DATA WRAPPER cache_sync.');
END
$$;

-- These run as the extension's owner, so that an operator needs EXECUTE on them and nothing else.
CREATE FUNCTION cache_sync.flush(target name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cache_sync._require_target(target);
    PERFORM cache_sync._queue_flush(target);
END
$$;

COMMENT ON FUNCTION cache_sync.flush(name) IS
'Queues, with the calling transaction, that everything of this database in the target becomes invalid; NULL: in every target. '
'Errors: undefined_object for an unknown target.';

CREATE FUNCTION cache_sync.pause(target name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    PERFORM cache_sync._require_target(target);
    FOR item IN SELECT t.name, s.srvoptions
                FROM cache_sync._target t JOIN pg_foreign_server s ON s.oid = t.server
                WHERE NOT t.paused AND (target IS NULL OR t.name = target) ORDER BY t.name LOOP
        EXECUTE format('ALTER SERVER %I OPTIONS (%s paused ''true'')', item.name,
                       CASE WHEN EXISTS (SELECT FROM pg_options_to_table(item.srvoptions) o WHERE o.option_name = 'paused')
                            THEN 'SET' ELSE 'ADD' END);
    END LOOP;
    PERFORM cache_sync._wake();
END
$$;

COMMENT ON FUNCTION cache_sync.pause(name) IS
'Disconnects the target, or every target if NULL, once the calling transaction commits. What commits meanwhile stays queued, '
'up to cache_sync.queue_limit. Errors: undefined_object for an unknown target.';

CREATE FUNCTION cache_sync.resume(target name DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    PERFORM cache_sync._require_target(target);
    FOR item IN SELECT t.name FROM cache_sync._target t
                WHERE t.paused AND (target IS NULL OR t.name = target) ORDER BY t.name LOOP
        EXECUTE format('ALTER SERVER %I OPTIONS (DROP paused)', item.name);
    END LOOP;
    PERFORM cache_sync._wake();
END
$$;

COMMENT ON FUNCTION cache_sync.resume(name) IS
'Ends pause() for the target, or for every target if NULL, once the calling transaction commits: it catches up with what '
'was queued. Errors: undefined_object for an unknown target.';

CREATE FUNCTION cache_sync.explain(relation regclass, row_data jsonb)
RETURNS TABLE (rule bigint, kind text, name text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unknown text;
BEGIN
    IF relation IS NULL OR jsonb_typeof(row_data) IS DISTINCT FROM 'object' THEN
        RAISE EXCEPTION 'explain needs a table and a JSON object with the values of a row'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'For example: SELECT * FROM cache_sync.explain(''product'', ''{"product_id": 1}'').';
    END IF;
    SELECT f.key INTO unknown
    FROM jsonb_object_keys(row_data) AS f (key)
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = f.key
                      AND a.attnum > 0 AND NOT a.attisdropped)
    ORDER BY f.key LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'column "%" of table % does not exist', unknown, relation
            USING ERRCODE = 'undefined_column',
                  HINT = 'The fields of the JSON object are the columns of the table.';
    END IF;
    RETURN QUERY EXECUTE
        format('SELECT e.rule, e.kind, e.name FROM cache_sync._explain_row($1, jsonb_populate_record(NULL::%s, $2)) e '
               'ORDER BY 1, 2, 3', relation)
        USING relation, row_data;
END
$$;

COMMENT ON FUNCTION cache_sync.explain(regclass, jsonb) IS
'Which keys and tags would a row touch, and by which rule? row_data: the row as a JSON object of columns; those left out are '
'NULL. kind: key or tag. Errors: undefined_column for a field that is no column, insufficient_privilege unless you may '
'SELECT from the table.';
