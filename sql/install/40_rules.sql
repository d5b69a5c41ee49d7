-- Registering tables, and placing the triggers that the rules need.
--
-- A relation is covered when it or anything it inherits from (parents of partitions included) has a rule. Wanted on
-- every covered relation:
--   row trigger       its own, unless it is a partition whose parent is covered: PostgreSQL clones the parent's to it
--   TRUNCATE trigger  always its own: TRUNCATE of a partition fires nothing on its parent
-- both ENABLE ALWAYS, so that they fire for logical replication and session_replication_role = replica as well.
-- Triggers are recognised by their function, not by name.

-- Does this relation, or one that it inherits from, have a rule?
CREATE FUNCTION cache_sync._is_covered(relation oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE up (relation) AS (
        SELECT $1
        UNION
        SELECT i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.relation
    )
    SELECT EXISTS (SELECT FROM up JOIN cache_sync.rule r ON r.relation = up.relation)
$$;

-- The relation and what inherits from it, to any depth, parents first.
-- cloned: it is a partition of a covered relation.
CREATE FUNCTION cache_sync._tree(relation oid)
RETURNS TABLE (member oid, covered boolean, cloned boolean)
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE tree (member, covered, under_covered, depth) AS (
        SELECT $1,
               cache_sync._is_covered($1),
               EXISTS (SELECT FROM pg_inherits i WHERE i.inhrelid = $1 AND cache_sync._is_covered(i.inhparent)),
               0
        UNION ALL
        SELECT i.inhrelid, t.covered OR cache_sync._is_covered(i.inhrelid), t.covered, t.depth + 1
        FROM tree t JOIN pg_inherits i ON i.inhparent = t.member
    )
    SELECT t.member, bool_or(t.covered), bool_or(t.under_covered AND c.relispartition)
    FROM tree t JOIN pg_class c ON c.oid = t.member
    GROUP BY t.member
    ORDER BY max(t.depth), t.member
$$;

-- What is wrong with the triggers of the relation and of what inherits from it:
--   missing, surplus (no rule needs it), disabled, not always (does not fire for replicated changes).
CREATE FUNCTION cache_sync._trigger_faults(relation oid)
RETURNS TABLE (member oid, fault text, trigger_name name, truncates boolean, cloned boolean)
LANGUAGE sql STABLE ROWS 1 SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.member,
           CASE WHEN t.tgname IS NULL THEN 'missing'
                WHEN NOT m.covered OR (t.tgparentid = 0 AND m.cloned AND NOT w.truncates) THEN 'surplus'
                WHEN t.tgenabled = 'D' THEN 'disabled'
                ELSE 'not always' END,
           t.tgname,
           w.truncates,
           m.cloned AND NOT w.truncates
    FROM cache_sync._tree($1) WITH ORDINALITY AS m (member, covered, cloned, position)
    CROSS JOIN (VALUES ('cache_sync.capture()'::regprocedure, false),
                       ('cache_sync.capture_truncate()', true)) AS w (function, truncates)
    LEFT JOIN pg_trigger t ON t.tgrelid = m.member AND t.tgfoid = w.function AND NOT t.tgisinternal
    -- Rules of materialized views are for what refreshing changes.
    WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.member AND c.relkind = 'm')
      AND CASE WHEN t.tgname IS NULL THEN m.covered
               WHEN m.covered AND (t.tgparentid <> 0 OR w.truncates OR NOT m.cloned) THEN t.tgenabled <> 'A'
               ELSE t.tgparentid = 0 END
    ORDER BY m.position, w.truncates
$$;

-- Makes the triggers of the relation, and of what inherits from it, what the rules need. Safe to call at any time: it
-- goes by the rules alone, with the caller's own rights on the tables. repair: those that somebody disabled fire again.
CREATE FUNCTION cache_sync._place_triggers(relation regclass, repair boolean DEFAULT false)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
-- Tells the event trigger that this ALTER TABLE is ours.
SET cache_sync_internal.busy = on
AS $$
DECLARE
    item record;
BEGIN
    PERFORM cache_sync._check_snapshot();
    -- First what is surplus: a partition's own row trigger is in the way of the one cloned from its parent.
    FOR item IN SELECT f.member::regclass AS member, f.trigger_name
                FROM cache_sync._trigger_faults(relation) f WHERE f.fault = 'surplus' LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', item.trigger_name, item.member);
    END LOOP;
    FOR item IN SELECT f.member::regclass AS member, f.truncates
                FROM cache_sync._trigger_faults(relation) f WHERE f.fault = 'missing' AND NOT f.cloned LOOP
        PERFORM cache_sync._create_trigger(item.member, item.truncates);
    END LOOP;
    IF NOT repair THEN
        RETURN;
    END IF;
    FOR item IN SELECT f.member::regclass AS member, f.trigger_name
                FROM cache_sync._trigger_faults(relation) f WHERE f.fault IN ('disabled', 'not always') LOOP
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER %I', item.member, item.trigger_name);
    END LOOP;
END
$$;

CREATE FUNCTION cache_sync._create_trigger(relation regclass, truncates boolean)
RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    -- The one that partitions inherit has a name of its own: else a registered table could not be attached as a
    -- partition, because it has a trigger of that name.
    capture name := CASE WHEN EXISTS (SELECT FROM pg_class c WHERE c.oid = relation AND c.relkind = 'p')
                         THEN 'cache_sync_capture_partitions' ELSE 'cache_sync_capture' END;
BEGIN
    IF truncates THEN
        EXECUTE format('CREATE TRIGGER cache_sync_truncate AFTER TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.capture_truncate()', relation);
        EXECUTE format('ALTER TABLE ONLY %s ENABLE ALWAYS TRIGGER cache_sync_truncate', relation);
    ELSE
        EXECUTE format('CREATE TRIGGER %I AFTER INSERT OR UPDATE OR DELETE ON %s '
                       'FOR EACH ROW EXECUTE FUNCTION cache_sync.capture()', capture, relation);
        -- Without ONLY: the clones on partitions follow.
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', relation, capture);
    END IF;
END
$$;

-- Not with a pinned search_path: the condition is read with the caller's. So every name here is written in full, and
-- every argument has the very type of the parameter, which leaves nothing to look up.
CREATE FUNCTION cache_sync.register_table(
    relation regclass, key text DEFAULT NULL, tags text[] DEFAULT '{}', columns name[] DEFAULT NULL,
    condition text DEFAULT NULL)
RETURNS bigint
LANGUAGE plpgsql
AS $$
DECLARE
    rule bigint;
BEGIN
    rule := cache_sync._store_rule(relation, key, tags, columns,
                                   cache_sync._check_rule(relation, key, tags, columns, condition));
    PERFORM cache_sync._place_triggers(relation, true);
    RETURN rule;
END
$$;

COMMENT ON FUNCTION cache_sync.register_table(regclass, text, text[], name[], text) IS
'Makes changes of the table''s rows invalidate cache keys and tags; returns the rule''s id. relation: a table you own; its '
'partitions and inheritance children are included. key, tags: templates such as ''product:{product_id}'' ({column} is '
'percent-encoded, {column|raw} is not, {{ and }} are braces). columns: an UPDATE counts only if one of these, or of the templates'' columns, changed. '
'condition: SQL predicate over the row; a change counts if the old or the new row satisfies it, and always if only one does. Registering the same '
'relation and key again updates the rule. Errors: insufficient_privilege, undefined_column, wrong_object_type, '
'invalid_parameter_value (bad template, with its offset), and those of parsing the condition.';

CREATE FUNCTION cache_sync.unregister_table(relation regclass, key text DEFAULT NULL)
RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    removed integer;
BEGIN
    removed := cache_sync._delete_rules(relation, key);
    PERFORM cache_sync._place_triggers(relation);
    RETURN removed;
END
$$;

COMMENT ON FUNCTION cache_sync.unregister_table(regclass, text) IS
'Removes the rule of the table with this key template, or all rules of the table if key is NULL, and the triggers that '
'no rule needs any more. Returns how many rules were removed. Cache entries are left as they are. '
'Errors: insufficient_privilege unless you own the table.';

-- Keeps rule_column in step with the rules, and has the publisher read them.
CREATE FUNCTION cache_sync._rules_written()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cache_sync._remember_columns();
    PERFORM cache_sync._wake();
    RETURN NULL;
END
$$;

CREATE FUNCTION cache_sync._remember_columns()
RETURNS void
LANGUAGE sql
SET search_path = pg_catalog, pg_temp
AS $$
    DELETE FROM cache_sync.rule_column c
    WHERE NOT EXISTS (SELECT FROM cache_sync.rule r
                      JOIN pg_attribute a ON a.attrelid = r.relation AND a.attnum = c.attnum AND NOT a.attisdropped
                      WHERE r.relation = c.relation);
    INSERT INTO cache_sync.rule_column AS c (relation, attnum, name)
    SELECT a.attrelid, a.attnum, a.attname
    FROM pg_attribute a
    WHERE a.attrelid IN (SELECT r.relation FROM cache_sync.rule r) AND a.attnum > 0 AND NOT a.attisdropped
    ON CONFLICT DO NOTHING;
$$;

CREATE TRIGGER rules_written
    AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON cache_sync.rule
    FOR EACH STATEMENT EXECUTE FUNCTION cache_sync._rules_written();
ALTER TABLE cache_sync.rule ENABLE ALWAYS TRIGGER rules_written;

-- A dump that is being restored: pg_dump's scripts set exactly these two, nobody else sets both. The caller's search_path is
-- what is looked at, so it is not pinned, and names and operators are written in full.
CREATE FUNCTION cache_sync._is_restoring()
RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT pg_catalog.current_setting('check_function_bodies') OPERATOR(pg_catalog.=) 'off'
           AND pg_catalog.current_setting('search_path') OPERATOR(pg_catalog.=) ''
$$;

-- The publisher may have met its targets before their rules were restored, and not have known which keys to flush.
CREATE FUNCTION cache_sync._rules_restored()
RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM cache_sync._queue_flush(NULL);
    RETURN NULL;
END
$$;

CREATE TRIGGER rules_restored
    AFTER INSERT ON cache_sync.rule
    FOR EACH STATEMENT WHEN (cache_sync._is_restoring()) EXECUTE FUNCTION cache_sync._rules_restored();
ALTER TABLE cache_sync.rule ENABLE ALWAYS TRIGGER rules_restored;
