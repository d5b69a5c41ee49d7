# drain() is exact: what another session could see committed before the call is published when it returns true.
use strict;
use warnings;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my $redis = CacheSync::Redis->new(flavour => 'redis');
my $node = CacheSync::Cluster->new('main', redis => $redis, streaming => 1,
    conf => "cache_sync.ring_size = 64kB\nsynchronous_standby_names = ''\n", options => { command_timeout => '1s', connect_timeout => '1s' });
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    INSERT INTO item SELECT generate_series(1, 2000);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$node->wait_for_target('main', 'connected');
$node->drain;

# The writer commits without being waited for; the reader sees the change, drains, looks.
my ($writer, $reader) = map { CacheSync::Sql->new($node) } 1 .. 2;
my ($stale, $false) = (0, 0);
for my $round (1 .. 300) {
    my $id = 1 + $round % 50;
    $redis->command('SET', "item:$id", 'old');
    $writer->send("UPDATE item SET n = $round WHERE id = $id");
    until ($reader->value("SELECT n FROM item WHERE id = $id") == $round) { }
    $false++ if $reader->value('SELECT cache_sync.drain()') ne 't';
    $stale++ if $redis->command('EXISTS', "item:$id");
    $writer->finish;
}
is($stale, 0, 'one row, 300 times: published when drain() returned');
is($false, 0, 'and it returned true');

# Too large for the ring.
($stale, $false) = (0, 0);
for my $round (1 .. 15) {
    $redis->command('SET', "item:$_", 'old') for 1, 1000, 2000;
    $writer->send("UPDATE item SET n = -$round");
    until ($reader->value('SELECT n FROM item WHERE id = 2000') == -$round) { }
    $false++ if $reader->value('SELECT cache_sync.drain()') ne 't';
    $stale += $redis->command('EXISTS', map { "item:$_" } 1, 1000, 2000);
    $writer->finish;
}
is($stale, 0, '2,000 rows, 15 times');
is($false, 0, 'and it returned true');

# A commit that is in the WAL but not visible yet, because it waits for a standby that does not exist: neither published nor waited for.
$redis->command('SET', 'item:7', 'old');
$node->append_conf('postgresql.conf', "synchronous_standby_names = 'nobody'");
$node->reload;
$node->poll_until('the setting is there', q{SELECT current_setting('synchronous_standby_names') = 'nobody'});
$writer = CacheSync::Sql->new($node);
$writer->send('UPDATE item SET n = 70 WHERE id = 7');
$node->poll_until('the commit waits', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'});
my $began = time;
my $answer = $reader->value(q{SELECT cache_sync.drain('5 seconds')});
note sprintf 'drain() beside an invisible commit: %s after %.1f s', $answer, time - $began;
is($reader->value('SELECT n FROM item WHERE id = 7') == 70 ? 1 : 0, 0, 'the commit is not visible');
is($redis->command('GET', 'item:7'), 'old', 'what nobody can see yet is not published');
$reader->value('SELECT pg_cancel_backend(' . $writer->pid . ')');
$writer->finish;
$node->append_conf('postgresql.conf', "synchronous_standby_names = ''");
$node->reload;
$node->poll_until('the setting is gone', q{SELECT current_setting('synchronous_standby_names') = ''});
$node->drain;
is($redis->command('GET', 'item:7'), undef, 'and is once it is visible');

# A dead target: false, at the timeout.
$redis->suspend;
$node->safe_psql('postgres', 'UPDATE item SET n = n + 1 WHERE id = 8');
for my $wait (0, 0.5, 2) {
    $began = time;
    is($reader->value("SELECT cache_sync.drain('$wait seconds')"), 'f', "dead target: false after $wait s");
    my $took = time - $began;
    ok($took >= $wait - 0.01 && $took < $wait + 2, 'not earlier, and not much later') or diag("it took $took s");
}
# A waiting drain() can be cancelled, and it returns as soon as the target is back.
$reader->send(q{SELECT cache_sync.drain('60 seconds')});
ok(!$reader->ready(0.3), 'it waits');
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $reader->pid . ')');
ok(!eval { $reader->finish; 1 }, 'and can be cancelled');
is($reader->state, '57014', 'as queries are');
$reader->send(q{SELECT cache_sync.drain('60 seconds')});
$redis->resume;
$reader->finish;
is($reader->{rows}[0][0], 't', 'true when the target is back');
is($node->safe_psql('postgres', q{SELECT cache_sync.pause(); SELECT cache_sync.drain('5 seconds')}) =~ /t$/ ? 1 : 0, 1, 'a paused target is not waited for');
$node->safe_psql('postgres', 'SELECT cache_sync.resume()');

# Own changes of the calling transaction are not committed, so they are not waited for.
$reader->run('BEGIN; UPDATE item SET n = 0 WHERE id = 9');
is($reader->value(q{SELECT cache_sync.drain('20 seconds')}), 't', 'inside a transaction that wrote');
$reader->run('COMMIT');
$node->drain;

$node->stop;
done_testing();
