# A target that stays connected but is slower than the load for ever: the queue stays bounded, the other target is not held
# up, and the slow one is right in the end because it is flushed.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use Time::HiRes qw(time sleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my $fast = CacheSync::Redis->new(flavour => 'redis');
my $slow = CacheSync::Redis->new(flavour => 'valkey');
my $node = CacheSync::Cluster->new('main', redis => $fast, conf => "cache_sync.queue_limit = 3MB\ncache_sync.ring_size = 64kB\n");

# Passes bytes on to the slow target: at most so many a second, until it is told to hurry (SIGUSR1).
my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1', ReuseAddr => 1) or die "listen: $!";
my $proxy_port = $listener->sockport;
my $proxy = fork // die "fork: $!";
if (!$proxy) {
    my $rate = 20_000;
    local $SIG{USR1} = sub { $rate = 1e9 };
    local $SIG{PIPE} = 'IGNORE';
    my %peer;
    while (1) {
        for my $from (IO::Select->new($listener, map { $_->[0] } values %peer)->can_read(0.05)) {
            if ($from == $listener) {
                my $client = $listener->accept or next;
                my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $slow->port) or next;
                @peer{ fileno $client, fileno $server } = ([ $client, $server, 1 ], [ $server, $client, 0 ]);
                next;
            }
            my ($self, $other, $limited) = @{ $peer{ fileno $from } // next };
            my $wanted = $limited && $rate < 1e9 ? 2_000 : 65_536;
            my $got = sysread $self, my $bytes, $wanted;
            if (!$got) {
                delete @peer{ fileno $self, fileno $other };
                close $_ for $self, $other;
                next;
            }
            syswrite $other, $bytes;
            sleep(length($bytes) / $rate) if $limited;
        }
    }
}
$node->safe_psql('postgres', qq{
    CREATE SERVER slow FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:$proxy_port/0');
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0) WITH (fillfactor = 50);
    INSERT INTO item SELECT generate_series(1, 20000);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$node->wait_for_target($_, 'connected') for qw(main slow);
$node->drain;
$slow->command('SET', 'item:1', 'old');

# About 100 times what the slow target can take.
my ($largest, $lag) = (0, 0);
my $writer = CacheSync::Sql->new($node);
my $until = time + 25;
my $flushes = 0;
while (time < $until) {
    my $from = 1 + int rand 18000;
    $fast->command('SET', "item:$from", 'old');
    $writer->run("UPDATE item SET n = n + 1 WHERE id BETWEEN $from AND " . ($from + 2000));
    my $began = time;
    wait_for('the fast target', sub { !$fast->command('EXISTS', "item:$from") }, 30);
    my $took = time - $began;
    $lag = $took if $took > $lag;
    my ($bytes) = split /\|/, $node->safe_psql('postgres', 'SELECT sum(bytes) FROM cache_sync.queue_tables');
    $largest = $bytes if $bytes > $largest;
}
$flushes = $node->safe_psql('postgres', q{SELECT flushes FROM cache_sync.stat_targets WHERE name = 'slow'});
diag sprintf 'queue at most %.1f MB, fast target at most %.2f s behind, %d flushes of the slow one', $largest / 1e6, $lag, $flushes;
cmp_ok($largest, '<', 40 * 1024 * 1024, 'the queue stays bounded');
cmp_ok($lag, '<', 10, 'the other target is not held up');
like(slurp_file($node->logfile), qr/the queue is at its limit of 3 MB; target "slow" will be flushed/, 'the log says what happens to the slow one');
unlike(slurp_file($node->logfile), qr/target "main" will be flushed/, 'and only to that one');

kill 'USR1', $proxy;
$node->poll_until('both have everything', q{SELECT cache_sync.drain('5 seconds')});
is($slow->command('EXISTS', 'item:1'), 0, 'what it had cached is gone');
cmp_ok($node->safe_psql('postgres', q{SELECT flushes FROM cache_sync.stat_targets WHERE name = 'slow'}), '>', 0, 'because it was flushed');
$slow->command('SET', 'item:2', 'old');
$node->safe_psql('postgres', 'UPDATE item SET n = -1 WHERE id = 2');
$node->drain;
is($slow->command('EXISTS', 'item:2'), 0, 'and it follows again');
kill 'KILL', $proxy;  # the child must not run this test's END blocks
waitpid $proxy, 0;
$node->stop;
done_testing();
