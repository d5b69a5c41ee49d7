# From a registered table to an emptied cache, with every kind of target: Redis and Valkey, prefix, source, password, ACL
# user, unix socket, database number.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use JSON::PP qw(decode_json);
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

my $socket = PostgreSQL::Test::Utils::tempdir_short() . '/redis.sock';
my $acl = 'user app on >sesame ~* &* +@all';
my %server = (
    plain => CacheSync::Redis->new(flavour => 'redis'),
    prefixed => CacheSync::Redis->new(flavour => 'valkey', conf => ["unixsocket $socket"]),
    locked => CacheSync::Redis->new(flavour => 'valkey', password => q{it's "se\\cret"}),
    acl => CacheSync::Redis->new(flavour => 'redis', conf => [$acl]),
);
my $node = CacheSync::Cluster->new('main', redis => { plain => $server{plain}, locked => $server{locked} });
$node->add_target('prefixed', $server{prefixed}, prefix => 'shop:v3:', url => "unix:$socket?db=2", source => 'shop', channel => 'news');
$node->safe_psql('postgres', "CREATE SERVER acl FOREIGN DATA WRAPPER cache_sync OPTIONS (url '" . $server{acl}->url . "')");
$node->safe_psql('postgres', q{CREATE USER MAPPING FOR CURRENT_USER SERVER acl OPTIONS (user 'app', password 'sesame')});
$node->wait_for_target($_, 'connected') for qw(plain prefixed locked acl);
is($node->safe_psql('postgres', q{SELECT string_agg(DISTINCT mode, ',') FROM cache_sync.targets}), 'functions', 'the library is loaded everywhere');

$node->safe_psql('postgres', <<'SQL');
CREATE TABLE product (product_id int PRIMARY KEY, shop text, price int, note text);
INSERT INTO product SELECT g, 's' || g % 2, g, '' FROM generate_series(1, 20) g;
SELECT cache_sync.register_table('product', 'product:{product_id}', tags => '{"shop:{shop}"}', columns => '{shop,price}');
SQL
$node->drain;

my %prefix = (plain => '', prefixed => 'shop:v3:', locked => '', acl => '');
my %source = (plain => 'postgres', prefixed => 'shop', locked => 'postgres', acl => 'postgres');
my %client = map { $_ => $server{$_}->client(database => $_ eq 'prefixed' ? 2 : 0) } keys %server;

# Reads through the fill protocol: the value, or a miss that is filled with the given one.
sub cached {
    my ($name, $key, $value, $tags) = @_;
    my $nonce = sprintf '%012x', rand 2**48;
    my $got = $client{$name}->command('FCALL', 'cs_get', 1, "$prefix{$name}$key", $source{$name}, 3000, 0, $nonce);
    return $got unless ref $got;
    return "state $got->[0]" if $got->[2] eq '';
    my $filled = $client{$name}->command('FCALL', 'cs_fill', 1, "$prefix{$name}$key", $source{$name}, $got->[2], $value, 60_000, 120_000, 0, 'P', 0, $tags // '');
    return "filled $filled->[1]";
}

for my $name (sort keys %server) {
    my $listener = $server{$name}->subscribe($name eq 'prefixed' ? 'news' : 'cs:inv:postgres');
    $client{$name}->command('SET', "$prefix{$name}product:1", 'old');
    $client{$name}->command('SET', "$prefix{$name}product:2", 'other');
    $node->safe_psql('postgres', 'UPDATE product SET price = price + 1 WHERE product_id = 1');
    $node->drain;
    is($client{$name}->command('GET', "$prefix{$name}product:1"), undef, "$name: the key of the changed row is gone");
    is($client{$name}->command('GET', "$prefix{$name}product:2"), 'other', "$name: another one is there");
    $node->safe_psql('postgres', q{UPDATE product SET note = 'x' WHERE product_id = 2});
    $node->drain;
    is($client{$name}->command('GET', "$prefix{$name}product:2"), 'other', "$name: a column that does not count");

    my ($channel, $payload) = $listener->next_message(10);
    my $record = decode_json($payload);
    is_deeply([ $record->{k}, $record->{t} ], [ ["$prefix{$name}product:1"], ['shop:s1'] ], "$name: the announcement");
    my ($last) = @{ $client{$name}->command('XREVRANGE', "cs:log:$source{$name}", '+', '-', 'COUNT', 1) };
    my %entry = @{ $last->[1] };
    is_deeply([ @entry{qw(e i l b)}, decode_json($entry{k}), decode_json($entry{t}) ],
        [ @$record{qw(e i l b k t)} ], "$name: the same record in the stream");

    is(cached($name, 'product:5', 'v1', 'shop:s1'), 'filled OK', "$name: a reader fills");
    is(cached($name, 'product:6', 'v1', 'shop:s0'), 'filled OK', "$name: and another entry");
    is(cached($name, 'product:5'), 'v1', "$name: a hit");
    $node->safe_psql('postgres', 'UPDATE product SET price = price + 100 WHERE product_id = 7');
    $node->drain;
    isnt(cached($name, 'product:5', 'v2', 'shop:s1'), 'v1', "$name: a row of the same tag changed: no hit");
    is(cached($name, 'product:6'), 'v1', "$name: the entry of another tag is a hit");

    # A reader between its lease and its fill, when the row changes.
    my $got = $client{$name}->command('FCALL', 'cs_get', 1, "$prefix{$name}product:8", $source{$name}, 3000, 0, 'abcdefabcdef');
    $node->safe_psql('postgres', 'UPDATE product SET price = price + 100 WHERE product_id = 8');
    $node->drain;
    my $late = $client{$name}->command('FCALL', 'cs_fill', 1, "$prefix{$name}product:8", $source{$name}, $got->[2], 'old', 60_000, 120_000, 0, 'P', 0, '');
    is($late->[1], 'LOST', "$name: what was read before the change is not cached");
}

$node->safe_psql('postgres', q{CREATE TABLE secret_probe AS SELECT t::text AS line FROM cache_sync.targets t});
is($node->safe_psql('postgres', q{SELECT count(*) FROM secret_probe WHERE line ~ 'sesame|cret'}), '0', 'no secret in the views');
unlike(slurp_file($node->logfile), qr/password=|sesame'?\s|se\\cret"'\s*fail/, 'nor in errors of the log');

# A password that changes while connected is taken at once.
$server{locked}->command('CONFIG', 'SET', 'requirepass', 'new');
$server{locked}{password} = 'new';
delete $server{locked}{client};
$server{locked}->command('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
$node->poll_until('the old password is refused',
    q{SELECT state <> 'connected' AND last_error ~* 'WRONGPASS|password' FROM cache_sync.targets WHERE name = 'locked'});
$node->safe_psql('postgres', q{UPDATE product SET price = 77 WHERE product_id = 9});
my $fresh = $server{locked}->client;
$fresh->command('SET', 'product:9', 'old');
$node->safe_psql('postgres', q{ALTER USER MAPPING FOR PUBLIC SERVER locked OPTIONS (SET password 'new')});
$node->drain;
is($fresh->command('GET', 'product:9'), undef, 'with the new password it catches up');

$node->stop;
done_testing();
