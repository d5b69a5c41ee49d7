-- Schedules: what is refused and why, and next times in the zone of the configuration.
\set ECHO none
\set VERBOSITY default
\set ECHO all
-- Errors name the field, what it says, and what it may say.
SELECT cache_sync._check_schedule('61 * * * *');
SELECT cache_sync._check_schedule('0 24 * * *');
SELECT cache_sync._check_schedule('0 0 1,32 * *');
SELECT cache_sync._check_schedule('0 0 1 jam *');
SELECT cache_sync._check_schedule('0 0 * * fri-mon');
SELECT cache_sync._check_schedule('5/10 * * * *');
SELECT cache_sync._check_schedule('*/90 * * * *');
SELECT cache_sync._check_schedule('0 0 30 feb *');
SELECT cache_sync._check_schedule('0 * * * * *');
SELECT cache_sync._check_schedule('hourly');
SELECT cache_sync._check_schedule('@reboot');
SELECT cache_sync._check_schedule('@sometimes');
SELECT cache_sync._check_schedule('1 hour 30 minutes');
SELECT cache_sync._check_schedule('0 seconds');
SELECT cache_sync._check_schedule('2 years');
SELECT cache_sync._check_schedule('');
SELECT cache_sync._check_schedule(repeat('ü', 300) || ' * * * *');
\set VERBOSITY sqlstate
SELECT cache_sync._check_schedule('x');
SELECT cache_sync._next_run('x', now());
\set VERBOSITY default
-- What is right passes without a word; NULL is no schedule.
SELECT s FROM unnest(ARRAY['*/5 * * * *', '30 2 * * sat,SUN', '0 8-18/2 1-15 jan-jun 1-5', '@Daily', '30 seconds', '5min', '1 week', NULL]) s,
       LATERAL (SELECT cache_sync._check_schedule(s)) c;

-- Intervals.
SET timezone = 'UTC';
SELECT s, cache_sync._next_run(s, '2024-03-10 01:02:03.25+00') FROM unnest(ARRAY['1 second', '30 seconds', '5 minutes', '2 hours', '1 day']) s;
-- Whole seconds, after that time and not at it.
SELECT a, cache_sync._next_run('* * * * *', a)
FROM unnest(ARRAY['2024-03-10 01:02:59.999999+00', '2024-03-10 01:03:00+00', '2024-03-10 01:03:00.000001+00',
                  '1999-12-31 23:59:59.5+00', '1999-12-31 23:59:00+00', '1969-12-31 23:59:59.5+00']::timestamptz[]) a;
SELECT cache_sync._next_run('* * * * *', 'infinity') IS NULL AS no_end, cache_sync._next_run('* * * * *', '-infinity') IS NULL AS no_start,
       cache_sync._next_run(NULL, now()) IS NULL AS no_schedule;
SELECT cache_sync._next_run('366 days', '294276-12-30 00:00+00') IS NULL AS end_of_time;
-- Far away, before Christ, and in a year that is no leap year.
SELECT cache_sync._next_run('* 12 29 2 *', '2096-03-01 00:00+00') > '2104-02-28' AS leap;
SELECT date_trunc('hour', cache_sync._next_run('0 0 1 1 *', '294270-05-01 00:00+00') + interval '1 day') > '294270-12-31' AS far;
SELECT cache_sync._next_run('0 0 1 1 *', '0100-05-01 00:00+00 BC') < '0099-01-03 00:00+00 BC' AS long_ago;
RESET timezone;

-- The zone is the configuration's, not this session's.
\set ECHO none
ALTER SYSTEM SET cache_sync.timezone = 'America/New_York';
SELECT pg_reload_conf() \g /dev/null
\o /dev/null
SELECT 1 WHERE current_setting('cache_sync.timezone') <> 'America/New_York' \watch i=0.02 min_rows=1
\o
\set ECHO all
SHOW cache_sync.timezone;
SET timezone = 'America/New_York';
CREATE FUNCTION next_runs(schedule text, after timestamptz, count int) RETURNS SETOF timestamptz LANGUAGE sql AS $$
    WITH RECURSIVE run(at, n) AS (
        SELECT cache_sync._next_run(schedule, after), 1
        UNION ALL SELECT cache_sync._next_run(schedule, at), n + 1 FROM run WHERE n < count)
    SELECT at FROM run
$$;
-- The clock jumps from 02:00 to 03:00 on 2024-03-10.
SELECT s, next_runs(s, '2024-03-09 12:00', 2) FROM unnest(ARRAY['30 2 * * *', '0,30 2 * * *', '*/20 2 * * *', '@daily']) s;
SELECT next_runs('30 * * * *', '2024-03-10 00:45', 3);
-- It shows 01:00 to 02:00 twice on 2024-11-03.
SELECT s, next_runs(s, '2024-11-02 12:00', 3) FROM unnest(ARRAY['30 1 * * *', '0,30 1 * * *', '*/30 1 * * *', '@daily']) s;
SELECT next_runs('30 * * * *', '2024-11-03 00:45', 4);
SET timezone = 'Asia/Tokyo';
SELECT next_runs('0 12 * * *', '2024-06-01 00:00', 2);
-- Beyond what the files of time zones list.
SET timezone = 'America/New_York';
SELECT next_runs('0 12 1 1,7 *', '2500-06-01 00:00', 2);
SELECT next_runs('30 2 * * 0', '2150-03-06 00:00', 2);
RESET timezone;
DROP FUNCTION next_runs;

-- A zone that does not exist is refused.
ALTER SYSTEM SET cache_sync.timezone = 'Mars/Olympus';
\set ECHO none
ALTER SYSTEM RESET cache_sync.timezone;
SELECT pg_reload_conf() \g /dev/null
\o /dev/null
SELECT 1 WHERE current_setting('cache_sync.timezone') <> '' \watch i=0.02 min_rows=1
\o
\set ECHO all
-- Without one, it is the server's, not the one that a client brings along.
\setenv PGTZ Asia/Kathmandu
\c -
SHOW timezone;
SELECT cache_sync._next_run('0 12 * * *', '2024-06-01 00:00')::time <> '12:00' AS not_ours;
