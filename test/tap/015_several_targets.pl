# One target dead for the whole run, one paused: the others are exact, and both catch up. Past queue_limit they are flushed.
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
my %target = (
    alive => CacheSync::Redis->new(flavour => 'redis'),
    fine => CacheSync::Redis->new(flavour => 'valkey'),
    asleep => CacheSync::Redis->new(flavour => 'valkey'),
    hung => CacheSync::Redis->new(flavour => 'redis'),
);
my $node = CacheSync::Cluster->new('main', redis => \%target, conf => "cache_sync.max_backoff = 300ms\n",
    options => { connect_timeout => '500ms', command_timeout => '500ms' });
CacheSync::Load->prepare($node);
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

sub pending {
    my ($name) = @_;
    return $node->safe_psql('postgres', "SELECT pending_transactions FROM cache_sync.targets WHERE name = '$name'");
}
sub queue_size {
    return $node->safe_psql('postgres', q{SELECT sum(pg_relation_size(c.oid)) FROM pg_class c WHERE c.relname ~ '^queue_\d$'});
}
# What the dead ones hold from before must be gone once they are back.
for my $name (qw(asleep hung)) { $target{$name}->pipeline(map { [ 'SET', "item:$_", 'old' ] } 1 .. 300) }
$node->safe_psql('postgres', q{SELECT cache_sync.pause('asleep')});
$node->wait_for_target('asleep', 'paused');
$target{hung}->suspend;
my %seen = map { $_ => $target{$_} } qw(alive fine);
my $load = CacheSync::Load->start($node, targets => \%seen, writers => 3, seed => $seed);
$load->wait_for_commits(400);
$load->stop;
for my $name (qw(alive fine)) {
    $node->poll_until("$name has everything", sub { pending($name) == 0 });
}
my $oracle = CacheSync::Oracle->new($load);
$oracle->judge($_, surplus => 1) for qw(alive fine);
cmp_ok(pending($_), '>', 100, "$_: pending transactions are counted") for qw(asleep hung);
cmp_ok($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.queue'), '>', 100, 'the queue shows what is kept for them');

my @touched = map { "item:$_->[0]" } CacheSync::Sql->new($node)->rows('SELECT id FROM item');
cmp_ok(scalar @touched, '>', 50, 'there is something to look at');
$target{hung}->resume;
$node->drain;
is($target{hung}->command('EXISTS', @touched), 0, 'the hanging one caught up');
is($target{asleep}->command('EXISTS', @touched), scalar @touched, 'the paused one was told nothing');
$node->safe_psql('postgres', q{SELECT cache_sync.resume('asleep')});
$node->drain;
is($target{asleep}->command('EXISTS', @touched), 0, 'the paused one caught up');
is($node->safe_psql('postgres', q{SELECT sum(flushes) FROM cache_sync.stat_targets WHERE name IN ('alive', 'fine')}), '2',
    'the live ones were flushed when they were new only');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.queue'), '0', 'nothing is kept any more');

# Past queue_limit the queue is emptied without the dead target, which is flushed when it is back.
$node->append_conf('postgresql.conf', 'cache_sync.queue_limit = 2MB');
$node->reload;
$target{hung}->kill9;
$node->poll_until('it is seen to be dead', q{SELECT state <> 'connected' FROM cache_sync.targets WHERE name = 'hung'});
my $largest = 0;
for my $round (1 .. 8) {
    $node->safe_psql('postgres', "INSERT INTO item SELECT 10000 + g FROM generate_series($round * 20000, $round * 20000 + 19999) g");
    my $size = queue_size();
    $largest = $size if $size > $largest;
}
$node->poll_until('the queue is small again', sub { queue_size() < 1024 * 1024 });
note "largest queue: $largest bytes";
$target{hung}->start;
$target{hung}->pipeline((map { [ 'SET', "item:$_", 'old' ] } 1 .. 100), [ 'SET', 'else:1', 'kept' ]);
$node->drain;
$node->poll_until('it was flushed', q{SELECT flushes > 1 FROM cache_sync.stat_targets WHERE name = 'hung'});
is($target{hung}->command('EXISTS', map { "item:$_" } 1 .. 100), 0, 'past the limit: everything of the templates is gone');
is($target{hung}->command('GET', 'else:1'), 'kept', 'past the limit: what is not ours stays');
like(slurp_file($node->logfile), qr/queue_limit|flush/i, 'past the limit: the log says it');
$node->poll_until('the queue is empty', sub { queue_size() == 0 });
pass('disk is given back');

$node->stop;
done_testing();
