-- Errors of every kind cross between PostgreSQL and C++ whole, and the session lives on.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA boundary;
SET search_path = boundary, public;
CREATE TABLE t (id int PRIMARY KEY, n int);

-- Ours, raised in C++: SQLSTATE, message and hint arrive.
\set VERBOSITY sqlstate
SELECT cache_sync.key('a:{b', 1);
SELECT cache_sync.register_table('t', 'a:{nothing}');
\set VERBOSITY default
-- PostgreSQL's, raised below C++: in the parser, in an output function, in a condition while a row is written.
SELECT cache_sync.register_table('t', 't:{id}', condition => 'id >');
SELECT * FROM cache_sync.explain('t', '{"id": 99999999999}');
CREATE FUNCTION refuse(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RAISE EXCEPTION 'refused %', $1 USING ERRCODE = 'P0042', DETAIL = 'A detail.', HINT = 'A hint.';
END $$;
SELECT cache_sync.register_table('t', 'refused:{id}', condition => 'CASE WHEN id > 1 THEN refuse(id) ELSE true END') > 0
       AS registered;
INSERT INTO t VALUES (1);
INSERT INTO t VALUES (2);
SELECT * FROM pg_temp.touched();
-- Caught in PL/pgSQL, the transaction goes on.
DO $$
BEGIN
    INSERT INTO t VALUES (0);
    BEGIN
        INSERT INTO t VALUES (3);
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE '% % (%)', sqlstate, sqlerrm, 'caught';
    END;
    BEGIN
        PERFORM cache_sync.key('a:{b', 1);
    EXCEPTION WHEN OTHERS THEN
        RAISE NOTICE '% % (%)', sqlstate, sqlerrm, 'caught';
    END;
END
$$;
SELECT * FROM pg_temp.touched();
-- Cancelled in the middle.
CREATE FUNCTION slow(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    PERFORM pg_sleep(60);
    RETURN true;
END $$;
SELECT cache_sync.unregister_table('t');
SELECT cache_sync.register_table('t', 'slow:{id}', condition => 'slow(id)') > 0 AS registered;
SET statement_timeout = '50ms';
UPDATE t SET n = 1 WHERE id = 0;
RESET statement_timeout;
SELECT * FROM pg_temp.touched();
-- Triggers that are called wrongly.
CREATE TABLE other (id int);
CREATE TRIGGER wrong BEFORE INSERT ON other FOR EACH ROW EXECUTE FUNCTION cache_sync.capture();
INSERT INTO other VALUES (1);
DROP TRIGGER wrong ON other;
CREATE TRIGGER wrong AFTER INSERT ON other FOR EACH STATEMENT EXECUTE FUNCTION cache_sync.capture();
INSERT INTO other VALUES (1);
DROP TRIGGER wrong ON other;
CREATE TRIGGER wrong AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION cache_sync.capture_truncate();
INSERT INTO other VALUES (1);
DROP TRIGGER wrong ON other;
-- Without a rule it does nothing.
CREATE TRIGGER idle AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION cache_sync.capture();
INSERT INTO other VALUES (1);
SELECT cache_sync.capture();
SELECT * FROM pg_temp.touched();
SELECT cache_sync._explain_row(NULL, NULL);
SELECT cache_sync._explain_row('other', ROW(1, 2));
SELECT cache_sync._decode_payload('\x4bff');
SELECT cache_sync._decode_payload('\x');
SET client_min_messages = warning;
DROP SCHEMA boundary CASCADE;
