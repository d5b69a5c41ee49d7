# The same writes under two kinds of readers: cache-aside with GET and SET, which must show stale entries or the test is too
# weak, and the fill protocol, which must show none.
use strict;
use warnings;
use POSIX ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my $seed = $ENV{CACHE_SYNC_SEED} // int rand 1_000_000;
note "seed $seed";
my $rows = 12;
my %target = map { $_ => CacheSync::Redis->new(flavour => $_) } qw(redis valkey);
my $node = CacheSync::Cluster->new('main', redis => \%target);
$node->safe_psql('postgres', qq{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    INSERT INTO item SELECT generate_series(1, $rows);
    SELECT cache_sync.register_table('item', 'item:{id}');
    SELECT cache_sync.register_table('item', 'naive:{id}')});
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

my $dir = PostgreSQL::Test::Utils::tempdir('readers');
my @pids;
sub in_child {
    my ($number, $work) = @_;
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        srand($seed + $number);
        my $sql = CacheSync::Sql->new($node);
        eval {
            $work->($sql) until -e "$dir/stop";
            1;
        } or print STDERR "child $number: $@";
        POSIX::_exit(-e "$dir/stop" ? 0 : 1);
    }
    push @pids, $pid;
    return;
}
sub nonce { return sprintf '%06x%06x', rand 2**24, rand 2**24 }
# A reader computes something between its read and its fill: without a pause the race would hardly ever be lost.
sub think { usleep(rand 4000); return }

sub read_naive {
    my ($sql, $redis) = @_;
    my $id = 1 + int rand $rows;
    return if defined $redis->command('GET', "naive:$id");
    my $value = $sql->value("SELECT n FROM item WHERE id = $id");
    think();
    $redis->command('SET', "naive:$id", $value);
    return;
}
sub read_filling {
    my ($sql, $redis) = @_;
    my $id = 1 + int rand $rows;
    my $got = $redis->command('FCALL', 'cs_get', 1, "item:$id", 'postgres', 3000, 0, nonce());
    return unless ref $got && $got->[2] ne '';
    my $value = $sql->value("SELECT n FROM item WHERE id = $id");
    think();
    $redis->command('FCALL', 'cs_fill', 1, "item:$id", 'postgres', $got->[2], $value, 60_000, 120_000, 0, 'P', 0, '');
    return;
}

# In rounds: writers stop, everything is published, and what is cached is compared with the source.
my $number = 0;
my (%stale, %compared);
for my $round (1 .. 6) {
    unlink "$dir/stop";
    for my $writer (1 .. 2) {
        in_child($number++, sub { $_[0]->run('UPDATE item SET n = n + 1 WHERE id = ' . (1 + int rand $rows)); usleep(rand 3000) });
    }
    for my $name (sort keys %target) {
        for my $read (\&read_naive, \&read_filling) {
            my $client;
            in_child($number++, sub { $client //= $target{$name}->client; $read->($_[0], $client) }) for 1 .. 2;
        }
    }
    my $goal = $node->safe_psql('postgres', 'SELECT sum(n) FROM item') + 400;
    $node->poll_until("writes of round $round", "SELECT sum(n) >= $goal FROM item");
    open my $stop, '>', "$dir/stop" or die "stop: $!";
    close $stop;
    for (splice @pids) { waitpid $_, 0; die 'a child failed' if $? }
    $node->drain;
    my %source = map { @$_ } CacheSync::Sql->new($node)->rows('SELECT id, n FROM item');
    for my $name (sort keys %target) {
        for my $id (1 .. $rows) {
            my $naive = $target{$name}->command('GET', "naive:$id");
            if (defined $naive) { $compared{naive}++; $stale{naive}++ if $naive ne $source{$id} }
            my $entry = $target{$name}->command('FCALL', 'cs_get', 1, "item:$id", 'postgres', 1, 0, nonce());
            if (!ref $entry) { $compared{filled}++; $stale{filled}++ if $entry ne $source{$id} }
        }
        # Each round begins with an empty cache, so that stale entries of one are not counted in the next.
        $target{$name}->command('UNLINK', map { ("naive:$_", "item:$_") } 1 .. $rows);
    }
}
note "cache-aside: $stale{naive} of $compared{naive} entries stale; fill protocol: " . ($stale{filled} // 0) . " of $compared{filled}";
cmp_ok($stale{naive} // 0, '>', 0, 'cache-aside leaves stale entries, so the test can see them');
cmp_ok($compared{filled}, '>', 15, 'the fill protocol does fill');
is($stale{filled} // 0, 0, 'and leaves no stale entry');

$node->stop;
done_testing();
