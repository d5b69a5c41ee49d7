# Whatever Redis loses may cost a miss or a refused fill, never a stale hit; and what each side may do there.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PostgreSQL::Test::Utils;
use CacheSync::Protocol;

for my $flavour (qw(redis valkey)) {
    my $node = CacheSync::Protocol->new(flavour => $flavour, conf => ['repl-diskless-sync-delay 0']);
    $node->arm;
    subtest "$flavour: lost keys" => sub { lost_keys($node) };
    subtest "$flavour: lost functions" => sub { lost_functions($node) };
    subtest "$flavour: restart with an old image" => sub { restart($node) };
    subtest "$flavour: promoted replica" => sub { promoted_replica($node, $flavour) };
    subtest "$flavour: least rights" => sub { least_rights($node) };
    subtest "$flavour: memory full" => sub { memory_full($node) };
}
done_testing();

sub lost_keys {
    my ($node) = @_;
    my $redis = $node->server;
    my %loss = (
        DEL => sub { $redis->command('DEL', 'k') },
        UNLINK => sub { $redis->command('UNLINK', 'k') },
        FLUSHALL => sub { $redis->command('FLUSHALL') },
        FLUSHDB => sub { $redis->command('FLUSHDB', 'ASYNC') },
        expiry => sub { $redis->command('PEXPIRE', 'k', 0) },
        'lost lease field' => sub { $redis->command('HDEL', 'k', 't') },
        overwritten => sub { $redis->command('DEL', 'k'); $redis->command('HSET', 'k', 't', 'rubbish') },
    );
    for my $name (sort keys %loss) {
        is($node->cache('k', 'v', soft => 0), 'OK', "$name: an entry");
        my $got = $node->get('k');
        isnt($got->{token}, '', 'under refresh');
        $loss{$name}->();
        is($node->fill('k', $got->{token}, 'late'), 'LOST', 'the fill in flight is refused');
        $redis->command('DEL', 'k');
        my $next = $node->get('k');
        is($next->{state}, 'M', 'a read misses');
        isnt($next->{token}, '', 'and is elected');
        is($node->fill('k', $got->{token}, 'late'), 'LOST', 'the old token does not fill under the new lease');
        is($node->fill('k', $next->{token}, 'new'), 'OK', 'the new one does');
        $redis->command('DEL', 'k');
    }
    $node->cache('half', 'v');
    $redis->command('HDEL', 'half', 'v');
    is($node->get('half')->{state}, 'M', 'an entry without its value is a miss');
    $node->inval('unseen', lsn => $node->lsn + 100);
    $redis->command('FLUSHALL');
    my $got = $node->get('unseen');
    is($node->fill('unseen', $got->{token}, 'old', fence => 'R' . $node->lsn), 'FENCE', 'a standby fill is judged by the watermark, which no key holds');
    return;
}

sub lost_functions {
    my ($node) = @_;
    $node->cache('f', 'v');
    my $lease = $node->get('g');
    my $id = $node->stat->{id};
    $node->server->command('FUNCTION', 'FLUSH');
    like($node->get('f')->{error}, qr/Function not found/, 'without the library every call is an error');
    $node->load;
    is($node->get('f')->{state}, 'B', 'loaded again a read bypasses');
    is($node->get('f', stale => 60_000)->{state}, 'B', 'stale values too');
    is($node->fill('g', $lease->{token}, 'v'), 'UNARMED', 'a fill is refused');
    like($node->inval('f'), qr/^UNARMED /, 'the publisher hears of it');
    is($node->arm->[0], 'NEW', 'armed again');
    isnt($node->stat->{id}, $id, 'under a new id');
    is($node->fill('g', $lease->{token}, 'v'), 'LOST', 'tokens of before are dead');
    is($node->get('f', stale => 60_000)->{state}, 'M', 'entries too');
    my $got = $node->get('g');
    is($got->{state}, 'M', 'the dead lease');
    isnt($got->{token}, '', 'blocks nobody');
    is($node->fill('g', $got->{token}, 'v'), 'OK', 'a new fill is accepted');
    $node->load;
    is($node->get('g')->{state}, 'B', 'replacing the library forgets the same way');
    $node->arm;
    return;
}

sub restart {
    my ($node) = @_;
    my $redis = $node->server;
    $node->cache('r', 'old', tags => 't');
    $node->cache('r2', 'old');
    my $lease = $node->get('r3', lease => 60_000);
    $redis->command('SAVE');
    is($node->inval('r'), 1, 'invalidated after the image was taken');
    $redis->kill9;
    $redis->start;
    is($redis->command('HGET', 'r', 'v'), 'old', 'the old value is back');
    is($node->get('r')->{state}, 'B', 'but a read bypasses it');
    is($node->get('r', stale => 60_000)->{state}, 'B', 'however old it may be');
    is($node->fill('r3', $lease->{token}, 'v'), 'UNARMED', 'an old lease is not filled');
    like($node->inval('r'), qr/^UNARMED /, 'the publisher hears of it');
    is($node->put('r', 'v') =~ /^UNARMED /, 1, 'for each command');
    is($node->arm->[0], 'NEW', 'armed');
    is($node->get($_)->{state}, 'M', "$_ is cold") for qw(r r2);
    is($node->fill('r3', $lease->{token}, 'v'), 'LOST', 'the old lease is dead');
    is($node->get('r', stale => 60_000)->{state}, 'M', 'nothing of before is served');
    return;
}

sub promoted_replica {
    my ($node, $flavour) = @_;
    my $replica = CacheSync::Redis->new(flavour => $flavour);
    my $port = $node->server->port;
    $node->cache('old', 'v');
    $replica->command('REPLICAOF', '127.0.0.1', $port);
    poll(sub { $replica->info('replication')->{master_link_status} eq 'up' });
    $node->cache('late', 'v');
    $node->server->command('WAIT', 1, 5000);
    is($replica->command('EXISTS', 'old', 'late'), 2, 'a replica has the entries');
    my @get = ('FCALL', 'cs_get', 1, 'old', 'shop', 3000, 0, 'n');
    like($replica->reply(@get), qr/^READONLY /, 'it answers no protocol read');
    $replica->command('REPLICAOF', 'NO', 'ONE');
    is($replica->command(@get)->[0], 'B', 'promoted, it bypasses until armed');
    my $epoch = $node->epoch + 1;
    like($replica->reply('FCALL', 'cs_inval', 1, 'old', 'shop', $epoch, 1, 0, 0), qr/^UNARMED /, 'its publisher must arm it');
    $replica->command('FCALL', 'cs_arm', 0, 'shop', $epoch, CacheSync::Protocol::new_id(), 1, '', 0, '', 0);
    is($replica->command(@get)->[0], 'M', 'then entries of the old primary are misses');
    is($replica->command('HGET', 'late', 'v'), 'v', 'though they are there');
    $replica->stop;
    return;
}

# The lines that PROTOCOL.md recommends, with the names filled in.
sub least_rights {
    my ($node) = @_;
    my %user;
    for my $name (qw(reader publisher)) {
        my @rules = acl_rules($name);
        ok(@rules > 5, "PROTOCOL.md has the rules of the $name");
        is($node->server->command('ACL', 'SETUSER', $name, @rules), 'OK', "accepted");
        $user{$name} = $node->server->client;
        $user{$name}->command('AUTH', $name, 'secret');
    }
    my $reader = sub { $user{reader}->reply('FCALL', @_) };
    my $got = $reader->('cs_get', 1, 'shop:a', 'shop', 3000, 0, 'n');
    is($got->[0], 'M', 'a reader reads');
    is($reader->('cs_drop', 1, 'shop:a', 'shop', $got->[2]), 1, 'drops');
    $got = $reader->('cs_get', 1, 'shop:a', 'shop', 3000, 0, 'n');
    is($reader->('cs_fill', 1, 'shop:a', 'shop', $got->[2], 'v', 0, 2000, 5, 'P', 0, 't')->[1], 'OK', 'fills');
    $got = $reader->('cs_get', 1, 'shop:a', 'shop', 3000, 0, 'n');
    is($got->[0], 'H', 'refreshes');
    my $epoch = $node->epoch;
    like($reader->('cs_get', 1, 'other:a', 'shop', 3000, 0, 'n'), qr/^NOPERM /, 'only its keys');
    for my $call ([ 'cs_arm', 0, 'shop', $epoch + 1, 'x', 1, '', 0, '', 1 ], [ 'cs_inval', 1, 'shop:a', 'shop', $epoch, 1, 0, 0 ],
        [ 'cs_put', 1, 'shop:a', 'shop', $epoch, 1, 'v', 1, 2, 0, 0, 0, '' ], [ 'cs_tag', 0, 'shop', $epoch, 1, 't' ]) {
        like($reader->(@$call), qr/^NOPERM /, "no $call->[0]");
    }
    like($user{reader}->reply(@$_), qr/^NOPERM /, "no $_->[0]") for [ 'FUNCTION', 'FLUSH' ], [ 'GET', 'shop:a' ], ['FLUSHALL'], [ 'UNLINK', 'shop:a' ];

    my $publisher = sub { $user{publisher}->reply('FCALL', @_) };
    is(scalar @{ $user{publisher}->command('FUNCTION', 'LIST', 'LIBRARYNAME', 'cache_sync', 'WITHCODE') }, 1, 'a publisher sees the library');
    is($user{publisher}->command('FUNCTION', 'LOAD', 'REPLACE', CacheSync::Protocol::library()), 'cache_sync', 'loads it');
    my $lsn = $node->lsn + 1;
    is($publisher->('cs_arm', 0, 'shop', $epoch, CacheSync::Protocol::new_id(), $lsn, '', 0, '1:1:', 0)->[0], 'NEW', 'arms');
    is($publisher->('cs_put', 1, 'shop:a', 'shop', $epoch, $lsn, 'v', 1000, 2000, 0, 0, 1, 't')->[1], 'OK', 'puts');
    is($publisher->('cs_inval', 1, 'shop:a', 'shop', $epoch, $lsn, 1000, 1000), 1, 'invalidates and keeps');
    is($publisher->('cs_inval', 2, 'shop:a', 'shop:b', 'shop', $epoch, $lsn, 0, 0), 2, 'invalidates');
    is($publisher->('cs_tag', 0, 'shop', $epoch, $lsn, 't'), 1, 'bumps');
    is($user{publisher}->command('FCALL_RO', 'cs_stat', 0, 'shop')->[1], $epoch, 'looks at the node');
    is($user{publisher}->command('FCALL_RO', 'cs_peek', 1, 'shop:a', 'shop')->[0], 0, 'and at keys');
    is($user{publisher}->command('UNLINK', 'shop:a'), 0, 'deletes plain keys');
    is(scalar @{ $user{publisher}->command('SCAN', 0, 'MATCH', 'shop:*') }, 2, 'walks them');
    like($user{publisher}->command('INFO', 'server'), qr/^run_id:/m, 'sees restarts');
    is($user{publisher}->command('PUBLISH', 'cs:inv:shop', '{}'), 0, 'announces');
    like($user{publisher}->command('XADD', 'cs:log:shop', 'MAXLEN', '~', 1000, '*', 'r', '{}'), qr/^\d+-\d+$/, 'and logs');
    like($user{publisher}->reply(@$_), qr/^NOPERM /, "no $_->[0]")
      for [ 'GET', 'shop:a' ], [ 'UNLINK', 'other:a' ], [ 'FUNCTION', 'FLUSH' ], [ 'CONFIG', 'GET', '*' ], ['FLUSHALL'], [ 'PUBLISH', 'x', 'y' ];
    $node->server->command('ACL', 'DELUSER', 'reader', 'publisher');
    return;
}

sub acl_rules {
    my ($user) = @_;
    open my $in, '<', CacheSync::Protocol::beside_library('PROTOCOL.md') or die "PROTOCOL.md: $!";
    my ($line) = grep { /^ACL SETUSER $user / } <$in>;
    return unless defined $line;
    return (split ' ', $line)[ 3 .. (split ' ', $line) - 1 ];
}

sub memory_full {
    my ($node) = @_;
    my $redis = $node->server;
    $node->arm(flush => 1);
    $redis->command('FLUSHALL');
    $node->cache('cached', 'v');
    my $lease = $node->get('wanted', lease => 60_000);
    $redis->command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction', 'maxmemory', 1);
    like($redis->reply('SET', 'x', 'y'), qr/^OOM /, 'memory is full');
    is($node->get('cached')->{state}, 'hit', 'hits go on');
    like($node->fill('wanted', $lease->{token}, 'v'), qr/^OOM /, 'fills are refused');
    like($node->put('cached', 'v'), qr/^OOM /, 'puts too');
    is($node->call('cs_drop', ['wanted'], 'shop', $lease->{token}), 1, 'a lease can be given up');
    is($node->get('missing')->{state}, 'M', 'misses are answered');
    is($node->arm->[0], 'KEPT', 'heartbeats work');
    ok($node->tag('t') > 0, 'tags work');
    is($node->inval('cached', keep => 1000, tomb => 1000), 1, 'invalidation works, whatever it keeps');
    is($node->get('cached')->{state}, 'M', 'and counts');
    is($node->inval([ map { "many$_" } 1 .. 10_000 ]), 10_000, 'for many keys too');
    $redis->command('CONFIG', 'SET', 'maxmemory', 0);

    $redis->command('CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru');
    my $late = $node->get('evicted', lease => 60_000);
    $node->cache("fill:$_", 'x' x 1000) for 1 .. 300;
    $redis->command('CONFIG', 'SET', 'maxmemory', $redis->info('memory')->{used_memory} - 200_000);
    poll(sub { $redis->info('stats')->{evicted_keys} > 50 });
    my %states;
    $states{ $node->get("fill:$_")->{state} }++ for 1 .. 300;
    ok($states{M} && $states{hit}, "an eviction is a miss: $states{M} of 300");
    is(scalar keys %states, 2, 'or nothing');
    $redis->command('CONFIG', 'SET', 'maxmemory', 0);
    return;
}

sub poll {
    my ($condition) = @_;
    my $deadline = time + 20;
    until ($condition->()) {
        die 'the condition did not come true' if time > $deadline;
        select undef, undef, undef, 0.01;
    }
    return;
}
