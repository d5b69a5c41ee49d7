-- Functions of the library around schedules; src/refresh/SCHEDULES.md defines these.

-- The first time of the schedule after that one; NULL if there is none within a century.
CREATE FUNCTION cache_sync._next_run(schedule text, after timestamp with time zone)
RETURNS timestamp with time zone
LANGUAGE C STABLE STRICT
AS 'MODULE_PATHNAME', 'cache_sync_next_run';

-- Raises invalid_parameter_value, with what is wrong, for what is no schedule.
CREATE FUNCTION cache_sync._check_schedule(schedule text)
RETURNS void
LANGUAGE C IMMUTABLE STRICT
AS 'MODULE_PATHNAME', 'cache_sync_check_schedule';
