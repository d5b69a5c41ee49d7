# Immediate shutdown and SIGKILL of the postmaster under load, and a stop in order: nothing that committed stays unpublished.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Load;
use CacheSync::Oracle;
use CacheSync::Redis;

my $seed = $ENV{CACHE_SYNC_SEED} // int rand 1_000_000;
note "seed $seed";
my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis);
CacheSync::Load->prepare($node);
$node->wait_for_target('main', 'connected');
$node->drain;

my $load = CacheSync::Load->start($node, targets => { main => $redis }, writers => 3, seed => $seed, prepared => 1);
for my $way (qw(immediate kill9 fast)) {
    $load->wait_for_commits(150);
    if ($way eq 'kill9') {
        $node->kill9;
        # The other processes notice on their own; they must, or the new postmaster refuses to start.
        $node->poll_until('the start of a new postmaster', sub { $node->start(fail_ok => 1) or $node->stop('fast', fail_ok => 1), 0 });
    } else {
        $node->stop($way);
        $node->start;
    }
}
$load->wait_for_commits(150);
$load->stop;
$node->drain;
CacheSync::Oracle->new($load)->judge('main', surplus => 1, commits => 400);

# Stopped in order with a dead target: what it missed is still there after the start.
$redis->stop;
$node->safe_psql('postgres', 'INSERT INTO item SELECT 5000 + g FROM generate_series(1, 100) g');
$node->stop;
$redis->start;
$redis->command('SET', 'item:5001', 'old');
$redis->command('SET', 'else:1', 'kept');
$node->start;
$node->drain;
is($redis->command('GET', 'item:5001'), undef, 'published after the restart');
is($redis->command('GET', 'else:1'), 'kept', 'and nothing else with it');

$node->stop;
done_testing();
