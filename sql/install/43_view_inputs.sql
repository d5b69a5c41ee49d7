-- What a materialized view reads, from the queries in the catalogue.

CREATE FUNCTION cache_sync._query_reads(query pg_node_tree, OUT kind "char", OUT object oid, OUT name text)
RETURNS SETOF record
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_query_reads';

-- What the view itself names. r: relation, f: function that is not immutable, v: the name of something else that changes.
-- Takes no lock on the view: a refresh may hold one for long.
CREATE FUNCTION cache_sync._view_reads(view oid)
RETURNS TABLE (kind "char", object oid, name text)
LANGUAGE sql STABLE ROWS 5
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT q.kind, q.object, q.name
    FROM pg_rewrite w, cache_sync._query_reads(w.ev_action) q
    WHERE w.ev_class = $1 AND w.ev_type = '1'
$$;

-- Every relation below each of the views: through views to any depth, with partitions and inheritance children; through
-- materialized views as well if deep. kind: relkind, or 's' for what is PostgreSQL's or cache_sync's own.
-- root: the one that a query names, where relation is a partition or child.
-- One query for all views, without functions in SQL: with hundreds of views, those would take most of a second.
CREATE FUNCTION cache_sync._view_trees(views oid[], deep boolean)
RETURNS TABLE (view oid, relation oid, kind "char", root oid)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, pg_temp
AS $$
    WITH RECURSIVE tree (view, relation, kind, root) AS (
        SELECT v.view, v.view, 'v'::"char", v.view FROM unnest($1) AS v (view)
        UNION
        SELECT t.view,
               n.relation,
               -- Below 16384 is what initdb made. Nothing tells about changes in either.
               CASE WHEN n.relation < 16384 OR c.relnamespace = 'cache_sync'::regnamespace THEN 's'::"char"
                    ELSE c.relkind END,
               coalesce(n.root, n.relation)
        FROM tree t
        CROSS JOIN LATERAL (
            SELECT q.object, NULL::oid
            FROM pg_rewrite w CROSS JOIN LATERAL cache_sync._query_reads(w.ev_action) q
            WHERE w.ev_class = t.relation AND w.ev_type = '1' AND q.kind = 'r' AND (t.kind = 'v' OR t.kind = 'm' AND deep)
            UNION ALL
            SELECT i.inhrelid, t.root
            FROM pg_inherits i
            WHERE i.inhparent = t.relation AND t.kind IN ('r', 'p', 'f')
        ) AS n (relation, root)
        JOIN pg_class c ON c.oid = n.relation
    )
    SELECT t.view, t.relation, t.kind, t.root FROM tree t WHERE t.relation <> t.view
$$;

CREATE FUNCTION cache_sync._view_tree(view oid, deep boolean)
RETURNS TABLE (relation oid, kind "char", root oid)
LANGUAGE sql STABLE ROWS 20
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.relation, t.kind, t.root FROM cache_sync._view_trees(ARRAY[$1], deep) t
$$;

-- The relations whose changes make the view stale. It ends at materialized views: what is below one matters once that
-- one is refreshed.
CREATE FUNCTION cache_sync._view_inputs(view oid)
RETURNS TABLE (input oid, kind "char")
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT DISTINCT t.relation, t.kind
    FROM cache_sync._view_tree($1, false) t
    WHERE t.kind IN ('r', 'p', 'm')
$$;

-- The tables at the bottom of everything, as queries name them.
CREATE FUNCTION cache_sync._view_base_tables(view oid)
RETURNS regclass[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT t.relation::regclass), '{}')
    FROM cache_sync._view_tree($1, true) t
    WHERE t.kind IN ('r', 'p', 'f') AND t.relation = t.root
$$;

-- The registered views below the view, at any depth. Sees all of them, whoever asks.
CREATE FUNCTION cache_sync._view_depends_on(view oid)
RETURNS regclass[]
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT t.relation::regclass), '{}')
    FROM cache_sync._view_tree($1, true) t JOIN cache_sync.view v ON v.view = t.relation
$$;

-- Can a function that is not immutable answer otherwise though no table changed? PostgreSQL's own stable ones mostly
-- depend on settings alone, such as to_char(); those that depend on time, session or catalogues are named here.
-- A stable one of somebody else may read tables.
CREATE FUNCTION cache_sync._is_changeable(function oid)
RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.provolatile = 'v'
           OR p.oid >= 16384
           OR p.proname ~ ('^(now|(transaction|statement)_timestamp|current_.*|inet_(client|server)_.*|version|pg_.*|has_.*'
                           '|txid_.*|to_reg.*|reg.*(in|out)|(obj|col|shobj)_description|row_security_active'
                           '|(table|query|cursor|schema|database)_to_xml.*|age|session_user|getpgusername'
                           '|timeofday|text_regclass)$')
    FROM pg_proc p
    WHERE p.oid = function
$$;

-- What refreshing on change cannot see, in words. Sees all registered views, whoever asks.
CREATE FUNCTION cache_sync._view_unseen(view oid)
RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER ROWS 2
SET search_path = pg_catalog, pg_temp
AS $$
    WITH tree AS MATERIALIZED (
        SELECT t.relation, t.kind FROM cache_sync._view_tree($1, false) t
    ), unseen (words) AS (
        SELECT CASE t.kind WHEN 'f' THEN 'foreign table '
                           WHEN 'S' THEN 'sequence '
                           WHEN 'm' THEN 'what is below materialized view '
                           WHEN 's' THEN CASE WHEN t.relation < 16384 THEN 'system catalogue '
                                              ELSE 'cache_sync''s own ' END END
               || t.relation::regclass
               || CASE WHEN t.kind = 'm' THEN ', which is not registered' ELSE '' END
        FROM tree t
        WHERE t.kind IN ('f', 'S', 's')
           OR t.kind = 'm' AND NOT EXISTS (SELECT FROM cache_sync.view v WHERE v.view = t.relation)
        UNION
        SELECT CASE WHEN r.kind = 'v' THEN r.name
                    WHEN p.provolatile = 'v' THEN 'volatile function ' || p.oid::regprocedure
                    ELSE 'stable function ' || p.oid::regprocedure END
        FROM (SELECT $1 UNION ALL SELECT t.relation FROM tree t WHERE t.kind = 'v') AS v (view)
        CROSS JOIN LATERAL cache_sync._view_reads(v.view) r
        LEFT JOIN pg_proc p ON r.kind = 'f' AND p.oid = r.object
        WHERE r.kind = 'v' OR r.kind = 'f' AND cache_sync._is_changeable(r.object)
    )
    SELECT u.words FROM unseen u ORDER BY u.words COLLATE "C"
$$;

-- Whether the next refresh is CONCURRENTLY, and why. wanted: as registered; NULL: if the view allows it.
CREATE FUNCTION cache_sync._view_method(view oid, wanted boolean)
RETURNS TABLE ("concurrently" boolean, reason text)
LANGUAGE sql STABLE ROWS 1
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.relispopulated AND coalesce(wanted, i.name IS NOT NULL AND t.allowed),
           CASE WHEN NOT wanted THEN 'registered with concurrently => false'
                -- With concurrently => true it fails rather than take the stronger lock.
                WHEN i.name IS NULL THEN 'no unique index on plain columns without a condition'
                WHEN NOT c.relispopulated THEN 'not populated yet'
                WHEN wanted IS NULL AND NOT t.allowed
                THEN 'its owner may not create temporary tables in this database'
                ELSE 'unique index ' || i.name END
    FROM pg_class c
    CROSS JOIN LATERAL (SELECT has_database_privilege(c.relowner, current_database(), 'TEMPORARY') AS allowed) t
    LEFT JOIN LATERAL (
        -- The same that REFRESH ... CONCURRENTLY asks for.
        SELECT quote_ident(k.relname) AS name
        FROM pg_index x JOIN pg_class k ON k.oid = x.indexrelid JOIN pg_am m ON m.oid = k.relam
        WHERE x.indrelid = c.oid AND x.indisunique AND x.indimmediate AND x.indisvalid AND x.indpred IS NULL
          AND x.indnatts > 0 AND m.amname = 'btree' AND 0 < ALL (x.indkey::smallint[])
        ORDER BY x.indisprimary DESC, k.relname
        LIMIT 1
    ) i ON true
    WHERE c.oid = $1
$$;
