# Prepared transactions: published at COMMIT PREPARED, never before, never after ROLLBACK PREPARED; also when the server
# restarted or crashed in between. One that stays open does not stop the queue from being emptied.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis);
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$node->wait_for_target('main', 'connected');
$node->drain;

my @keys = map { "item:$_" } 1 .. 9;
sub set { $redis->pipeline(map { [ 'SET', $_, 'old' ] } @keys); return }
sub gone { return join ' ', grep { !$redis->command('EXISTS', "item:$_") } 1 .. 9 }
sub prepare {
    my ($id) = @_;
    $node->safe_psql('postgres', "BEGIN; INSERT INTO item VALUES ($id); PREPARE TRANSACTION 'p$id'");
    return;
}

set();
prepare($_) for 1 .. 6;
$node->safe_psql('postgres', 'INSERT INTO item VALUES (7)');
$node->drain;
is(gone(), '7', 'nothing of prepared transactions');
$node->safe_psql('postgres', q{COMMIT PREPARED 'p1'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'p2'});
$node->drain;
is(gone(), '1 7', 'committed: published; rolled back: not');

$node->restart;
# At its start a publisher publishes again what the queue still holds.
$node->drain;
set();
$node->safe_psql('postgres', q{COMMIT PREPARED 'p3'});
$node->drain;
is(gone(), '3', 'committed after a restart');
$node->stop(q{immediate});
$node->start;
$node->drain;
set();
$node->safe_psql('postgres', q{COMMIT PREPARED 'p4'});
$node->safe_psql('postgres', q{ROLLBACK PREPARED 'p5'});
$node->drain;
is(gone(), '4', 'committed after a crash');

# From another database, and by a role without rights on anything of cache_sync.
set();
$node->safe_psql('postgres', q{CREATE ROLE app LOGIN; GRANT INSERT ON item TO app});
$node->safe_psql('postgres', q{SET ROLE app; BEGIN; INSERT INTO item VALUES (8); PREPARE TRANSACTION 'p8'; COMMIT PREPARED 'p8'});
$node->drain;
is(gone(), '8', 'by a role without rights');

# p6 is still open and keeps its queue table locked: the others must go round.
my $size = q{SELECT coalesce(max(pg_relation_size(c.oid)), 0) FROM pg_class c WHERE c.relname ~ '^queue_\d$'};
my $before = $node->safe_psql('postgres', 'SELECT rotations FROM cache_sync.stat_capture');
for my $round (1 .. 12) {
    $node->safe_psql('postgres', "INSERT INTO item SELECT g FROM generate_series($round * 10000, $round * 10000 + 9999) g");
    $node->drain;
    $node->poll_until('emptied', "SELECT rotations > $before FROM cache_sync.stat_capture") if $round == 6;
}
$node->poll_until('the queue tables are emptied beside an open prepared transaction',
    q{SELECT count(*) FILTER (WHERE pg_relation_size(c.oid) > 512 * 1024) = 0 FROM pg_class c WHERE c.relname ~ '^queue_\d$'});
set();
$node->safe_psql('postgres', q{COMMIT PREPARED 'p6'});
$node->drain;
is(gone(), '6', 'the one that was open all the time is published');
$node->poll_until('nothing is left in the queue', q{SELECT sum(pg_relation_size(c.oid)) = 0 FROM pg_class c WHERE c.relname ~ '^queue_\d$'});

# drain() after COMMIT PREPARED of another session, again and again.
my ($writer, $other) = map { CacheSync::Sql->new($node) } 1 .. 2;
my $stale = 0;
for my $round (1 .. 60) {
    $redis->command('SET', 'item:1', 'old');
    $writer->run("BEGIN; UPDATE item SET n = n + 1 WHERE id = 1; PREPARE TRANSACTION 'r$round'");
    $writer->run("COMMIT PREPARED 'r$round'");
    $other->value('SELECT cache_sync.drain()');
    $stale += $redis->command('EXISTS', 'item:1');
}
is($stale, 0, 'drain() knows of COMMIT PREPARED');

$node->stop;
done_testing();
