# The publisher's side of the fill protocol: arming, epochs, invalidation, tags, fences, write-through.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PostgreSQL::Test::Utils;
use CacheSync::Protocol;

for my $flavour (qw(redis valkey)) {
    my $node = CacheSync::Protocol->new(flavour => $flavour);
    subtest "$flavour: arm" => sub { arm($node) };
    subtest "$flavour: epochs" => sub { epochs($node) };
    subtest "$flavour: invalidation" => sub { invalidation($node) };
    subtest "$flavour: many keys" => sub { many_keys($node) };
    subtest "$flavour: fence" => sub { fence($node) };
    subtest "$flavour: kept stale values" => sub { kept_stale($node) };
    subtest "$flavour: tombstones" => sub { tombstones($node) };
    subtest "$flavour: tags" => sub { tags($node) };
    subtest "$flavour: tag table" => sub { tag_table($node) };
    subtest "$flavour: heartbeat" => sub { heartbeat($node) };
    subtest "$flavour: write-through" => sub { write_through($node) };
    subtest "$flavour: sources" => sub { sources($node) };
}
done_testing();

sub arm {
    my ($node) = @_;
    is($node->server->command('FUNCTION', 'LIST', 'LIBRARYNAME', 'cache_sync', 'WITHCODE')->[0][-1] =~ /\A#!lua name=cache_sync\n-- version: (\d+)\n/,
        1, 'the loaded library tells its version');
    is("$node->{src}: " . $node->inval('a'), 'shop: UNARMED cs_inval: this node must be armed first', 'nothing works before');
    like($node->put('a', 'v'), qr/^UNARMED /, 'no put');
    like($node->tag('t'), qr/^UNARMED /, 'no tag');
    my $reply = $node->arm(id => 'first', lsn => 70);
    is_deeply([ @$reply[ 0 .. 2 ] ], [ 'NEW', 'first', 0 ], 'armed with the proposed id');
    ok(abs($reply->[3] / 1000 - time) < 5, 'and the clock of the node');
    is_deeply([ @{ $node->arm(id => 'second', lsn => 60) }[ 0 .. 2 ] ], [ 'KEPT', 'first', 0 ], 'later proposals are not needed');
    is($node->stat->{cur}, 70, 'the watermark never falls');
    is($node->cache('a', 'v'), 'OK', 'an entry');
    is_deeply([ @{ $node->arm(id => 'third', lsn => 60, flush => 1) }[ 0 .. 2 ] ], [ 'NEW', 'third', 0 ], 'a flush takes the new id');
    is($node->stat->{cur}, 60, 'and starts over');
    is($node->get('a')->{state}, 'M', 'all entries are misses');
    like($node->arm(id => 'third', flush => 1), qr/^ERR cs_arm: a flush needs a new id/, 'a flush with the old id would flush nothing');
    return;
}

sub epochs {
    my ($node) = @_;
    $node->arm(epoch => 20);
    is($node->cache('e', 'v'), 'OK', 'an entry');
    my %late = (
        cs_inval => sub { $node->inval('e', epoch => 19) },
        cs_put => sub { $node->put('e', 'old', epoch => 19) },
        cs_tag => sub { $node->call('cs_tag', [], 'shop', 19, 5000, 'x') },
        cs_arm => sub { $node->arm(epoch => 19, flush => 1) },
    );
    my $before = $node->stat;
    for my $name (sort keys %late) {
        is($late{$name}->(), "ESTALE $name: epoch 19 is older than 20", "$name of an older epoch");
    }
    is_deeply($node->stat, $before, 'changes nothing');
    is($node->get('e')->{value}, 'v', 'the entry too is as it was');
    like($node->inval('e', epoch => 21), qr/^UNARMED /, 'an epoch not armed here');
    my $id = $node->stat->{id};
    is_deeply([ @{ $node->arm(epoch => 21) }[ 0, 1 ] ], [ 'KEPT', $id ], 'a new epoch keeps what is cached');
    is($node->get('e')->{state}, 'hit', 'entries stay');
    is($node->stat->{epoch}, 21, 'and the epoch counts');
    $node->arm(epoch => 3 * 2**32 + 7);
    like($node->inval('e', epoch => 2 * 2**32 + 9), qr/^ESTALE /, 'an older timeline is older, whatever its counter');
    is($node->inval('e'), 1, 'the new one works');
    return;
}

sub invalidation {
    my ($node) = @_;
    is($node->cache('i', 'v'), 'OK', 'an entry');
    is($node->inval([qw(i j)]), 2, 'keys invalidated, whether they are there or not');
    is($node->get('i')->{state}, 'M', 'a miss');
    my $got = $node->get('k');
    $node->inval('k');
    is($node->fill('k', $got->{token}, 'old'), 'LOST', 'a fill in flight is refused');
    $got = $node->get('k');
    is($node->fill('k', $got->{token}, 'new'), 'OK', 'the next is not');
    $node->server->command('SET', 'plain', 'v');
    is($node->inval('plain'), 1, 'a plain key goes too');
    is($node->server->command('EXISTS', 'plain'), 0, 'as with UNLINK');
    return;
}

sub many_keys {
    my ($node) = @_;
    my @keys = map { "many:$_" } 1 .. 10_000;
    for my $option ([], [ tomb => 50 ], [ keep => 50 ]) {
        $node->server->pipeline(map { [ 'SET', $_, 'v' ] } @keys);
        is($node->inval(\@keys, @$option), 10_000, "10,000 keys in one call @$option");
        is(scalar(grep { defined } @{ $node->server->command('MGET', @keys) }), 0, 'all gone');
    }
    $node->server->command('UNLINK', @keys);
    return;
}

sub fence {
    my ($node) = @_;
    my $from = sub {
        my ($lsn, $fence) = @_;
        $node->inval('f', lsn => $lsn);
        my $got = $node->get('f');
        is($got->{need}, $node->stat->{cur}, "need is the watermark") if $lsn;
        return $node->fill('f', $got->{token}, 'v', fence => $fence);
    };
    $node->arm(flush => 1, lsn => 99);
    is($from->(99, 'R98'), 'FENCE', 'a standby behind is refused');
    is($from->(99, 'R99'), 'OK', 'one that is there is not');
    is($from->(100, 'R99'), 'FENCE', 'more digits are more');
    is($from->(100, 'R0000000000101'), 'OK', 'zeros in front are not');
    is($from->(0, 'P'), 'OK', 'the primary needs no proof');
    is($from->('9007199254740993', 'R9007199254740992'), 'FENCE', 'exact beyond 2^53');
    is($from->('9007199254740993', 'R9007199254740993'), 'OK', 'to the last digit');
    is($from->('18446744073709551615', 'R9999999999999999999'), 'FENCE', 'up to 2^64');
    is($from->('18446744073709551615', 'R18446744073709551615'), 'OK', 'whole');

    $node->arm(flush => 1, lsn => 500);
    my $got = $node->get('g');
    my $reply = $node->call('cs_fill', ['g'], 'shop', $got->{token}, 'v', 1, 2, 0, 'R400', 0, '');
    is_deeply($reply, [ 0, 'FENCE', '500' ], 'the refusal tells what is needed');
    is($node->fill('g', $got->{token}, 'v', fence => 'P'), 'OK', 'the lease is still held: a retry on the primary fills');
    $node->inval('other', lsn => 600);
    is($node->cache('h', 'v', soft => 0, fence => 'P700'), 'OK', 'filled from the primary at 700');
    $got = $node->get('h');
    is($got->{need}, 700, 'a refresh must not go back behind that');
    is($node->fill('h', $got->{token}, 'old', fence => 'R650'), 'FENCE', 'a standby at 650 would');
    is($node->fill('h', $got->{token}, 'new', fence => 'R700', soft => 0), 'OK', 'one at 700 not');
    $got = $node->get('g', lease => 60_000);
    $node->arm(lsn => 900);
    is($node->get('h')->{need}, 900, 'the watermark of a heartbeat counts too');
    return;
}

sub kept_stale {
    my ($node) = @_;
    $node->arm(flush => 1, lsn => 1000);
    $node->cache('s', 'old');
    my $lease = $node->get('s2');
    is($node->inval([qw(s s2)], keep => 60_000, lsn => 1001), 2, 'invalidated, old values kept');
    is($node->server->command('EXISTS', 's2'), 0, 'where there was one');
    is($node->fill('s2', $lease->{token}, 'v'), 'LOST', 'a lease does not survive');
    is($node->peek('s')->{valid}, 0, 'it is not valid');
    my $got = $node->get('s', stale => 30_000);
    is("$got->{state} $got->{value}", 'S old', 'served, with its label, to who asks');
    ok($got->{ms} < 5000, "its age is known: $got->{ms} ms");
    isnt($got->{token}, '', 'the first who comes refreshes');
    is($got->{need}, 1001, 'from this LSN on');
    my $second = $node->get('s', stale => 30_000);
    is("$second->{state} $second->{token}", 'S ', 'the next is not elected');
    my $waiting = $node->get('s');
    is("$waiting->{state} $waiting->{token}", 'M ', 'who wants no stale value waits');
    is($node->fill('s', $got->{token}, 'x', fence => 'R1000'), 'FENCE', 'a lagging standby cannot refresh it');
    is($node->fill('s', $got->{token}, 'new', fence => 'R1001'), 'OK', 'a good one can');
    is($node->get('s', stale => 30_000)->{state}, 'hit', 'then it is fresh');
    is($node->peek('s')->{tomb}, '', 'without a tombstone');
    ok($node->peek('s')->{pttl} > 60_000, 'and with its whole life');

    for (1 .. 50) {
        $node->put('now', 'old');
        my ($done, $read) = $node->server->pipeline([ 'FCALL', 'cs_inval', 1, 'now', $node->publishing, 0, 1000 ],
            [ 'FCALL', 'cs_get', 1, 'now', 'shop', 1, 0, 'n' ]);
        next if $read->[0] eq 'M';
        fail("not even in the same millisecond is a stale value given unasked: $read->[0]");
        last;
    }
    $node->inval('s', keep => 60_000);
    ok($node->peek('s')->{pttl} <= 60_000, 'kept no longer than asked for');
    my $old = $node->wait_for(M => sub {
        my $got = $node->get('s', stale => 1);
        $node->call('cs_drop', ['s'], 'shop', $got->{token}) if $got->{state} eq 'S';
        return $got;
    });
    is($old->{state}, 'M', 'too old for this reader');
    isnt($old->{token}, '', 'who is elected');
    is($node->get('s', stale => 60_000)->{state}, 'S', 'not for that one');
    $node->inval('s', keep => 500);
    my $refresh = $node->get('s');
    is($refresh->{state}, 'M', 'a lease longer than what is left');
    is($node->get('s', stale => 60_000)->{state}, 'M', 'drops the value instead of prolonging it');
    is($node->fill('s', $refresh->{token}, 'v'), 'OK', 'and can be filled');
    is($node->cache('gone', '', neg => 1), 'OK', 'an absence');
    $node->inval('gone', keep => 60_000);
    is($node->server->command('EXISTS', 'gone'), 0, 'is not kept');
    return;
}

sub tombstones {
    my ($node) = @_;
    # Relaxed mode: the floor is that of some time ago, tombstones cover what came since.
    $node->arm(flush => 1, lsn => 2000, floor => 1500);
    is($node->stat->{floor}, 1500, 'relaxed mode: the floor stays behind');
    $node->cache('t', 'v');
    is($node->inval('t', tomb => 60_000, lsn => 2100), 1, 'invalidated with a tombstone');
    is($node->stat->{floor}, 1500, 'which leaves the floor where it was');
    is($node->peek('t')->{tomb}, 2100, 'it holds the LSN');
    my $got = $node->get('t');
    is("$got->{state} $got->{need}", 'M 2100', 'the key needs it');
    ok($node->peek('t')->{pttl} > 10_000, 'a lease does not shorten its life');
    is($node->fill('t', $got->{token}, 'v', fence => 'R2099'), 'FENCE', 'a standby before it is refused');
    is($node->fill('t', $got->{token}, 'v', fence => 'R2100'), 'OK', 'one at it fills');
    is($node->cache('unrelated', 'v', fence => 'R1500'), 'OK', 'other keys need the floor only');
    $node->inval('unrelated', lsn => 2150);
    is($node->stat->{floor}, 2150, 'an invalidation without a tombstone must raise the floor');
    $node->arm(lsn => 2300, floor => 1800);
    is($node->stat->{floor}, 2150, 'and it never falls again');
    $node->call('cs_tag', [], 'shop', $node->epoch, 2400, 'x');
    is($node->stat->{floor}, 2400, 'a tag raises it, for tags have no tombstones');
    $node->arm(lsn => 2500);
    is($node->stat->{floor}, 2500, 'strict mode again: the floor is the watermark');
    $node->inval('t', tomb => 60_000, lsn => 2600);
    is($node->stat->{floor}, 2600, 'tombstones or not');
    $node->inval('t', tomb => 60_000, keep => 1000, lsn => 2700);
    is($node->peek('t')->{tomb}, 2700, 'keep and tombstone together, nothing to keep');
    return;
}

sub tags {
    my ($node) = @_;
    $node->arm(flush => 1, lsn => 3000);
    my $n = $node->stat->{n};
    $node->cache('ab', 'v', tags => 'a,b');
    $node->cache('c', 'v', tags => 'c');
    $node->cache('plain', 'v');
    is($node->tag('b'), $n + 1, 'a bump tells the counter');
    is($node->get('ab')->{state}, 'M', 'entries with the tag miss');
    is($node->get('c')->{state}, 'hit', 'others do not');
    is($node->get('plain')->{state}, 'hit', 'nor those without tags');
    is($node->get('ab')->{token}, '', 'the lease is out');
    my $got = $node->get('during');
    $node->tag('d');
    is($node->fill('during', $got->{token}, 'old', tags => 'c,d'), 'LOST', 'a fill with a tag bumped since its lease is refused');
    $got = $node->get('during');
    isnt($got->{token}, '', 'which frees the lease');
    $node->tag('e');
    is($node->fill('during', $got->{token}, 'v', tags => 'c,d'), 'OK', 'another tag does not matter');
    is($node->get('during')->{state}, 'hit', 'it is read');
    $node->tag(qw(c d));
    is($node->get('c')->{state} . $node->get('during')->{state}, 'MM', 'several tags in one call');
    $node->cache('comma', 'v', tags => 'x,y');
    $node->tag('x,y');
    is($node->get('comma')->{state}, 'M', 'a tag with a comma is taken as the list it would be in a fill');
    is($node->stat->{floor}, $node->lsn, 'a tag moves the watermark');
    $node->cache('soft', 'v', tags => 's', soft => 0);
    $got = $node->get('soft');
    is($got->{state}, 'H', 'a refresh under way');
    $node->tag('s');
    is($node->get('soft')->{state}, 'M', 'the tag kills the entry');
    is($node->fill('soft', $got->{token}, 'old', tags => 's'), 'LOST', 'and the refresh');
    return;
}

sub tag_table {
    my ($node) = @_;
    $node->arm(flush => 1);
    $node->cache('before', 'v', tags => 'rare');
    $node->cache('untagged', 'v');
    my $lease = $node->get('leased');
    $node->tag(map { "t$_" } 1 .. 10_000);
    $node->tag(map { "t$_" } 1 .. 20_000);
    is("@{$node->stat}{qw(tags tfloor)}", '20000 0', 'the table holds 20,000 tags');
    $node->cache('full', 'v', tags => 't1,rare');
    is($node->get('before')->{state} . ' ' . $node->get('full')->{state}, 'hit hit', 'nothing is lost until then');
    my $n = $node->tag('one more');
    is("@{$node->stat}{qw(tags tfloor)}", "1 $n", 'the next one empties it');
    is($node->get('before')->{state} . $node->get('full')->{state}, 'MM', 'every tagged entry misses');
    is($node->get('untagged')->{state}, 'hit', 'an untagged one does not');
    is($node->fill('leased', $lease->{token}, 'v', tags => 'rare'), 'LOST', 'fills of before are refused');
    is($node->cache('after', 'v', tags => 'rare,one more'), 'OK', 'new ones are not');
    is($node->get('after')->{state}, 'hit', 'and hit');
    $node->tag('rare');
    is($node->get('after')->{state}, 'M', 'until their tag is bumped');
    return;
}

sub heartbeat {
    my ($node) = @_;
    $node->arm(flush => 1, ttl => 60_000);
    my $stat = $node->stat;
    is($stat->{till} - $stat->{beat}, 60_000, 'a promise of a minute');
    $node->cache('v', 'value');
    $node->cache('n', '', neg => 1);
    is($node->get('v')->{state}, 'hit', 'a hit within it');
    my $lease = $node->get('filling', lease => 60_000);
    $node->arm(ttl => 1);
    my $got = $node->wait_for(B => sub { $node->get('v') });
    is("$got->{state} $got->{token}", 'B ', 'past it reads bypass');
    $got = $node->get('v', stale => 60_000);
    is("$got->{state} $got->{value} $got->{token}", 'S value ', 'or take it as stale, without a lease');
    cmp_ok($got->{ms}, '>', 0, "its age is at most the silence: $got->{ms} ms");
    is($node->get('v', stale => 1)->{state}, 'B', 'if that is not too old for them');
    is($node->get('n', stale => 60_000)->{state}, 'B', 'an absence is never stale');
    is($node->get('nothing', stale => 60_000)->{state}, 'B', 'what is not there bypasses');
    is($node->get('v', stale => 60_000, xid => 5)->{state}, 'B', 'who waits for a transaction bypasses');
    is($node->peek('v')->{valid}, 0, 'peek agrees');
    is($node->fill('filling', $lease->{token}, 'v'), 'OK', 'a fill under way is still safe');
    $node->arm(ttl => 60_000);
    is($node->get('v')->{state} . $node->get('n')->{state}, 'hitN', 'with the next heartbeat all is fresh again');
    $node->inval('v', keep => 60_000);
    $node->arm(ttl => 1);
    $got = $node->wait_for(S => sub { my $got = $node->get('v', stale => 60_000); $got->{state} = 'early' if $got->{state} eq 'S' && $got->{token} ne ''; $got });
    is($got->{state}, 'S', 'a kept value has the greater of both ages');
    $node->arm(ttl => 0);
    is($node->stat->{till}, 0, 'no promise, no lapse');
    return;
}

sub write_through {
    my ($node) = @_;
    $node->arm(flush => 1, lsn => 4000);
    is($node->put('w', 'one', tags => 'x'), 'OK', 'a put');
    is($node->get('w')->{value}, 'one', 'is read at once');
    is($node->stat->{floor}, $node->lsn, 'and moves the watermark');
    my $peek = $node->peek('w');
    like($peek->{meta}, qr/ ${\ $node->lsn} 0 x$/, 'the entry knows its LSN');
    $node->tag('x');
    is($node->get('w')->{state}, 'M', 'its tags count');
    my $got = $node->get('w2');
    is($node->put('w2', 'put'), 'OK', 'a put over a lease');
    is($node->fill('w2', $got->{token}, 'old'), 'LOST', 'ends it');
    is($node->get('w2')->{value}, 'put', 'the put stands');
    is($node->put('w2', '', neg => 1), 'OK', 'an absence can be put');
    is($node->get('w2')->{state}, 'N', 'and is read');

    is($node->put('ver', 'v5', ver => 5), 'OK', 'a version');
    is_deeply($node->call('cs_put', ['ver'], $node->publishing, 'v4', 1000, 2000, 0, 0, 4, ''), [ 0, 'OLD', '5' ], 'an older one is refused');
    is($node->put('ver', 'v5b', ver => 5), 'OLD', 'the same too');
    is($node->put('ver', 'v10', ver => 10, soft => 0), 'OK', 'a larger one wins, in numbers');
    $got = $node->get('ver');
    is($node->put('ver', 'v9', ver => 9), 'OLD', 'an old one does not change the value');
    is($node->fill('ver', $got->{token}, 'read before'), 'LOST', 'but ends the refresh under way');
    $got = $node->get('ver');
    is($node->fill('ver', $got->{token}, 'refreshed', soft => 60_000), 'OK', 'a refresh');
    is($node->put('ver', 'v9', ver => 9), 'OLD', 'keeps the version');
    is($node->put('ver', 'v9007199254740993', ver => '9007199254740993'), 'OK', 'beyond 2^53');
    is($node->put('ver', 'same', ver => '9007199254740992'), 'OLD', 'exactly');
    is($node->put('ver', 'none', ver => 0), 'OK', 'without a version the order of the publisher counts');
    $node->put('ver', 'v7', ver => 7);
    $node->arm(flush => 1);
    is($node->put('ver', 'v1', ver => 1), 'OK', 'versions of before a flush do not count');
    return;
}

sub sources {
    my ($node) = @_;
    $node->cache('mine', 'v');
    is($node->call('cs_get', ['mine'], 'blog', 1000, 0, 'n')->[0], 'B', 'another source is not armed here');
    $node->call('cs_arm', [], 'blog', 1, 'blogid', 1, '', 0, '', 0);
    is($node->stat->{epoch}, $node->epoch, 'arming it does not touch this one');
    is($node->get('mine')->{state}, 'hit', 'nor its entries');
    is($node->call('cs_get', ['mine'], 'blog', 1000, 0, 'n')->[0], 'M', 'which are misses for the other');
    return;
}
