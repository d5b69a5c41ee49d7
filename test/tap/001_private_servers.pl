# The helpers that every other test stands on: the client must hide nothing and lose nothing, the server must end when told.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

for my $flavour (qw(redis valkey)) {
    my $redis = CacheSync::Redis->new(flavour => $flavour);
    like($redis->info('server')->{executable}, qr/\Q$flavour\E-server$/, "$flavour: the flavour that was asked for");

    $redis->command('SET', 'k', "a\0\r\nb");
    is($redis->command('GET', 'k'), "a\0\r\nb", "$flavour: any byte comes back");
    is($redis->command('GET', 'none'), undef, "$flavour: nil is undef");
    like($redis->reply('INCR', 'k'), qr/not an integer/, "$flavour: an error can be looked at");
    ok(!eval { $redis->command('INCR', 'k'); 1 }, "$flavour: or dies");
    like($@, qr/INCR: .*not an integer/, "$flavour: with its text");
    is_deeply(
        [ $redis->pipeline([ 'RPUSH', 'l', 1, 2 ], [ 'NONSENSE' ], [ 'EVAL', "return {1,{2,'x',{}},false}", 0 ]) ]->[2],
        [ 1, [ 2, 'x', [] ], undef ],
        "$flavour: a pipeline with an error in it, and a nested reply"
    );

    my $listener = $redis->subscribe('one', 'two');
    $redis->command('PUBLISH', 'two', "h\x{e9}\n");
    $redis->command('PUBLISH', 'one', 'y' x 200_000);
    is_deeply([ $listener->next_message ], [ 'two', "h\x{e9}\n" ], "$flavour: a message");
    is(length(($listener->next_message)[1]), 200_000, "$flavour: a long one");
    is_deeply([ $listener->next_message(0.05) ], [], "$flavour: and no more");

    my $tracking = $redis->client;
    is(ref $tracking->command('HELLO', 3), 'HASH', "$flavour: RESP3");
    $tracking->command('CLIENT', 'TRACKING', 'ON');
    $tracking->command('GET', 'k');
    $redis->command('SET', 'k', 1);
    is_deeply([ $tracking->next_message ], [ 'invalidate', ['k'] ], "$flavour: a push");

    my $pid = $redis->pid;
    $redis->kill9;
    ok(!kill(0, $pid), "$flavour: killed");
    ok(!eval { $redis->command('PING'); 1 }, "$flavour: and gone");
    $redis->start;
    is($redis->command('GET', 'k'), undef, "$flavour: comes back on its port, empty");

    $redis->suspend;
    ok(!eval { $redis->client(timeout => 0.2)->command('PING'); 1 }, "$flavour: hangs when suspended");
    $redis->resume;
    is($redis->command('PING'), 'PONG', "$flavour: goes on when resumed");
    $redis->stop;
}

my $closed = CacheSync::Redis->new(password => 'pass "word\\');
is($closed->command('PING'), 'PONG', 'a password with every trap in it');
like(CacheSync::RespClient->new(port => $closed->port)->reply('PING'), qr/^NOAUTH/, 'is needed');

ok(!eval { wait_for('what never comes', sub { 0 }, 0.1); 1 }, 'waiting has an end');
like($@, qr/what never comes/, 'that says what it waited for');

done_testing();
