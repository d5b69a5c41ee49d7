# The reader's side of the fill protocol: leases, fills, states, life times, read-your-writes.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use CacheSync::Protocol;

for my $flavour (qw(redis valkey)) {
    my $node = CacheSync::Protocol->new(flavour => $flavour);
    subtest "$flavour: unarmed" => sub { unarmed($node) };
    $node->arm;
    subtest "$flavour: lease and fill" => sub { lease_and_fill($node) };
    subtest "$flavour: one filler per key" => sub { one_filler($node) };
    subtest "$flavour: life times" => sub { life_times($node) };
    subtest "$flavour: early refresh" => sub { early_refresh($node) };
    subtest "$flavour: cached absence" => sub { cached_absence($node) };
    subtest "$flavour: keys of others" => sub { keys_of_others($node) };
    subtest "$flavour: any bytes" => sub { any_bytes($node) };
    subtest "$flavour: peek" => sub { peek($node) };
    subtest "$flavour: published transactions" => sub { published_transactions($node) };
    subtest "$flavour: wrong calls" => sub { wrong_calls($node) };
}
done_testing();

sub unarmed {
    my ($node) = @_;
    my $got = $node->get('a');
    is("@$got{qw(state value token ms need)}", 'B   0 ', 'a read bypasses and leases nothing');
    is($node->server->command('EXISTS', 'a'), 0, 'no key was made');
    is($node->fill('a', 'x.0.1.n', 'v'), 'UNARMED', 'a fill is refused');
    is($node->stat->{id}, '', 'there is no node id');
    is($node->peek('a')->{valid}, 0, 'nothing is valid');
    return;
}

sub lease_and_fill {
    my ($node) = @_;
    my $got = $node->get('a', lease => 3000, nonce => 'n0nce-_1');
    is($got->{state}, 'M', 'first read misses');
    my $id = $node->stat->{id};
    like($got->{token}, qr/^\Q$id\E\.0\.\d{16}\.n0nce-_1$/, 'token is id, counter, microseconds and nonce');
    is($got->{ms}, 3000, 'with the length of the lease');
    is($got->{need}, $node->lsn, 'and the LSN that a standby must have reached');
    is($node->server->command('PTTL', 'a') <= 3000, 1, 'the key lives as long as the lease');
    is($node->fill('a', $got->{token} . 'x', 'v'), 'LOST', 'another token does not fill');
    is($node->fill('a', $got->{token}, 'v1'), 'OK', 'the token fills');
    is_deeply($node->call('cs_get', ['a'], 'shop', 3000, 0, 'n'), 'v1', 'a hit is a plain bulk string');
    is($node->fill('a', $got->{token}, 'v2'), 'LOST', 'a token fills once');
    is($node->get('a')->{value}, 'v1', 'the value stands');

    $got = $node->get('b');
    is($node->call('cs_drop', ['b'], 'shop', 'other'), 0, 'only the holder gives a lease up');
    is($node->call('cs_drop', ['b'], 'shop', $got->{token}), 1, 'the holder does');
    is($node->server->command('EXISTS', 'b'), 0, 'and nothing stays behind');
    is($node->call('cs_drop', ['b'], 'shop', $got->{token}), 0, 'once');
    isnt($node->get('b')->{token}, '', 'the next reader is elected at once');
    return;
}

sub one_filler {
    my ($node) = @_;
    my @replies = $node->server->pipeline(map { [ 'FCALL', 'cs_get', 1, 'herd', 'shop', 3000, 0, "n$_" ] } 1 .. 150);
    my @got = map { CacheSync::Protocol::decoded($_) } @replies;
    is(scalar(grep { $_->{token} ne '' } @got), 1, 'of 150 readers one may fill');
    is(scalar(grep { $_->{state} eq 'M' && $_->{token} eq '' && $_->{ms} > 0 } @got), 149, 'the others learn how long to wait');
    my ($first) = grep { $_->{token} ne '' } @got;

    my $late = $node->get('slow', lease => 5);
    my $next = $node->wait_for(elected => sub { my $got = $node->get('slow', lease => 3000); $got->{state} = 'elected' if $got->{token} ne ''; $got });
    isnt($next->{token}, '', 'a lease that expired goes to the next');
    is($node->fill('slow', $late->{token}, 'old'), 'LOST', 'its late fill is refused');
    is($node->fill('slow', $next->{token}, 'new'), 'OK', 'the new one is not');
    is($node->fill('herd', $first->{token}, 'v'), 'OK', 'the herd gets its value');

    is($node->cache('kept', 'v', soft => 0), 'OK', 'an entry under refresh outlives the lease');
    my $slow = $node->get('kept', lease => 1);
    my ($expiry) = split ' ', $node->peek('kept')->{lease};
    my $now;
    do { my $time = $node->server->command('TIME'); $now = $time->[0] * 1000 + int $time->[1] / 1000 } until $now > $expiry;
    is($node->fill('kept', $slow->{token}, 'late'), 'LOST', 'its late fill is refused all the same');
    return;
}

sub life_times {
    my ($node) = @_;
    is($node->cache('soft', 'v', soft => 1, hard => 60_000), 'OK', 'filled with a short soft life');
    my $got = $node->wait_for(H => sub { $node->get('soft') });
    is("$got->{state} $got->{value}", 'H v', 'past it one reader gets the fresh value and the lease');
    isnt($got->{token}, '', 'a token comes with it');
    is($node->get('soft')->{state}, 'hit', 'the others just hit');
    is($node->fill('soft', $got->{token}, 'w'), 'OK', 'the refresh is accepted');
    is($node->get('soft')->{value}, 'w', 'and read');

    is($node->cache('hard', 'v', soft => 10, hard => 20), 'OK', 'filled with a short hard life');
    is($node->wait_for(M => sub { $node->get('hard', lease => 1, beta => 0) })->{state}, 'M', 'past it a read misses');

    my %lives;
    for (1 .. 200) {
        $node->server->command('UNLINK', 'jitter');
        $node->cache('jitter', 'v', hard => 100_000);
        $lives{ int($node->server->command('PTTL', 'jitter') / 1000) }++;
    }
    my @seconds = sort { $a <=> $b } keys %lives;
    ok($seconds[0] >= 89 && $seconds[-1] <= 110, "the hard life is spread by a tenth: $seconds[0] to $seconds[-1] s");
    cmp_ok(scalar @seconds, '>=', 10, 'evenly enough');
    return;
}

sub early_refresh {
    my ($node) = @_;
    my $elected = sub {
        my ($key, $beta) = @_;
        my $count = 0;
        for (1 .. 300) {
            my $got = $node->get($key, beta => $beta);
            next if $got->{token} eq '';
            $count++;
            $node->call('cs_drop', [$key], 'shop', $got->{token});
        }
        return $count;
    };
    $node->cache('far', 'v', soft => 1_000_000, hard => 2_000_000, delta => 1000);
    is($elected->('far', 1), 0, 'nobody refreshes long before the soft expiry');
    $node->cache('near', 'v', soft => 100_000, hard => 200_000, delta => 100_000);
    my $near = $elected->('near', 1);
    ok($near > 60 && $near < 170, "close to it some do ($near of 300, 110 expected)");
    $node->cache('middle', 'v', soft => 250_000, hard => 500_000, delta => 100_000);
    cmp_ok($elected->('middle', 1), '>', 0, 'two and a half deltas ahead a few');
    is($elected->('near', 0), 0, 'beta 0 switches that off');
    cmp_ok($elected->('near', 3.5), '>', $near, 'a larger beta refreshes earlier');

    my $got;
    do { $got = $node->get('near') } while $got->{token} eq '';
    is(scalar(grep { $node->get('near')->{token} ne '' } 1 .. 50), 0, 'while one refreshes nobody else is elected');
    is($node->inval('near'), 1, 'an invalidation during the refresh');
    is($node->fill('near', $got->{token}, 'old'), 'LOST', 'refuses it');
    return;
}

sub cached_absence {
    my ($node) = @_;
    is($node->cache('none', '', neg => 1, soft => 60_000), 'OK', 'an absence is cached');
    is_deeply([ @{ $node->get('none') }{qw(state value token)} ], [ 'N', '', '' ], 'and read as such');
    like($node->cache('none2', 'v', neg => 1), qr/^ERR cs_fill: /, 'an absence with a value is an error');
    is($node->cache('empty', ''), 'OK', 'an empty value is something else');
    is($node->get('empty')->{state}, 'hit', 'a hit');
    is($node->cache('none3', '', neg => 1, soft => 0), 'OK', 'an absence past its soft life');
    my $got = $node->get('none3');
    is($got->{state}, 'N', 'is still an absence');
    isnt($got->{token}, '', 'with a token');
    is($node->fill('none3', $got->{token}, 'born'), 'OK', 'which may fill a value');
    is($node->get('none3')->{value}, 'born', 'that is found then');
    return;
}

sub keys_of_others {
    my ($node) = @_;
    my $redis = $node->server;
    $redis->command('SET', 'text', 'theirs');
    $redis->command('HSET', 'record', 'name', 'theirs');
    $redis->command('HSET', 'letters', 't', 'theirs', 'l', 'x');
    $redis->command('HSET', 'meta', 'm', 'theirs and long enough to look like a header', 'v', 'x');
    for my $key (qw(text record letters meta)) {
        like($node->get($key)->{error}, qr/^WRONGTYPE /, "cs_get of $key is an error");
        like($node->put($key, 'mine'), qr/^WRONGTYPE /, "cs_put too");
        is($redis->command('PTTL', $key), -1, 'the key is left as it was');
    }
    is($redis->command('HGET', 'letters', 't'), 'theirs', 'with its fields');
    is($node->fill('text', $node->stat->{id} . '.0.1.n', 'v') =~ /^WRONGTYPE /, 1, 'nor is it filled');
    is($node->inval([qw(text record letters meta)], keep => 1000), 4, 'an invalidation removes such keys, as DEL would');
    is($redis->command('EXISTS', qw(text record letters meta)), 0, 'all of them');
    return;
}

sub any_bytes {
    my ($node) = @_;
    my $key = "k\r\n\0\xff {x} ";
    my $value = join '', map { chr } 0 .. 255;
    is($node->cache($key, $value x 20, tags => "t\r\n\0\xff"), 'OK', 'key, value and tag of any bytes');
    is($node->get($key)->{value}, $value x 20, 'come back as they were');
    is($node->peek($key)->{length}, 5120, 'length is in bytes');
    $node->tag("t\r\n\0\xfe");
    is($node->get($key)->{state}, 'hit', 'a tag that differs in a byte is another');
    $node->tag("t\r\n\0\xff");
    is($node->get($key)->{state}, 'M', 'the tag itself kills the entry');
    $node->inval($key);
    is($node->cache($key, 'v'), 'OK', 'filled again');
    is($node->inval($key), 1, 'invalidated');
    is($node->server->command('EXISTS', $key), 0, 'and gone');
    is($node->cache('big', 'x' x 5_000_000), 'OK', 'a value of 5 MB');
    is(length $node->get('big')->{value}, 5_000_000, 'comes back whole');
    return;
}

sub peek {
    my ($node) = @_;
    my $id = $node->stat->{id};
    my $n = $node->stat->{n};
    my $need = $node->stat->{cur};
    $node->cache('p', 'value', tags => 'x,y', soft => 60_000, hard => 100_000, delta => 7);
    my $peek = $node->peek('p');
    is($peek->{valid}, 1, 'valid');
    like($peek->{meta}, qr/^$n \d{13} 7 0 2 $id $need 0 x,y$/, 'counter, soft expiry, delta, stale since, flags, id, need, ver, tags');
    is("$peek->{lease}|$peek->{tomb}|$peek->{length}", '||5', 'no lease, no tombstone, five bytes');
    ok($peek->{pttl} > 80_000 && $peek->{pttl} <= 110_000, 'and the time to live');
    $node->tag('y');
    is($node->peek('p')->{valid}, 0, 'a bumped tag makes it invalid');
    my $got = $node->get('p');
    my $lsn = $node->lsn;
    like($node->peek('p')->{lease}, qr/^\d{13} $lsn \Q$got->{token}\E$/, 'a lease shows its expiry, need and token');
    is($node->peek('nothing')->{pttl}, -2, 'no key');
    return;
}

sub published_transactions {
    my ($node) = @_;
    $node->cache('x', 'v');
    is($node->get('x', xid => 100)->{state}, 'B', 'nothing is known to be published');
    is($node->get('x', xid => '')->{state}, 'hit', 'an empty xid asks for nothing');
    $node->arm(done => '100:105:101,103');
    my %state = (99 => 'hit', 100 => 'hit', 101 => 'B', 102 => 'hit', 103 => 'B', 104 => 'hit', 105 => 'B', 1000 => 'B', 9 => 'hit');
    is($node->get('x', xid => $_)->{state}, $state{$_}, "xid $_ against 100:105:101,103") for sort { $a <=> $b } keys %state;
    $node->arm;
    is($node->get('x', xid => 104)->{state}, 'hit', 'a heartbeat without a snapshot keeps the last one');
    $node->arm(done => '18446744073709551610:18446744073709551614:');
    is($node->get('x', xid => '18446744073709551613')->{state}, 'hit', 'xids beyond 2^53 are exact');
    is($node->get('x', xid => '18446744073709551614')->{state}, 'B', 'to the last digit');
    $node->arm(flush => 1);
    is($node->get('x', xid => 9)->{state}, 'B', 'a flush forgets what was published');
    return;
}

sub wrong_calls {
    my ($node) = @_;
    my $before = $node->stat;
    my @get = ('shop', 3000, 0, 'nonce');
    my @fill = ('shop', 'tok', 'v', 1, 2, 3, 'P', 0, '');
    my @arm = ('shop', 1, 'abc', 1, '', 0, '', 0);
    my @put = ('shop', 1, 1, 'v', 1, 2, 3, 0, 0, '');
    my $with = sub { my ($list, $at, $value) = @_; my @new = @$list; $new[$at] = $value; return \@new };
    my @cases = (
        [ 'cs_get', 0, \@get, 'keys' ], [ 'cs_get', 2, \@get, 'keys' ], [ 'cs_get', 1, [ 'shop', 1, 0 ], 'arguments' ],
        [ 'cs_get', 1, [ @get, '', 1, 1 ], 'arguments' ], [ 'cs_get', 1, $with->(\@get, 0, ''), 'src' ],
        (map { [ 'cs_get', 1, $with->(\@get, 1, $_), 'lease_ms' ] } '', 0, -1, '1.5', '1e3', '0x10', ' 5', 'nan', 'inf', '9' x 30),
        [ 'cs_get', 1, $with->(\@get, 2, 'x'), 'max_stale_ms' ], [ 'cs_get', 1, $with->(\@get, 3, ''), 'nonce' ],
        [ 'cs_get', 1, $with->(\@get, 3, 'a b'), 'nonce' ], [ 'cs_get', 1, $with->(\@get, 3, "a\0"), 'nonce' ],
        [ 'cs_get', 1, [ @get, '1x' ], 'xid' ], [ 'cs_get', 1, [ @get, '', '-1' ], 'beta' ], [ 'cs_get', 1, [ @get, '', 'e' ], 'beta' ],
        [ 'cs_fill', 1, [ @fill[ 0 .. 7 ] ], 'arguments' ], [ 'cs_fill', 1, $with->(\@fill, 3, ''), 'soft_ms' ],
        [ 'cs_fill', 1, $with->(\@fill, 4, 0), 'hard_ms' ], [ 'cs_fill', 1, $with->(\@fill, 5, 2**32), 'delta_ms' ],
        (map { [ 'cs_fill', 1, $with->(\@fill, 6, $_), 'fence' ] } '', 'R', 'Q1', 'P1x', 'R-1', 'R 1', 'p'),
        [ 'cs_fill', 1, $with->(\@fill, 7, 2), 'neg' ], [ 'cs_drop', 1, ['shop'], 'arguments' ], [ 'cs_peek', 1, [], 'arguments' ],
        [ 'cs_arm', 1, \@arm, 'keys' ], [ 'cs_arm', 0, $with->(\@arm, 1, 2**53), 'epoch' ], [ 'cs_arm', 0, $with->(\@arm, 2, 'a.b'), 'id' ],
        [ 'cs_arm', 0, $with->(\@arm, 3, '0/1'), 'lsn' ], [ 'cs_arm', 0, $with->(\@arm, 4, 'x'), 'floor' ],
        [ 'cs_arm', 0, $with->(\@arm, 6, '1:2'), 'done' ], [ 'cs_arm', 0, $with->(\@arm, 7, 'yes'), 'flush' ],
        [ 'cs_inval', 0, [ 'shop', 1, 1, 0, 0 ], 'keys' ], [ 'cs_inval', 1, [ 'shop', 1, '', 0, 0 ], 'lsn' ],
        [ 'cs_inval', 1, [ 'shop', 1, 1, 0 ], 'arguments' ], [ 'cs_inval', 1, [ 'shop', 1, 1, 'x', 0 ], 'tomb_ms' ],
        [ 'cs_put', 1, $with->(\@put, 8, ''), 'ver' ], [ 'cs_put', 1, $with->(\@put, 7, 1), 'value' ],
        [ 'cs_tag', 0, [ 'shop', 1, 1 ], 'arguments' ], [ 'cs_stat', 0, [], 'arguments' ],
        [ 'cs_take', 1, [1], 'keys' ], [ 'cs_take', 2, ['x'], 'batch' ], [ 'cs_ack', 1, [''], 'batch' ],
        [ 'cs_sget', 1, [ 0, 'n' ], 'lease_ms' ], [ 'cs_sset', 1, [ 't', 'v', 0 ], 'life_ms' ],
    );
    for my $case (@cases) {
        my ($name, $keys, $arguments, $names) = @$case;
        my $reply = $node->call($name, [ map { "wrong$_" } 1 .. $keys ], @$arguments);
        my $text = $name . '(' . join(',', map { s/[^ -~]/?/gr } @$arguments) . ')';
        like("$reply", qr/^ERR $name: .*$names/, "$text names $names");
    }
    is($node->server->command('EXISTS', 'wrong1', 'wrong2'), 0, 'no key came of it');
    is_deeply($node->stat, $before, 'nor did the node change');
    return;
}
