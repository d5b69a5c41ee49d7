# Write-behind counters are neither lost nor counted twice; plain strings with a lease inside.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PostgreSQL::Test::Utils;
use CacheSync::Protocol;

for my $flavour (qw(redis valkey)) {
    my $node = CacheSync::Protocol->new(flavour => $flavour);
    subtest "$flavour: take and acknowledge" => sub { take_and_acknowledge($node) };
    subtest "$flavour: what is no batch" => sub { no_batch($node) };
    subtest "$flavour: a worker that dies anywhere" => sub { dying_worker($node) };
    subtest "$flavour: plain strings" => sub { plain_strings($node) };
}
done_testing();

sub take { my ($node, $batch) = @_; return $node->call('cs_take', [ '{0}:live', '{0}:drain' ], $batch) }
sub ack { my ($node, $batch) = @_; return $node->call('cs_ack', ['{0}:drain'], $batch) }
sub count { my ($node, $name, $by) = @_; return $node->server->command('HINCRBY', '{0}:live', $name, $by) }

sub take_and_acknowledge {
    my ($node) = @_;
    is_deeply(take($node, 1), [], 'nothing counted, nothing to take');
    is($node->server->command('EXISTS', '{0}:drain'), 0, 'and no batch opened');
    count($node, 'views', 5);
    count($node, "odd\r\n\0\xff", -2);
    is_deeply({ @{ take($node, 1) } }, { views => 5, "odd\r\n\0\xff" => -2, '#' => 1 }, 'what was counted, with the number of the batch');
    count($node, 'views', 7);
    is_deeply({ @{ take($node, 2) } }, { views => 5, "odd\r\n\0\xff" => -2, '#' => 1 }, 'an unfinished batch comes again, with its own number');
    is(ack($node, 2), 0, 'another number acknowledges nothing');
    is(ack($node, 1), 1, 'its own does');
    is(ack($node, 1), 0, 'once');
    is_deeply({ @{ take($node, '18446744073709551615') } }, { views => 7, '#' => '18446744073709551615' }, 'then what came since');
    is(ack($node, '18446744073709551615'), 1, 'numbers are exact');
    return;
}

sub no_batch {
    my ($node) = @_;
    my $redis = $node->server;
    $redis->command('SET', '{0}:live', 'text');
    like(take($node, 3), qr/^WRONGTYPE /, 'a live key of another type');
    is($redis->command('GET', '{0}:live'), 'text', 'is not moved');
    $redis->command('UNLINK', '{0}:live');
    $redis->command('SET', '{0}:drain', 'text');
    like(take($node, 3), qr/^WRONGTYPE /, 'nor one in the place of the batch');
    like(ack($node, 3), qr/^WRONGTYPE /, 'nor acknowledged');
    $redis->command('UNLINK', '{0}:drain');
    $redis->command('HSET', '{0}:drain', 'views', 1);
    like(take($node, 3), qr/^ERR cs_take: /, 'a hash without a number is no batch');
    is(ack($node, 3), 0, 'and stays');
    $redis->command('UNLINK', '{0}:drain');
    return;
}

# The table of the database: the total, and the number of the last batch, changed together.
sub dying_worker {
    my ($node) = @_;
    my ($counted, $total, $last, $deaths) = (0, 0, 0, 0);
    my $dies = sub { my $yes = rand() < 0.3; $deaths++ if $yes; return $yes };
    for (1 .. 400) {
        if (rand() < 0.7) { my $by = 1 + int rand 9; count($node, 'n', $by); $counted += $by }
        my %batch = @{ take($node, $last + 1) };
        next unless %batch;
        next if $dies->();
        if ($batch{'#'} > $last) { $total += $batch{n}; $last = $batch{'#'} }
        next if $dies->();
        ack($node, $batch{'#'});
    }
    while (my %batch = @{ take($node, $last + 1) }) {
        if ($batch{'#'} > $last) { $total += $batch{n}; $last = $batch{'#'} }
        ack($node, $batch{'#'});
    }
    is($total, $counted, "$counted counted, all found, after $deaths deaths");
    cmp_ok($deaths, '>', 50, 'the worker died often enough');
    return;
}

sub plain_strings {
    my ($node) = @_;
    my $redis = $node->server;
    my $read = sub { my %got; @got{qw(state value token ms)} = @{ $node->call('cs_sget', ['s'], $_[0] // 3000, CacheSync::Protocol::nonce()) }; return \%got };
    my $write = sub { $node->call('cs_sset', ['s'], @_) };
    my $got = $read->();
    is("$got->{state} $got->{ms}", 'M 3000', 'a miss');
    like($redis->command('GET', 's'), qr/^\0cs:/, 'leaves the lease in the key');
    my $second = $read->();
    is("$second->{state} $second->{token}", 'M ', 'the next reader waits');
    ok($second->{ms} > 0 && $second->{ms} <= 3000, 'for as long as the lease');
    is($write->('wrong', 'v', 1000), 0, 'another token does not write');
    like($write->($got->{token}, "\0cs:x", 1000), qr/^ERR cs_sset: /, 'a value like a lease is refused');
    is($write->($got->{token}, "v\0\xff", 60_000), 1, 'its own does');
    is($write->($got->{token}, 'again', 1000), 0, 'once');
    is($redis->command('GET', 's'), "v\0\xff", 'a plain GET finds the value');
    ok($redis->command('PTTL', 's') > 50_000, 'with its life');
    $got = $read->();
    is_deeply([ @$got{qw(state value token)} ], [ 'H', "v\0\xff", '' ], 'so does the next reader');
    $redis->command('UNLINK', 's');
    $got = $read->();
    $redis->command('UNLINK', 's');
    is($write->($got->{token}, 'old', 1000), 0, 'an invalidation ends the lease');
    is($redis->command('EXISTS', 's'), 0, 'and nothing is written');
    $got = $read->(1);
    my $next = $node->wait_for(elected => sub { my $new = $read->(); $new->{state} = 'elected' if $new->{token} ne ''; $new });
    isnt($next->{token}, '', 'a lease ends by itself');
    is($write->($got->{token}, 'old', 1000), 0, 'then its holder is late');
    $redis->command('UNLINK', 's');
    $redis->command('HSET', 's', 'f', 'v');
    like($node->call('cs_sget', ['s'], 1000, 'n'), qr/^WRONGTYPE /, 'a hash is no plain string');
    return;
}
