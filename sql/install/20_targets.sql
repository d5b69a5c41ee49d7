-- Targets are foreign servers: DROP, pg_dump, \des and secrets in user mappings come for free.

CREATE FUNCTION cache_sync.option_validator(options text[], catalog oid)
RETURNS void
LANGUAGE C STRICT
AS 'MODULE_PATHNAME', 'cache_sync_option_validator';

COMMENT ON FUNCTION cache_sync.option_validator(text[], oid) IS
'Checks the options of CREATE SERVER and CREATE USER MAPPING; called by PostgreSQL';

CREATE FOREIGN DATA WRAPPER cache_sync NO HANDLER VALIDATOR cache_sync.option_validator;

COMMENT ON FOREIGN DATA WRAPPER cache_sync IS
'A server of this wrapper is a target: a Redis or Valkey that is told what changed. '
'Server options: url (redis://host[:port][/db] or unix:/path[?db=n]), prefix (put before every key), source (default: the '
'database''s name), channel (default: cs:inv:<source>), connect_timeout, command_timeout, heartbeat (milliseconds, or with '
'a unit), paused. User mapping options: user, password; the mapping of the server''s owner is used, else that of PUBLIC.';

-- Every target with its options read. Shows no secret: those are in user mappings only.
CREATE VIEW cache_sync._target AS
SELECT s.oid AS server,
       s.srvname AS name,
       s.srvowner AS owner,
       o.url,
       coalesce(o.prefix, '') AS prefix,
       coalesce(o.source, current_database()::text) AS source,
       coalesce(o.channel, 'cs:inv:' || coalesce(o.source, current_database()::text)) AS channel,
       coalesce(o.paused::boolean, false) AS paused
FROM pg_catalog.pg_foreign_server s
JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw AND w.fdwname = 'cache_sync'
CROSS JOIN LATERAL (
    SELECT max(x.option_value) FILTER (WHERE x.option_name = 'url') AS url,
           max(x.option_value) FILTER (WHERE x.option_name = 'prefix') AS prefix,
           max(x.option_value) FILTER (WHERE x.option_name = 'source') AS source,
           max(x.option_value) FILTER (WHERE x.option_name = 'channel') AS channel,
           max(x.option_value) FILTER (WHERE x.option_name = 'paused') AS paused
    FROM pg_catalog.pg_options_to_table(s.srvoptions) x
) o;
