-- What is rolled back is not queued, whatever way it is rolled back.
\set ECHO none
\getenv src PG_ABS_SRCDIR
\set pending :src '/sql/helper/pending.sql'
\i :pending
\set ECHO all
CREATE SCHEMA savepoints;
SET search_path = savepoints, public;
CREATE TABLE t (id int PRIMARY KEY, v int CHECK (v < 100));
SELECT cache_sync.register_table('t', 't:{id}', '{"tag:{v}"}') > 0 AS registered;

BEGIN;
INSERT INTO t VALUES (1, 1);
ROLLBACK;
SELECT * FROM pg_temp.touched();

BEGIN;
INSERT INTO t VALUES (1, 1);
SAVEPOINT a;
INSERT INTO t VALUES (2, 2);
SAVEPOINT b;
INSERT INTO t VALUES (3, 3);
ROLLBACK TO b;
INSERT INTO t VALUES (4, 4);
RELEASE a;
COMMIT;
SELECT * FROM pg_temp.touched();

-- Released, then the outer level rolled back.
BEGIN;
SAVEPOINT a;
SAVEPOINT b;
INSERT INTO t VALUES (5, 5);
RELEASE b;
ROLLBACK TO a;
INSERT INTO t VALUES (6, 6);
COMMIT;
SELECT * FROM pg_temp.touched();

-- A key known to the outer level, touched again inside.
BEGIN;
UPDATE t SET v = 7 WHERE id = 6;
SAVEPOINT a;
UPDATE t SET v = 8 WHERE id = 6;
ROLLBACK TO a;
COMMIT;
SELECT * FROM pg_temp.touched();
-- And one that was rolled back first and is touched again.
BEGIN;
SAVEPOINT a;
UPDATE t SET v = 9 WHERE id = 6;
ROLLBACK TO a;
UPDATE t SET v = 9 WHERE id = 6;
COMMIT;
SELECT * FROM pg_temp.touched();

-- Exception blocks.
DO $$
BEGIN
    INSERT INTO t VALUES (10, 10);
    FOR n IN 11..15 LOOP
        BEGIN
            INSERT INTO t VALUES (n, n);
            IF n % 2 = 0 THEN
                INSERT INTO t VALUES (n + 100, 200);
            END IF;
        EXCEPTION WHEN check_violation THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT * FROM pg_temp.touched();

-- A failed statement.
INSERT INTO t VALUES (20, 20), (21, 200);
SELECT * FROM pg_temp.touched();

-- Procedures that commit.
CREATE PROCEDURE half() LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t VALUES (30, 30);
    COMMIT;
    INSERT INTO t VALUES (31, 31);
    ROLLBACK;
    INSERT INTO t VALUES (32, 32);
END $$;
CALL half();
SELECT * FROM pg_temp.touched();

-- Deferred triggers run at commit.
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO t VALUES (NEW.id + 1000, 1);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER echo AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.id = 40) EXECUTE FUNCTION echo();
INSERT INTO t VALUES (40, 40);
SELECT * FROM pg_temp.touched();

-- Many savepoints, half of them rolled back.
DO $$
BEGIN
    FOR n IN 1..2000 LOOP
        BEGIN
            INSERT INTO t VALUES (10000 + n, 0);
            IF n % 2 = 0 THEN
                RAISE EXCEPTION 'no';
            END IF;
        EXCEPTION WHEN raise_exception THEN
            NULL;
        END;
    END LOOP;
END
$$;
SELECT kind, count(*) FROM pg_temp.touched() GROUP BY kind ORDER BY kind;

-- By hand, and flush.
BEGIN;
SAVEPOINT a;
SELECT cache_sync.invalidate('hand:1');
SELECT cache_sync.flush('waiting');
ROLLBACK TO a;
SELECT cache_sync.invalidate('hand:2');
COMMIT;
SELECT * FROM pg_temp.touched();
SET client_min_messages = warning;
DROP SCHEMA savepoints CASCADE;
