# cache_sync.synchronous: when COMMIT returns, the key is gone; when it cannot be, COMMIT returns all the same.
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
my $node = CacheSync::Cluster->new('main', redis => $redis,
    conf => "cache_sync.ring_size = 64kB\nmax_prepared_transactions = 5\n",
    options => { command_timeout => '1s', connect_timeout => '1s' });
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    INSERT INTO item SELECT generate_series(1, 5000);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$node->wait_for_target('main', 'connected');
$node->drain;

# A session that waits, one that does not: the control arm.
my $waiting = CacheSync::Sql->new($node, options => '-c cache_sync.synchronous=on -c cache_sync.synchronous_timeout=20s');
my $hasty = CacheSync::Sql->new($node);

sub stale_after {
    my ($session, $rounds, $work) = @_;
    my $stale = 0;
    for my $round (1 .. $rounds) {
        $redis->command('MSET', map { ("item:$_", 'old') } 1, 2500, 5000);
        $session->run($_) for $work->($round);
        $stale += $redis->command('EXISTS', 'item:1');
    }
    return $stale;
}
is(stale_after($waiting, 300, sub { "UPDATE item SET n = $_[0] WHERE id = 1" }), 0, 'one row: gone when COMMIT returns');
cmp_ok(stale_after($hasty, 300, sub { "UPDATE item SET n = -$_[0] WHERE id = 1" }), '>', 0, 'without waiting it is not always');
is(stale_after($waiting, 10, sub { "UPDATE item SET n = n + $_[0]" }), 0, 'too large for the ring');
is(stale_after($waiting, 20, sub { 'BEGIN', 'UPDATE item SET n = n + 1 WHERE id = 1', q{PREPARE TRANSACTION 'a'}, q{COMMIT PREPARED 'a'} }),
    0, 'COMMIT PREPARED');
is(stale_after($waiting, 20, sub { q{DO $$BEGIN UPDATE item SET n = n + 1 WHERE id = 1; COMMIT; PERFORM 1; END$$} }), 0, 'COMMIT in a DO block');

# Many at once, while the publisher is killed again and again.
my @sessions = map { CacheSync::Sql->new($node, options => '-c cache_sync.synchronous=on -c cache_sync.synchronous_timeout=20s') } 1 .. 6;
my $stale = 0;
for my $round (1 .. 60) {
    $redis->command('MSET', map { ("item:$_", 'old') } 101 .. 106);
    $sessions[$_]->send('UPDATE item SET n = n + 1 WHERE id = ' . (101 + $_)) for 0 .. $#sessions;
    $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $node->publisher_pid . ')') if $round % 20 == 0;
    for my $n (0 .. $#sessions) {
        $sessions[$n]->finish;
        $stale += $redis->command('EXISTS', 'item:' . (101 + $n));
    }
}
is($stale, 0, 'six sessions at once, publisher terminated three times');

# A dead target: the commit returns at the timeout, with a warning, and is committed.
sub took { my ($code) = @_; my $began = time; $code->(); return time - $began }
my $timeout = CacheSync::Sql->new($node, options => '-c cache_sync.synchronous=on -c cache_sync.synchronous_timeout=700ms');
$redis->suspend;
my $seconds = took(sub { $timeout->run('UPDATE item SET n = 99 WHERE id = 9') });
ok($seconds >= 0.69 && $seconds < 2, 'a dead target: COMMIT returns at the timeout') or diag("after $seconds s");
is($hasty->value('SELECT n FROM item WHERE id = 9'), 99, 'committed');
my (undef, undef, $notices) = $node->psql('postgres', q{SET cache_sync.synchronous = on; SET cache_sync.synchronous_timeout = '100ms'; UPDATE item SET n = 98 WHERE id = 9});
like($notices, qr/^(psql:<stdin>:\d+: )?WARNING:  cache_sync: a commit was not confirmed in time by every target\nDETAIL:  The transaction is committed, and will be published to the targets that have not confirmed it\.\nHINT:  See cache_sync\.targets\.$/,
    'and says so');

# It waits without its locks: nobody queues up behind it, whoever came before or comes later.
$waiting->run('BEGIN; UPDATE item SET n = 1 WHERE id = 10');
$hasty->send('UPDATE item SET n = 2 WHERE id = 10');
$node->poll_until('somebody is blocked', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'});
$waiting->send('COMMIT');
$seconds = took(sub { $hasty->finish });
cmp_ok($seconds, '<', 2, 'a session blocked on one of its rows goes on at once');
ok(!$waiting->ready(0.2), 'while the commit still waits');
is($node->safe_psql('postgres', 'SELECT wait_event FROM pg_stat_activity WHERE pid = ' . $waiting->pid), 'CacheSyncCommit', 'as pg_stat_activity shows');
is($node->safe_psql('postgres', 'SELECT count(*) FROM pg_locks WHERE pid = ' . $waiting->pid), 0, 'without any lock');

# Cancel and terminate end the wait at once; the transaction stays committed.
$node->safe_psql('postgres', 'SELECT pg_cancel_backend(' . $waiting->pid . ')');
$seconds = took(sub { $waiting->finish });
cmp_ok($seconds, '<', 2, 'a cancel ends the wait');
is($waiting->value('SELECT 1'), 1, 'and the session lives on');
$waiting->send('UPDATE item SET n = 11 WHERE id = 11');
$node->poll_until('it waits', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'CacheSyncCommit'});
my $pid = $waiting->pid;
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
$node->poll_until('the session is gone', "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
is($hasty->value('SELECT n FROM item WHERE id = 11'), 11, 'terminated while it waited: committed');

# The target comes back: the wait ends with it. A fast shutdown does not wait either.
$waiting = CacheSync::Sql->new($node, options => '-c cache_sync.synchronous=on -c cache_sync.synchronous_timeout=60s');
$waiting->send('UPDATE item SET n = 12 WHERE id = 12');
ok(!$waiting->ready(0.3), 'it waits');
$redis->resume;
$waiting->finish;
is($redis->command('EXISTS', 'item:12'), 0, 'until the target is back');
$node->safe_psql('postgres', q{SELECT cache_sync.pause()});
$seconds = took(sub { $waiting->run('UPDATE item SET n = 13 WHERE id = 13') });
cmp_ok($seconds, '<', 2, 'a paused target is not waited for');
$node->safe_psql('postgres', q{SELECT cache_sync.resume()});
$node->wait_for_target('main', 'connected');
$redis->suspend;
$waiting->send('UPDATE item SET n = 14 WHERE id = 14');
$node->poll_until('it waits', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE wait_event = 'CacheSyncCommit'});
$seconds = took(sub { $node->stop('fast') });
cmp_ok($seconds, '<', 10, 'fast shutdown while a commit waits');
$redis->resume;
$node->start;
is($node->safe_psql('postgres', 'SELECT n FROM item WHERE id = 14'), 14, 'which is committed');
$node->drain;
$node->stop;
done_testing();
