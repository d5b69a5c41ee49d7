-- Options of targets are checked when they are given.
\set SHOW_CONTEXT never
CREATE SERVER a FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://cache.example:6379/0', paused 'true');
DROP SERVER a;
CREATE SERVER a FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'unix:/run/redis.sock?db=2', paused 'true', prefix 'shop:v3:',
    source 'shop', channel 'news', connect_timeout '500', command_timeout '2s', heartbeat '1min');
SELECT name, url, prefix, source, channel, paused FROM cache_sync.targets WHERE name = 'a';
ALTER SERVER a OPTIONS (DROP prefix, DROP source, DROP channel);
SELECT name, prefix, source = current_database() AS source, channel = 'cs:inv:' || current_database() AS channel
FROM cache_sync.targets WHERE name = 'a';
CREATE USER MAPPING FOR PUBLIC SERVER a OPTIONS (user 'app', password 'secret');
DROP SERVER a CASCADE;

-- Wrong ones.
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync;
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (prefix 'x:');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url '');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'http://127.0.0.1');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url '127.0.0.1:6379');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h:99999');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h:6379/x');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://user:topsecret@h');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'rediss://h');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'unix:');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', password 'topsecret');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', colour 'blue');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', paused 'maybe');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', connect_timeout 'soon');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', connect_timeout '-1');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', command_timeout '0');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', heartbeat '5 parsecs');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', mode 'cluster');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', mode 'nonsense');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', source '');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', channel '');
CREATE SERVER c FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', paused 'true');
CREATE USER MAPPING FOR PUBLIC SERVER c OPTIONS (url 'redis://h');
CREATE USER MAPPING FOR PUBLIC SERVER c OPTIONS (user '');
ALTER SERVER c OPTIONS (SET url 'nonsense');
ALTER SERVER c OPTIONS (DROP url);
ALTER FOREIGN DATA WRAPPER cache_sync OPTIONS (ADD debug 'true');
CREATE FOREIGN TABLE t (a int) SERVER c;
SELECT * FROM t;
DROP FOREIGN TABLE t;
CREATE FOREIGN TABLE t (a int) SERVER c OPTIONS (x 'y');
-- Its mistakes show with their SQLSTATE.
\set VERBOSITY sqlstate
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync;
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h:99999');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', colour 'blue');
CREATE SERVER b FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', connect_timeout 'soon');
DROP SERVER c;
