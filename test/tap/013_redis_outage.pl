# Redis that dies, hangs, refuses, is slow, or comes back with old data: writers neither fail nor wait, and nothing is lost.
use strict;
use warnings;
use IO::Socket::INET;
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
my $conf = "cache_sync.max_backoff = 300ms\n";
my %target = map { $_ => CacheSync::Redis->new(flavour => $_) } qw(redis valkey);
my $node = CacheSync::Cluster->new('main', redis => \%target, conf => $conf,
    options => { connect_timeout => '500ms', command_timeout => '700ms' });
CacheSync::Load->prepare($node);
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

# A change that is committed within two seconds, whatever the targets do; a machine at its limit may need as long.
sub writes {
    my ($what) = @_;
    my $began = Time::HiRes::time();
    $node->safe_psql('postgres', "SET statement_timeout = '10s'; INSERT INTO item VALUES (7777) ON CONFLICT (id) DO UPDATE SET n = item.n + 1");
    cmp_ok(Time::HiRes::time() - $began, '<', 5, "$what: a write does not wait");
    return;
}

my $load = CacheSync::Load->start($node, targets => \%target, writers => 3, seed => $seed);
for my $round (1 .. 3) {
    $load->wait_for_commits(100);
    my $victim = $target{ (sort keys %target)[ $round % 2 ] };
    $victim->kill9;
    $load->wait_for_commits(100);
    writes("killed, round $round");
    $victim->start;
}
$load->wait_for_commits(50);

# Both hang: every connection stays open, nothing is answered.
$_->suspend for values %target;
$load->wait_for_commits(30);
$node->poll_until('the hanging target is given up', q{SELECT bool_and(state <> 'connected' AND last_error IS NOT NULL) FROM cache_sync.targets});
writes('hanging');
is($node->safe_psql('postgres', q{SELECT cache_sync.drain('300ms')}), 'f', 'hanging: drain says so');
$_->resume for values %target;
$load->wait_for_commits(50);
$load->stop;
$node->drain;
my $oracle = CacheSync::Oracle->new($load);
$oracle->judge($_) for sort keys %target;
cmp_ok($oracle->slowest, '<', 10, 'no transaction waited for a target');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.queue'), '0', 'nothing is pending');

# Comes back with data of before: it must not keep an entry that was invalidated meanwhile or just before.
my $old = CacheSync::Redis->new(flavour => 'redis', conf => ['dbfilename dump.rdb']);
$node->add_target('old', $old, connect_timeout => '500ms', command_timeout => '700ms');
$node->wait_for_target('old', 'connected');
$old->command('SET', "item:$_", 'old') for 1 .. 500;
$old->command('SET', 'unrelated', 'kept');
$old->command('SAVE');
$node->safe_psql('postgres', 'INSERT INTO item SELECT g FROM generate_series(1, 200) g ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
$node->drain;
is($old->command('EXISTS', map { "item:$_" } 1 .. 200), 0, 'with RDB: invalidated before the crash');
$old->kill9;
$node->safe_psql('postgres', 'INSERT INTO item SELECT g FROM generate_series(201, 300) g ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
$old->start;
$node->drain;
is($old->command('EXISTS', map { "item:$_" } 1 .. 300), 0, 'with RDB: neither they nor those of the outage are back');
is($old->command('GET', 'unrelated'), 'kept', 'with RDB: a key of others is');
$node->safe_psql('postgres', 'DROP SERVER old');

# Refused, black-holed and slow, with the other targets live all the time.
my $silent = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 5) or die "listen: $!";
my $refused = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Listen => 1)->sockport;
$node->safe_psql('postgres', qq{
    CREATE SERVER silent FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:${\$silent->sockport}', command_timeout '400ms');
    CREATE SERVER refused FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:$refused');
    CREATE SERVER nowhere FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://no-such-host.invalid:1', connect_timeout '400ms')});
$node->poll_until('each has an error', q{SELECT count(*) = 3 FROM cache_sync.targets WHERE name IN ('silent', 'refused', 'nowhere') AND last_error IS NOT NULL});
for my $name (qw(silent refused nowhere)) { writes($name) }
for my $round (1 .. 20) {
    $_->command('SET', 'item:1', 'old') for values %target;
    $node->safe_psql('postgres', 'UPDATE item SET n = n + 1 WHERE id = 1');
    wait_for("the live targets hear of change $round", sub { !grep { $_->command('EXISTS', 'item:1') } values %target }, 10);
}
pass('the live targets go on beside the dead ones');
$node->safe_psql('postgres', 'DROP SERVER silent; DROP SERVER refused; DROP SERVER nowhere');
close $silent;
$node->drain;

# Slow: it sleeps in every third of a second.
my $busy = $target{redis}->client;
for (1 .. 5) {
    $busy->send_command('DEBUG', 'SLEEP', '0.2');
    $target{valkey}->command('SET', 'item:2', 'old');
    $node->safe_psql('postgres', 'INSERT INTO item VALUES (2) ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
    wait_for('the quick target is not slowed down', sub { !$target{valkey}->command('EXISTS', 'item:2') }, 10);
    $busy->reply('PING');
}
$node->drain;
pass('a slow target is waited for');

$node->stop;
done_testing();
