-- The triggers on tables that registered views read. Wanted on every table that a view which is refreshed on change reads,
-- through views, with partitions and inheritance children, unless the owner of the view lacks the TRIGGER privilege:
--   statement trigger  local writes and TRUNCATE, one mark a transaction; on each partition too, because writing to it
--                      directly fires nothing on its parent. ENABLE ALWAYS.
--   row trigger        logical apply, which fires no statement triggers. ENABLE REPLICA, so that it costs local writes
--                      nothing. Not on partitioned tables: rows are in the partitions, which have their own.
-- Triggers are recognised by their function, not by name.

CREATE FUNCTION cache_sync.capture_change()
RETURNS trigger
LANGUAGE C
AS 'MODULE_PATHNAME', 'cache_sync_capture_change';

COMMENT ON FUNCTION cache_sync.capture_change() IS
'Trigger of tables that registered views read; placed by cache_sync.register_view()';

CREATE FUNCTION cache_sync._touch_view(view oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_touch_view';

-- The views that read the table are stale.
CREATE FUNCTION cache_sync._touch_watched(relation oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_touch_watched';

-- Locks the relation until the transaction ends, in a mode of PostgreSQL's by its number. False: it is gone.
CREATE FUNCTION cache_sync._lock_relation(relation oid, mode integer)
RETURNS boolean
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_lock_relation';

-- Keeps what is below the view as it is until the transaction ends: whoever redefines a view or drops a trigger waits, and
-- sees the registration then. What others are just changing is waited for.
CREATE FUNCTION cache_sync._lock_below(view oid)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    access_share CONSTANT integer := 1;
    locked oid[] := '{}';
    below oid[];
BEGIN
    LOOP
        -- Materialized views cannot be redefined, and a refresh may have one locked for long.
        below := ARRAY(SELECT DISTINCT t.relation FROM cache_sync._view_tree(view, false) t
                       WHERE t.kind IN ('v', 'r', 'p') ORDER BY 1);
        EXIT WHEN below <@ locked;
        PERFORM cache_sync._lock_relation(b.relation, access_share) FROM unnest(below) AS b (relation);
        locked := below;
    END LOOP;
END
$$;

-- May the owner of the view have triggers on the table? As for queries, the rights on a parent count for its partitions.
CREATE FUNCTION cache_sync._may_watch(view oid, root oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT has_table_privilege(v.relowner, t.oid, 'TRIGGER') OR pg_has_role(v.relowner, t.relowner, 'USAGE')
    FROM pg_class v, pg_class t
    WHERE v.oid = $1 AND t.oid = $2
$$;

-- The tables that this view wants watched.
CREATE FUNCTION cache_sync._view_tables(view oid)
RETURNS TABLE (relation oid, kind "char", root oid, allowed boolean)
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.relation, t.kind, t.root, cache_sync._may_watch($1, t.root)
    FROM cache_sync._view_tree($1, false) t
    WHERE t.kind IN ('r', 'p')
$$;

-- Tables that the view reads and that nobody watches, for want of the privilege.
CREATE FUNCTION cache_sync._view_unwatched(view oid)
RETURNS SETOF regclass
LANGUAGE sql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT u.root
    FROM (SELECT DISTINCT t.root::regclass AS root
          FROM cache_sync._view_tables($1) t
          WHERE NOT t.allowed
            AND NOT EXISTS (SELECT FROM pg_trigger g
                            WHERE g.tgrelid = t.root AND g.tgfoid = 'cache_sync.capture_change()'::regprocedure)) u
    ORDER BY u.root::text COLLATE "C"
$$;

-- What is wrong with the triggers for views: missing, surplus (no view needs it), disabled, not always (the statement
-- trigger), not for replicas (the row trigger). Where no owner of a view may have triggers, none is missing; those that
-- are there already stay, as PostgreSQL's own do when a privilege is taken away.
CREATE FUNCTION cache_sync._view_trigger_faults()
RETURNS TABLE (relation oid, fault text, trigger_name name, per_row boolean)
LANGUAGE sql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    WITH wanted AS (
        SELECT t.relation, k.per_row, bool_or(cache_sync._may_watch(t.view, t.root)) AS allowed
        FROM cache_sync._view_trees(ARRAY(SELECT v.view::oid FROM cache_sync.view v WHERE v.on_change), false) t
        CROSS JOIN (VALUES (false), (true)) AS k (per_row)
        WHERE t.kind IN ('r', 'p') AND NOT (k.per_row AND t.kind = 'p')
        GROUP BY t.relation, k.per_row
    ), present AS (
        SELECT t.tgrelid AS relation, t.tgtype & 1 = 1 AS per_row, t.tgname, t.tgenabled
        FROM pg_depend d JOIN pg_trigger t ON t.oid = d.objid
        WHERE d.refclassid = 'pg_proc'::regclass AND d.refobjid = 'cache_sync.capture_change()'::regprocedure
          AND d.classid = 'pg_trigger'::regclass AND NOT t.tgisinternal
    )
    SELECT f.*
    FROM (
        SELECT coalesce(w.relation, p.relation) AS relation,
               CASE WHEN w.relation IS NULL THEN 'surplus'
                    WHEN p.relation IS NULL THEN CASE WHEN w.allowed THEN 'missing' END
                    WHEN p.tgenabled = 'D' THEN 'disabled'
                    WHEN p.per_row THEN CASE WHEN p.tgenabled <> 'R' THEN 'not for replicas' END
                    WHEN p.tgenabled <> 'A' THEN 'not always' END AS fault,
               p.tgname,
               coalesce(w.per_row, p.per_row) AS per_row
        FROM wanted w FULL JOIN present p ON (p.relation, p.per_row) = (w.relation, w.per_row)
    ) f
    WHERE f.fault IS NOT NULL
    ORDER BY f.relation::regclass::text COLLATE "C", f.per_row
$$;

-- Makes these triggers what the registered views need. Safe to call at any time: it goes by the catalogues alone, as the
-- extension's owner. repair: those that somebody disabled fire again. missed: tables that get a trigger changed unseen.
CREATE FUNCTION cache_sync._place_view_triggers(repair boolean DEFAULT false, missed boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
-- Tells the event trigger that this ALTER TABLE is ours.
SET cache_sync_internal.busy = on
AS $$
DECLARE
    item record;
    acted boolean;
BEGIN
    PERFORM cache_sync._check_snapshot();
    LOOP
        acted := false;
        FOR item IN SELECT f.* FROM cache_sync._view_trigger_faults() f WHERE repair OR f.fault IN ('missing', 'surplus') LOOP
            acted := cache_sync._mend_view_trigger(item.relation, item.per_row, repair) OR acted;
            IF missed THEN
                PERFORM cache_sync._touch_watched(item.relation);
            END IF;
        END LOOP;
        -- While a lock was waited for, partitions may have come.
        EXIT WHEN NOT acted;
    END LOOP;
END
$$;

-- Puts one trigger right. Somebody else may be doing the same, or the opposite, and has the table locked until their
-- transaction ends: so what is wrong is looked at again under the lock. False: nothing any more.
CREATE FUNCTION cache_sync._mend_view_trigger(relation oid, per_row boolean, repair boolean)
RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong record;
    subject regclass := relation;
    -- What CREATE TRIGGER and DROP TRIGGER take, too.
    share_row_exclusive CONSTANT integer := 6;
    access_exclusive CONSTANT integer := 8;
BEGIN
    SELECT f.* INTO wrong FROM cache_sync._view_trigger_faults() f WHERE (f.relation, f.per_row) = ($1, $2);
    IF wrong IS NULL OR NOT cache_sync._lock_relation(
            relation, CASE WHEN wrong.fault = 'surplus' THEN access_exclusive ELSE share_row_exclusive END) THEN
        RETURN false;
    END IF;
    PERFORM cache_sync._check_snapshot();
    SELECT f.* INTO wrong FROM cache_sync._view_trigger_faults() f WHERE (f.relation, f.per_row) = ($1, $2);
    IF wrong.fault = 'surplus' THEN
        EXECUTE format('DROP TRIGGER %I ON %s', wrong.trigger_name, subject);
    ELSIF wrong.fault = 'missing' THEN
        PERFORM cache_sync._create_view_trigger(subject, per_row);
    ELSIF wrong.fault IS NOT NULL AND repair THEN
        EXECUTE format('ALTER TABLE ONLY %s ENABLE %s TRIGGER %I', subject,
                       CASE WHEN per_row THEN 'REPLICA' ELSE 'ALWAYS' END, wrong.trigger_name);
    ELSE
        RETURN false;
    END IF;
    RETURN true;
END
$$;

CREATE FUNCTION cache_sync._create_view_trigger(relation regclass, per_row boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF per_row THEN
        EXECUTE format('CREATE TRIGGER cache_sync_change_replica AFTER INSERT OR UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION cache_sync.capture_change()', relation);
        EXECUTE format('ALTER TABLE ONLY %s ENABLE REPLICA TRIGGER cache_sync_change_replica', relation);
    ELSE
        EXECUTE format('CREATE TRIGGER cache_sync_change AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.capture_change()', relation);
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER cache_sync_change', relation);
    END IF;
END
$$;

-- Puts right what the DDL command that just ended changed for the views. Called by the event trigger.
CREATE FUNCTION cache_sync._follow_view_ddl()
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    over regclass;
BEGIN
    -- Nobody could watch the table before the right was granted.
    PERFORM cache_sync._place_view_triggers(false, EXISTS (SELECT FROM pg_event_trigger_ddl_commands() c
                                                           WHERE c.command_tag = 'GRANT'));
    -- Registered views over those that were redefined.
    FOR over IN SELECT v.view
                FROM cache_sync.view v
                WHERE v.on_change
                  AND EXISTS (SELECT FROM cache_sync._view_tree(v.view, false) t
                              JOIN pg_event_trigger_ddl_commands() c
                                ON c.classid = 'pg_class'::regclass AND c.object_type = 'view' AND c.objid = t.relation
                                OR c.classid = 'pg_rewrite'::regclass
                               AND t.relation = (SELECT w.ev_class FROM pg_rewrite w WHERE w.oid = c.objid)
                              WHERE t.kind = 'v') LOOP
        PERFORM cache_sync._warn_unwatched(over);
        PERFORM cache_sync._touch_view(over);
    END LOOP;
    PERFORM cache_sync._wake();
END
$$;

-- Whether what is below a view, or who may watch it, can be another since the DDL command.
CREATE FUNCTION cache_sync._concerns_views()
RETURNS boolean
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM pg_event_trigger_ddl_commands() c
        WHERE c.command_tag = 'GRANT'
           OR c.classid = 'pg_rewrite'::regclass
           OR c.classid = 'pg_class'::regclass
              AND (c.object_type LIKE '%view%'
                   OR EXISTS (SELECT FROM pg_inherits i WHERE c.objid IN (i.inhrelid, i.inhparent))
                   OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.objid
                              AND t.tgfoid = 'cache_sync.capture_change()'::regprocedure)))
$$;

-- DDL of others must not fail because of a view, but its owner should hear of it.
CREATE FUNCTION cache_sync._warn_unwatched(view regclass)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    unwatched regclass;
    owner name := (SELECT pg_get_userbyid(c.relowner) FROM pg_class c WHERE c.oid = view);
BEGIN
    FOR unwatched IN SELECT u.relation FROM cache_sync._view_unwatched(view) AS u (relation) LOOP
        RAISE WARNING 'cache_sync does not see changes of table % for materialized view %', unwatched, view
            USING ERRCODE = 'insufficient_privilege',
                  DETAIL = format('The owner of the view, "%s", lacks the privilege TRIGGER on the table.', owner),
                  HINT = format('Run GRANT TRIGGER ON %s TO %I.', unwatched, owner);
    END LOOP;
END
$$;
