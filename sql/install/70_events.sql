-- Rules follow the tables: new partitions, renamed columns, dropped tables. See 40_rules.sql for what is placed.
-- Registered views follow what is below them: redefined views, new partitions. See 44_view_triggers.sql.
-- And DDL that changes rows unseen by row triggers invalidates everything that the rules may have named, as TRUNCATE does:
-- partitions and children that come or go, dropped tables, rewritten tables, other types, renamed values of an enum.
--
-- These run for everybody's DDL, so they leave at once where no rule is concerned, and fail it only where a rule could not
-- follow: a column that it needs is dropped, or gets a name that a template cannot hold.

-- A dump that is being restored brings its own triggers and must not find ours in place already.
CREATE FUNCTION cache_sync._ddl()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF pg_catalog.current_setting('cache_sync_internal.busy', true) OPERATOR(pg_catalog.=) 'on' THEN
        RETURN;
    END IF;
    -- No pinned search_path here, because the caller's is looked at.
    PERFORM cache_sync._follow_ddl(cache_sync._is_restoring());
END
$$;

-- Puts right what the DDL command that just ended changed for the rules.
CREATE FUNCTION cache_sync._follow_ddl(is_restoring boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    changed oid;
    tag text;
BEGIN
    PERFORM cache_sync._check_snapshot();
    IF NOT EXISTS (SELECT FROM cache_sync.rule) AND NOT EXISTS (SELECT FROM cache_sync.view) THEN
        RETURN;
    END IF;
    PERFORM cache_sync._touch_altered(c.command, is_restoring)
    FROM pg_event_trigger_ddl_commands() c WHERE c.classid = 'pg_class'::regclass;
    PERFORM cache_sync._touch_users_of(c.objid)
    FROM pg_event_trigger_ddl_commands() c
    WHERE c.classid = 'pg_type'::regclass AND cache_sync._renames_enum_value(c.command);
    PERFORM cache_sync._enable_again(c.objid)
    FROM pg_event_trigger_ddl_commands() c
    WHERE c.classid = 'pg_class'::regclass AND c.object_type = 'table' AND cache_sync._enables_triggers(c.command);
    IF is_restoring THEN
        RETURN;
    END IF;
    IF EXISTS (SELECT FROM cache_sync.view) AND cache_sync._concerns_views() THEN
        PERFORM cache_sync._follow_view_ddl();
    END IF;
    -- ALTER TYPE ... CASCADE goes on to tables OF the type.
    FOR changed IN SELECT t.oid
                   FROM pg_event_trigger_ddl_commands() c
                   JOIN pg_class k ON k.oid = c.objid AND k.relkind = 'c'
                   JOIN pg_class t ON t.reloftype = k.reltype
                   WHERE c.classid = 'pg_class'::regclass LOOP
        PERFORM cache_sync._follow_renames(changed);
        PERFORM cache_sync._touch_everything(changed);
    END LOOP;
    FOR changed, tag IN SELECT DISTINCT c.objid, c.command_tag FROM pg_event_trigger_ddl_commands() c
                   WHERE c.classid = 'pg_class'::regclass
                     AND (c.object_type LIKE '%table%' OR c.object_type LIKE 'materialized view%')
                     AND (EXISTS (SELECT FROM pg_inherits i WHERE c.objid IN (i.inhrelid, i.inhparent))
                          OR EXISTS (SELECT FROM cache_sync.rule r WHERE r.relation = c.objid)
                          OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.objid
                                     AND t.tgfoid = 'cache_sync.capture_truncate()'::regprocedure)) LOOP
        IF tag LIKE 'ALTER%' THEN
            PERFORM cache_sync._follow_renames(changed);
        END IF;
        PERFORM cache_sync._place_triggers(changed);
        IF tag LIKE 'ALTER%' AND cache_sync._is_covered(changed) THEN
            PERFORM cache_sync._follow_detached();
        END IF;
    END LOOP;
END
$$;

-- ENABLE TRIGGER ALL, which restoring only the data of a dump ends with, makes triggers fire for local changes only.
CREATE FUNCTION cache_sync._enable_again(changed oid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF changed = 'cache_sync.rule'::regclass THEN
        ALTER TABLE cache_sync.rule ENABLE ALWAYS TRIGGER rule_changed, ENABLE ALWAYS TRIGGER rules_written,
                                     ENABLE ALWAYS TRIGGER rules_restored;
        PERFORM cache_sync._remember_columns();
        PERFORM cache_sync._wake();
        PERFORM cache_sync._queue_flush(NULL);
    ELSIF changed = 'cache_sync.view'::regclass THEN
        ALTER TABLE cache_sync.view ENABLE ALWAYS TRIGGER views_written;
        PERFORM cache_sync._wake();
    ELSIF cache_sync._is_covered(changed) THEN
        PERFORM cache_sync._place_triggers(changed, true);
    END IF;
    IF EXISTS (SELECT FROM pg_trigger t
               WHERE t.tgrelid = changed AND t.tgfoid = 'cache_sync.capture_change()'::regprocedure) THEN
        PERFORM cache_sync._place_view_triggers(true, true);
    END IF;
END
$$;

-- The rows that hold a value of this type, in whatever way, read otherwise now.
CREATE FUNCTION cache_sync._touch_users_of(changed oid)
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE holder (type) AS (
        SELECT changed
        UNION
        SELECT t.oid
        FROM holder h
        JOIN pg_type t ON h.type IN (t.typbasetype, t.typelem)
                       OR EXISTS (SELECT FROM pg_range r
                                  WHERE r.rngsubtype = h.type AND t.oid IN (r.rngtypid, r.rngmultitypid))
                       OR EXISTS (SELECT FROM pg_attribute a
                                  WHERE a.attrelid = t.typrelid AND t.typtype = 'c' AND a.atttypid = h.type)
    )
    SELECT cache_sync._touch_everything(c.oid)
    FROM pg_class c
    WHERE c.relkind IN ('r', 'p', 'm')
      AND EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND a.atttypid IN (SELECT h.type FROM holder h))
$$;

-- Before the table is written again: with other values, or with values of another type. Not where only its access
-- method or its logging changes.
CREATE FUNCTION cache_sync._rewrite()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF pg_event_trigger_table_rewrite_reason() & (2 | 4) <> 0 AND EXISTS (SELECT FROM cache_sync.rule) THEN
        PERFORM cache_sync._touch_everything(pg_event_trigger_table_rewrite_oid());
    END IF;
END
$$;

-- DETACH PARTITION tells the parent only. So look for those that stand alone now: with a rule of their own and without
-- the row trigger, which was their parent's; or with our TRUNCATE trigger and without a rule.
CREATE FUNCTION cache_sync._follow_detached()
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT cache_sync._place_triggers(d.relation)
    FROM (
        SELECT r.relation
        FROM cache_sync.rule r JOIN pg_class c ON c.oid = r.relation
        WHERE NOT c.relispartition
          AND NOT EXISTS (SELECT FROM pg_trigger t
                          WHERE t.tgrelid = c.oid AND t.tgfoid = 'cache_sync.capture()'::regprocedure)
        UNION
        SELECT t.tgrelid
        FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid
        WHERE d.refclassid = 'pg_proc'::regclass
          AND d.refobjid = 'cache_sync.capture_truncate()'::regprocedure
          AND d.classid = 'pg_trigger'::regclass
          AND NOT EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = t.tgrelid)
          AND NOT EXISTS (SELECT FROM cache_sync.rule r WHERE r.relation = t.tgrelid)
    ) d
$$;

-- Rewrites rules of the relation, and of what inherits from it, whose columns have other names than last time.
CREATE FUNCTION cache_sync._follow_renames(changed oid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
    stale boolean := false;
BEGIN
    FOR item IN SELECT r.id, c.name AS old, a.attname AS new
                FROM cache_sync._tree(changed) m
                JOIN cache_sync.rule r ON r.relation = m.member
                JOIN cache_sync.rule_column c ON c.relation = r.relation
                JOIN pg_attribute a ON a.attrelid = c.relation AND a.attnum = c.attnum
                WHERE a.attname <> c.name AND NOT a.attisdropped LOOP
        PERFORM cache_sync._rename_column(item.id, item.old, item.new);
        stale := true;
    END LOOP;
    IF stale THEN
        UPDATE cache_sync.rule_column c SET name = a.attname
        FROM pg_attribute a
        WHERE a.attrelid = c.relation AND a.attnum = c.attnum AND a.attname <> c.name AND NOT a.attisdropped
          AND c.relation IN (SELECT m.member FROM cache_sync._tree(changed) m);
    ELSIF EXISTS (SELECT FROM cache_sync.rule r WHERE r.relation = changed) THEN
        -- A column may be new or gone.
        PERFORM cache_sync._remember_columns();
    END IF;
END
$$;

-- The detail of an error about a column that a rule names.
CREATE FUNCTION cache_sync._names_column(key text)
RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT CASE WHEN key IS NULL THEN 'The rule without a key names it.'
                ELSE format('The rule with key "%s" names it.', key) END
$$;

CREATE FUNCTION cache_sync._rename_column(rule bigint, old name, new name)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item cache_sync.rule;
BEGIN
    SELECT r.* INTO STRICT item FROM cache_sync.rule r WHERE r.id = rule;
    IF NOT old = ANY (cache_sync._rule_columns(item.relation, item.key, item.tags, item.columns, item.condition)) THEN
        RETURN;
    END IF;
    -- Columns and conditions can hold any name, templates cannot.
    IF new ~ '[{}|]' AND old = ANY (cache_sync._rule_columns(item.relation, item.key, item.tags, NULL, NULL)) THEN
        RAISE EXCEPTION 'cannot rename column "%" of % % to "%" because cache_sync could not name it in a template',
                        old, CASE (SELECT c.relkind FROM pg_class c WHERE c.oid = item.relation)
                             WHEN 'm' THEN 'materialized view' ELSE 'table' END, item.relation, new
            USING ERRCODE = 'invalid_name',
                  DETAIL = cache_sync._names_column(item.key),
                  HINT = 'Choose a name without {, } and |, or unregister it first.';
    END IF;
    UPDATE cache_sync.rule r
    SET key = cache_sync._rename_in_template(item.key, old, new),
        tags = coalesce((SELECT array_agg(cache_sync._rename_in_template(t.template, old, new) ORDER BY t.n)
                         FROM unnest(item.tags) WITH ORDINALITY AS t (template, n)), '{}'),
        columns = array_replace(item.columns, old, new),
        condition = cache_sync._rename_in_condition(item.condition, old, new)
    WHERE r.id = rule;
END
$$;

-- Dropped tables take their rules along; a column that a rule needs cannot be dropped.
CREATE FUNCTION cache_sync._drop()
RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    item record;
BEGIN
    PERFORM cache_sync._check_snapshot();
    FOR item IN SELECT r.id, r.relation, r.key, o.address_names[3] AS column
                FROM pg_event_trigger_dropped_objects() o
                JOIN cache_sync.rule r ON r.relation = o.objid
                WHERE o.classid = 'pg_class'::regclass AND o.objsubid > 0
                  AND o.address_names[3] = ANY (cache_sync._rule_columns(r.relation, r.key, r.tags, r.columns,
                                                                         r.condition)::text[])
                  AND NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() t
                                  WHERE t.classid = o.classid AND t.objid = o.objid AND t.objsubid = 0)
                ORDER BY r.id LOOP
        RAISE EXCEPTION 'cannot drop column "%" of table % because cache_sync needs it', item.column, item.relation
            USING ERRCODE = 'dependent_objects_still_exist',
                  DETAIL = cache_sync._names_column(item.key),
                  HINT = format('Run SELECT cache_sync.unregister_table(%L%s) first.', item.relation,
                                ', ' || quote_literal(item.key));
    END LOOP;
    IF NOT EXISTS (SELECT FROM cache_sync.rule) AND NOT EXISTS (SELECT FROM cache_sync.view) THEN
        RETURN;
    END IF;
    -- As long as the rules of what is dropped are there.
    PERFORM cache_sync._touch_dropped(o.objid)
    FROM pg_event_trigger_dropped_objects() o
    WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND o.object_type IN ('table', 'foreign table', 'materialized view')
      AND NOT o.is_temporary;
    IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o JOIN cache_sync.rule r ON r.relation = o.objid
               WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0) THEN
        DELETE FROM cache_sync.rule r USING pg_event_trigger_dropped_objects() o
        WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0 AND r.relation = o.objid;
    END IF;
    PERFORM cache_sync._follow_dropped_views();
END
$$;

-- Dropped views take registration and history along, and the triggers that nobody needs any more.
CREATE FUNCTION cache_sync._follow_dropped_views()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    dropped oid[] := ARRAY(SELECT o.objid FROM pg_event_trigger_dropped_objects() o
                           JOIN cache_sync.view v ON v.view = o.objid
                           WHERE o.classid = 'pg_class'::regclass AND o.objsubid = 0);
BEGIN
    DELETE FROM cache_sync.refresh_run r
    USING pg_event_trigger_dropped_objects() o
    WHERE o.object_type = 'materialized view' AND r.view = o.objid;
    IF cardinality(dropped) > 0 THEN
        PERFORM cache_sync._forget_view(d.view) FROM unnest(dropped) AS d (view);
        PERFORM cache_sync._place_view_triggers();
    END IF;
END
$$;

CREATE EVENT TRIGGER cache_sync_alter ON ddl_command_start WHEN TAG IN ('ALTER TABLE')
    EXECUTE FUNCTION cache_sync._before_alter();
-- CREATE SCHEMA can hold CREATE TABLE commands, which fire nothing of their own. CREATE RULE can replace the query of a
-- view, GRANT can give the right to watch a table.
CREATE EVENT TRIGGER cache_sync_ddl ON ddl_command_end
    WHEN TAG IN ('CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'ALTER TABLE', 'ALTER FOREIGN TABLE', 'ALTER TYPE',
                 'CREATE VIEW', 'ALTER VIEW', 'ALTER MATERIALIZED VIEW', 'CREATE RULE', 'GRANT')
    EXECUTE FUNCTION cache_sync._ddl();
CREATE EVENT TRIGGER cache_sync_rewrite ON table_rewrite EXECUTE FUNCTION cache_sync._rewrite();
CREATE EVENT TRIGGER cache_sync_drop ON sql_drop EXECUTE FUNCTION cache_sync._drop();

-- For sessions with session_replication_role = replica as well.
ALTER EVENT TRIGGER cache_sync_alter ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_sync_ddl ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_sync_rewrite ENABLE ALWAYS;
ALTER EVENT TRIGGER cache_sync_drop ENABLE ALWAYS;

COMMENT ON EVENT TRIGGER cache_sync_alter IS 'Queues what DETACH PARTITION CONCURRENTLY will make invalid, before it commits';
COMMENT ON EVENT TRIGGER cache_sync_rewrite IS 'Rows that ALTER TABLE writes again are invalid in caches';
COMMENT ON EVENT TRIGGER cache_sync_ddl IS 'Rules and views of cache_sync follow DDL; new partitions get triggers';
COMMENT ON EVENT TRIGGER cache_sync_drop IS 'Rules and views of cache_sync go with what is dropped; columns that rules need stay';
