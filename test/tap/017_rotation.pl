# Rotation of the queue tables under load, with a snapshot held open: the tables stay small, no key is lost, and a
# transaction that began before and commits long after is published.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Load;
use CacheSync::Oracle;
use CacheSync::Redis;
use CacheSync::Sql;

my $seed = $ENV{CACHE_SYNC_SEED} // int rand 1_000_000;
note "seed $seed";
my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "cache_sync.ring_size = 64kB\n");
CacheSync::Load->prepare($node);
my $padding = 'x' x 250;
$node->safe_psql('postgres', "SELECT cache_sync.register_table('item', 'long:{id}:$padding')");
$node->wait_for_target('main', 'connected');
$node->drain;

my $reader = CacheSync::Sql->new($node);
$reader->run('BEGIN ISOLATION LEVEL REPEATABLE READ');
my $first = $reader->value('SELECT count(*) FROM item');
my $late = CacheSync::Sql->new($node);
$late->run('BEGIN; INSERT INTO item VALUES (888888)');
my $unlocked = CacheSync::Sql->new($node);
$unlocked->run('BEGIN');
$unlocked->run(q{SELECT cache_sync.invalidate('by:hand')});
$redis->command('SET', $_, 'old') for qw(item:888888 by:hand);

my $load = CacheSync::Load->start($node, targets => { main => $redis }, writers => 3, seed => $seed, pause => 0);
my $sql = CacheSync::Sql->new($node);
my $largest = 0;
my $written = 0;
# As fast as the publisher can follow: it is always behind with something.
for my $round (1 .. 30) {
    $node->poll_until("the publisher follows", sub { $sql->value("SELECT pending_bytes < 4000000 FROM cache_sync.targets") eq "t" });
    $sql->run("INSERT INTO item SELECT $round * 20000 + g FROM generate_series(1, 10000) g");
    my $size = $sql->value(q{SELECT sum(pg_relation_size(c.oid)) FROM pg_class c WHERE c.relname ~ '^queue_\d$'});
    $largest = $size if $size > $largest;
}
my $rotations = $sql->value('SELECT rotations FROM cache_sync.stat_capture');
$load->wait_for_commits(200);
$load->stop;
$written = $sql->value('SELECT queue_bytes FROM cache_sync.stat_capture');
note "written $written bytes, largest $largest bytes, rotations $rotations";
cmp_ok($written, '>', 50_000_000, 'much was queued');
cmp_ok($rotations, '>', 0, 'tables were emptied under load');
cmp_ok($largest, '<', 60_000_000, 'the tables stayed small');
is($reader->value('SELECT count(*) FROM item'), $first, 'with the snapshot open all the time');
is($redis->command('GET', 'item:888888'), 'old', 'the open transaction is not published');
is($redis->command('GET', 'by:hand'), 'old', 'nor is what was invalidated by hand in another');
$_->run('COMMIT') for $late, $unlocked;
$node->drain;
is($redis->command('EXISTS', 'item:888888', 'by:hand'), 0, 'after their commit both are');
CacheSync::Oracle->new($load)->judge('main', surplus => 1);
is($sql->value('SELECT count(*) FROM cache_sync.queue'), '0', 'nothing is pending');
$node->poll_until('the queue is empty', q{SELECT sum(pg_relation_size(c.oid)) = 0 FROM pg_class c WHERE c.relname ~ '^queue_\d$'});
is($reader->value('SELECT count(*) FROM item'), $first, 'and the snapshot still is');

# Somebody else's lock on the queue tables holds up neither writers nor the publisher.
my $locker = CacheSync::Sql->new($node);
$locker->run('BEGIN');
$locker->value("SELECT count(*) FROM cache_sync.queue_$_") for 0 .. 2;
$redis->command('SET', 'item:1', 'old');
$sql->run("SET statement_timeout = '20s'");
for my $round (1 .. 5) { $sql->run("INSERT INTO item SELECT 2000000 + $round * 20000 + g FROM generate_series(1, 10000) g") }
$sql->run('INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
$node->drain;
is($redis->command('GET', 'item:1'), undef, 'a reader of the queue tables is in nobody\'s way');
$locker->run('COMMIT');

# A transaction of very many rows.
$redis->command('SET', "item:$_", 'old') for 3_000_000, 3_199_999;
$sql->run('INSERT INTO item SELECT g FROM generate_series(3000000, 3199999) g');
$node->drain(undef, 90);
is($redis->command('EXISTS', 'item:3000000', 'item:3199999'), 0, '200,000 rows in one transaction');

$node->stop;
done_testing();
