# kill -9 of the publisher, and of a writer's backend, makes PostgreSQL restart: what had committed is published afterwards,
# what had not is not.
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
srand $seed;
my %target = (main => CacheSync::Redis->new(flavour => 'redis'), other => CacheSync::Redis->new(flavour => 'valkey'));
my $node = CacheSync::Cluster->new('main', redis => \%target);
CacheSync::Load->prepare($node);
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

my $load = CacheSync::Load->start($node, targets => \%target, writers => 4, seed => $seed, prepared => 1);
for my $round (1 .. 3) {
    $load->wait_for_commits(150);
    if ($round == 2) {
        # A backend that is in the middle of something.
        my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'test' LIMIT 1});
        $node->kill9($pid);
    } else {
        $node->kill9($node->publisher_pid);
    }
}
$load->wait_for_commits(150);
$load->stop;
$node->drain;
my $oracle = CacheSync::Oracle->new($load);
$oracle->judge($_, surplus => 1, commits => 400) for sort keys %target;
is($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.queue'), '0', 'nothing is pending');

# The last thing before the crash is a commit that the publisher never heard of: it was stopped then.
my $publisher = $node->publisher_pid;
kill 'STOP', $publisher;
my $sql = CacheSync::Sql->new($node);
for my $redis (values %target) { $redis->command('SET', "item:$_", 'old') for 5001 .. 5003 }
$sql->run(q{INSERT INTO item VALUES (5001)});
$sql->run(q{BEGIN});
$sql->run(q{INSERT INTO item VALUES (5002)});
my $prepared = CacheSync::Sql->new($node);
$prepared->run(q{BEGIN; INSERT INTO item VALUES (5003); PREPARE TRANSACTION 'p'});
$node->kill9($publisher);
$node->poll_until('the server is back', sub { $node->safe_psql('postgres', 'SELECT 1') });
$node->drain;
for my $name (sort keys %target) {
    is_deeply($target{$name}->command('MGET', map { "item:$_" } 5001 .. 5003), [ undef, 'old', 'old' ],
        "$name: the committed row's key is gone, those of the open and the prepared transaction are there");
}
$node->safe_psql('postgres', q{COMMIT PREPARED 'p'});
$node->drain;
is($target{$_}->command('GET', 'item:5003'), undef, "$_: after COMMIT PREPARED that one is gone too") for sort keys %target;

$node->stop;
done_testing();
