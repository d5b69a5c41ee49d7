-- For tests that look at what was queued, without any Redis: a paused target keeps everything pending.
--   pg_temp.touched()  what was queued since its last call
-- Include with:
--   \set ECHO none
--   \getenv src PG_ABS_SRCDIR
--   \set pending :src '/sql/helper/pending.sql'
--   \i :pending
--   \set ECHO all
\set VERBOSITY default
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SERVER IF NOT EXISTS waiting FOREIGN DATA WRAPPER cache_sync
    OPTIONS (url 'redis://127.0.0.1:1/0', paused 'true');
RESET client_min_messages;

-- Until the publisher has read its targets, it has none to keep anything for.
DO $$
BEGIN
    FOR attempt IN 1..3000 LOOP
        IF EXISTS (SELECT FROM cache_sync._target_states() s JOIN pg_foreign_server f ON f.oid = s.server
                   WHERE f.srvname = 'waiting' AND s.state = 'paused') THEN
            RETURN;
        END IF;
        PERFORM pg_sleep(0.01);
    END LOOP;
    RAISE EXCEPTION 'the publisher did not read its targets within 30 seconds';
END
$$;

CREATE TEMP TABLE seen_row AS SELECT q.queue_table, q.row_id FROM cache_sync._queue() q;

CREATE FUNCTION pg_temp.touched()
RETURNS TABLE (kind text, name text)
LANGUAGE sql
AS $$
    WITH fresh AS MATERIALIZED (
        SELECT q.queue_table, q.row_id, q.payload
        FROM cache_sync._queue() q
        WHERE NOT EXISTS (SELECT FROM seen_row s WHERE (s.queue_table, s.row_id) = (q.queue_table, q.row_id))
    ), noted AS (
        INSERT INTO seen_row SELECT f.queue_table, f.row_id FROM fresh f
    )
    SELECT d.kind, d.name FROM fresh f, cache_sync._decode_payload(f.payload) d ORDER BY d.kind, d.name COLLATE "C"
$$;

-- The triggers of cache_sync on tables of the schema: which, A: fire always, and whether they are clones of a parent's.
CREATE FUNCTION pg_temp.placed(schema regnamespace)
RETURNS TABLE (relation name, trigger_name name, fires "char", cloned boolean)
LANGUAGE sql
AS $$
    SELECT c.relname, t.tgname, t.tgenabled, t.tgparentid <> 0
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
    WHERE c.relnamespace = schema AND t.tgname LIKE 'cache_sync%'
    ORDER BY c.relname, t.tgname
$$;
