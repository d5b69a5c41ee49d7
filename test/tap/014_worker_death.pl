# pg_terminate_backend of publisher and launcher: they come back, and never two for one database.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Load;
use CacheSync::Oracle;
use CacheSync::Redis;

my $seed = $ENV{CACHE_SYNC_SEED} // int rand 1_000_000;
note "seed $seed";
srand $seed;
my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis);
CacheSync::Load->prepare($node);
$node->wait_for_target('main', 'connected');
$node->drain;

my $load = CacheSync::Load->start($node, targets => { main => $redis }, writers => 2, seed => $seed);
my $most = 0;
my $slowest = 0;
sub publishers {
    my $count = $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_sync publisher'});
    $most = $count if $count > $most;
    return $count;
}
for my $role (qw(publisher launcher publisher launcher launcher publisher)) {
    my $pid = $node->safe_psql('postgres', "SELECT pid FROM cache_sync.workers WHERE role = '$role' AND (datname = 'postgres' OR datname IS NULL)");
    like($pid, qr/^\d+$/, "there is a $role");
    my $publisher = $node->publisher_pid;
    $load->wait_for_commits(20);
    my $began = time;
    $node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
    $node->poll_until("a new $role", sub {
        publishers();
        my $new = $node->safe_psql('postgres', "SELECT pid FROM cache_sync.workers WHERE role = '$role' AND (datname = 'postgres' OR datname IS NULL)");
        $new =~ /^\d+$/ && $new != $pid
    });
    my $took = time - $began;
    note sprintf '%s: back after %.2f s', $role, $took;
    $slowest = $took if $took > $slowest;
    $redis->command('SET', 'item:999', 'old');
    $node->safe_psql('postgres', 'INSERT INTO item VALUES (999) ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
    $node->drain;
    is($redis->command('GET', 'item:999'), undef, "$role: it works again");
    publishers();
    is($node->publisher_pid, $publisher, 'the publisher does not care about the launcher') if $role eq 'launcher';
}
$load->stop;
$node->drain;
is($most, 1, 'never two publishers');
cmp_ok($slowest, '<', 10, 'back soon');
CacheSync::Oracle->new($load)->judge('main', surplus => 1);

# Ended again and again: not restarted in a hurry for ever, but restarted.
my $last = 0;
for (1 .. 6) {
    $last = $node->publisher_pid(undef, not => $last);
    $node->safe_psql('postgres', "SELECT pg_terminate_backend($last)");
}
isnt($node->publisher_pid(undef, not => $last), $last, 'back after six deaths');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cache_sync.check() WHERE "check" IN ('launcher', 'publisher') AND NOT ok}), '0', 'check() agrees');

$node->stop;
done_testing();
