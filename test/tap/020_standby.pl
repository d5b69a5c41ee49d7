# A standby publishes nothing. Promoted, it publishes what the old primary had left over, and flushes its target once,
# because that may hold values of transactions which never reached the standby.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

my $redis = CacheSync::Redis->new;
my $primary = CacheSync::Cluster->new('primary', redis => $redis, streaming => 1);
$primary->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$primary->wait_for_target('main', 'connected');
$primary->drain;
$primary->backup('b');
my $standby = CacheSync::Cluster->new('standby', bare => 1);
$standby->init_from_backup($primary, 'b', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', 'INSERT INTO item SELECT generate_series(1, 100)');
$primary->drain;
$primary->wait_for_replay_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cache_sync%'}), '0', 'a standby has no workers');
is($standby->safe_psql('postgres', 'SELECT count(*) FROM item'), '100', 'it replays, also emptied queue tables');
$standby->safe_psql('postgres', "SELECT * FROM cache_sync.$_") for qw(tables targets queue workers stat_capture stat_targets);
is($standby->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.check()') > 0 ? 1 : 0, 1, 'the views can be read there');
my ($code, undef, $error) = $standby->psql('postgres', q{SELECT cache_sync.drain('1 second')});
ok($code != 0 || $error eq '', 'drain() neither crashes nor hangs there');

# Left over: the target is cut off when they are committed, and the primary is gone before it is back.
$redis->command('SET', $_, 'old') for 'item:1', 'item:55', 'else:1';
$primary->safe_psql('postgres', 'SELECT cache_sync.pause()');
$primary->wait_for_target('main', 'paused');
$primary->safe_psql('postgres', 'UPDATE item SET n = 1 WHERE id = 1');
$primary->wait_for_replay_catchup($standby);
$primary->stop('immediate');
is($redis->command('GET', 'item:1'), 'old', 'left over');
$standby->promote;
$standby->safe_psql('postgres', 'SELECT cache_sync.resume()');
$standby->wait_for_target('main', 'connected');
$standby->drain;
is($redis->command('GET', 'item:1'), undef, 'published after the promotion');
is($redis->command('GET', 'item:55'), undef, 'the target was flushed');
is($redis->command('GET', 'else:1'), 'old', 'but for the keys of others');
is($standby->safe_psql('postgres', 'SELECT flushes FROM cache_sync.stat_targets'), '1', 'once');
$redis->command('SET', $_, 'old') for 'item:2', 'item:9056';
my $publisher = $standby->publisher_pid;
$standby->safe_psql('postgres', "SELECT pg_terminate_backend($publisher)");
$standby->publisher_pid(undef, not => $publisher);
$standby->safe_psql('postgres', 'UPDATE item SET n = 1 WHERE id = 2');
$standby->drain;
is($redis->command('GET', 'item:2'), undef, 'a new publisher publishes');
is($redis->command('GET', 'item:9056'), 'old', 'and does not flush again');

# Without pause: a standby that is promoted while the primary lives on. The new one's epoch outranks the old one's.
$primary->start;
$primary->safe_psql('postgres', 'SELECT cache_sync.resume()');
$standby->poll_until('the old primary has tried', sub { $primary->safe_psql('postgres', 'SELECT coalesce(last_error, state) FROM cache_sync.targets') ne '' });
$redis->command('SET', 'item:3', 'old');
$standby->safe_psql('postgres', 'UPDATE item SET n = 2 WHERE id = 3');
$standby->drain;
is($redis->command('GET', 'item:3'), undef, 'an old primary that is back does not stop the new one');

$_->stop for $standby, $primary;
done_testing();
