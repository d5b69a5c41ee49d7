-- Reading templates and conditions as text: which columns they name, and the same with a column renamed.
-- Rendering and evaluating them is the library's; here it is about following ALTER TABLE.

-- The pieces of a template, in order; name is the column of a piece that is one.
CREATE FUNCTION cache_sync._template_pieces(template text)
RETURNS TABLE (piece text, name text)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m[1], substring(m[1] FROM '^\{([^{}|]+)(?:\|[^{}]*)?\}$')
    FROM regexp_matches($1, '\{\{|\}\}|\{[^{}]+\}|[^{}]+|.', 'g') AS m
$$;

-- The words of a condition as PostgreSQL prints it, blanks included; is_name: can be a column of the row.
-- Types of several words and EXTRACT's field are one piece, since their words would look like columns.
CREATE FUNCTION cache_sync._condition_pieces(condition text)
RETURNS TABLE (piece text, is_name boolean)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    WITH piece AS (
        SELECT p.m[1] AS text, p.n
        FROM regexp_matches($1,
            $re$E'(?:[^'\\]|''|\\.)*'|'(?:[^']|'')*'|"(?:[^"]|"")+"|EXTRACT\(\w+|$re$
            || '::(?:interval(?: year| month| day| hour| minute| second| to)*|character varying|bit varying|'
            || 'time(?:stamp)?(?:\(\d+\))? with(?:out)? time zone)|::|\w+|\s+|.', 'g') WITH ORDINALITY AS p (m, n)
    ), word AS (
        SELECT w.n, lag(w.text) OVER (ORDER BY w.n) AS before, lead(w.text) OVER (ORDER BY w.n) AS after
        FROM piece w
        WHERE w.text !~ '^\s'
    )
    SELECT p.text,
           p.text ~ '^["a-z_]' AND coalesce(w.before NOT IN ('.', '::', 'COLLATE'), true)
               AND coalesce(w.after NOT IN ('(', '.'), true)
    FROM piece p LEFT JOIN word w USING (n)
    ORDER BY p.n
$$;

-- The columns that a rule names, sorted.
CREATE FUNCTION cache_sync._rule_columns(relation oid, key text, tags text[], columns name[], condition text)
RETURNS name[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce(array_agg(DISTINCT n.name ORDER BY n.name), '{}')
    FROM (
        SELECT p.name::name
        FROM unnest(array_append(tags, key)) AS t (template), cache_sync._template_pieces(t.template) p
        WHERE p.name IS NOT NULL
        UNION ALL
        SELECT unnest(columns)
        UNION ALL
        SELECT c.name
        FROM cache_sync.rule_column c
        WHERE c.relation = $1
          AND EXISTS (SELECT FROM cache_sync._condition_pieces(condition) p
                      WHERE p.is_name AND p.piece = quote_ident(c.name))
    ) n
$$;

CREATE FUNCTION cache_sync._rename_in_template(template text, old name, new name)
RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE WHEN p.name = old
                           THEN '{' || new || substr(p.piece, 2 + length(p.name)) ELSE p.piece END, '' ORDER BY p.n)
    FROM cache_sync._template_pieces(template) WITH ORDINALITY AS p (piece, name, n)
$$;

CREATE FUNCTION cache_sync._rename_in_condition(condition text, old name, new name)
RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT string_agg(CASE WHEN p.is_name AND p.piece = quote_ident(old) THEN quote_ident(new) ELSE p.piece END, ''
                      ORDER BY p.n)
    FROM cache_sync._condition_pieces(condition) WITH ORDINALITY AS p (piece, is_name, n)
$$;
