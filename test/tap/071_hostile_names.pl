# Keys, tags, prefixes, channels and sources are data, whatever bytes they hold: nothing in them becomes a command, and what
# is announced stays JSON.
use strict;
use warnings;
use Encode qw(decode_utf8);
use JSON::PP;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster;
use CacheSync::Redis;

my @names = (
    "a\r\nFLUSHALL\r\n", "\r\n*1\r\n\$8\r\nFLUSHALL\r\n", "\$-1", "*0", "+OK", "-ERR", 'a b', '"quoted"', "back\\slash", "tab\t",
    "\x01\x02\x1f\x7f", "caf\xc3\xa9 \xf0\x9f\x98\x80", 'x' x 4000, '*', '[a-z]*', '?', "'; DROP TABLE item; --", '${IFS}', '%0d%0a', '{', '}}');
# No application means a control character in these, so they are refused; the rest of what is odd is not.
my $prefix = "p \"'{*\\:";
my $channel = "ch \"'\\annel";
my $source = "s \"'\\";

my $redis = CacheSync::Redis->new(flavour => 'redis');
my $client = $redis->client;
# SQL_ASCII takes any bytes, so invalid UTF-8 can be tried too.
my $node = CacheSync::Cluster->new('main', redis => $redis, extension => 0);
$node->safe_psql('postgres', q{CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0});
my @broken = ("\xff\xfe", "\xc3", "a\xed\xa0\x80b", "\x80\r\n");

sub literal { my ($bytes) = @_; return q{E'} . join('', map { sprintf '\\x%02x', ord } split //, $bytes) . q{'} }
sub register {
    my ($database) = @_;
    $node->safe_psql($database, 'CREATE EXTENSION cache_sync; CREATE TABLE item (name text)');
    $node->safe_psql($database, sprintf q{CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:%d/0', prefix %s, channel %s, source %s)},
        $redis->port, literal($prefix), literal($channel), literal($source . $database));
    $node->safe_psql($database, q{SELECT cache_sync.register_table('item', '{name|raw}', ARRAY['tag:{name}'])});
    $node->poll_query_until($database, q{SELECT connected FROM cache_sync.targets}) or die "$database: no target";
    $node->safe_psql($database, q{SELECT cache_sync.drain()}) eq 't' or die 'drain';
    return;
}

for my $option (qw(prefix channel source)) {
    my ($status, undef, $error) = $node->psql('bytes', "CREATE EXTENSION IF NOT EXISTS cache_sync;"
        . "CREATE SERVER odd FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://h', $option E'a\\r\\nFLUSHALL')");
    like($error, qr/invalid value for option "$option"|control character/, "$option: control characters are refused");
}
$node->safe_psql('bytes', 'DROP EXTENSION cache_sync');

for my $case ([ postgres => @names ], [ bytes => @names, @broken ]) {
    my ($database, @all) = @$case;
    register($database);
    $client->command('SET', "bystander", 'alive');
    my ($wrong, $lost, $calls) = (0, 0, 0);
    for my $name (@all) {
        $client->command('SET', $prefix . $name, 'old');
        $client->command('SET', $name, 'of somebody else');
        $node->safe_psql($database, 'INSERT INTO item VALUES (' . literal($name) . '); SELECT cache_sync.invalidate(' . literal($name) . ')');
        $node->safe_psql($database, q{SELECT cache_sync.drain()}) eq 't' or die 'drain';
        ++$wrong if $client->command('EXISTS', $prefix . $name);
        ++$lost if !$client->command('EXISTS', $name);
        $client->command('DEL', $name);
    }
    is($wrong, 0, "$database: every key is invalidated, whatever it holds");
    is($lost, 0, "$database: and no other");
    is($client->command('GET', 'bystander'), 'alive', "$database: nothing was flushed");

    my $entries = $client->command('XRANGE', "cs:log:$source$database", '-', '+');
    my %announced;
    my $broken = 0;
    for my $entry (@$entries) {
        my %field = @{ $entry->[1] };
        for my $list (@field{qw(k t)}) {
            my $names = eval { JSON::PP->new->utf8->decode($list) };
            if (!$names) { ++$broken; diag("no JSON: $@ in $list"); next }
            $announced{$_} = 1 for @$names;
        }
    }
    is($broken, 0, "$database: every announcement is JSON");
    is(scalar(grep { !$announced{ decode_utf8($prefix . $_) } } @names), 0, "$database: with the keys in it");
}
is($redis->command('PING'), 'PONG', 'the server lives');
is($node->safe_psql('postgres', q{SELECT count(*) FROM cache_sync.stat_targets WHERE errors <> 0}), 0, 'and never had to refuse anything');
$node->stop;
done_testing();
