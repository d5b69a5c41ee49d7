# TRUNCATE and flush() remove the keys that the templates can have named, entries of the fill protocol too, and nothing else.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

my %target = (r => CacheSync::Redis->new(flavour => 'redis'), v => CacheSync::Redis->new(flavour => 'valkey'));
my $node = CacheSync::Cluster->new('main', redis => \%target, options => { prefix => 'shop:' });
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY, name text DEFAULT '');
    CREATE TABLE child (id int PRIMARY KEY REFERENCES item);
    CREATE TABLE odd (id int, name text);
    SELECT cache_sync.register_table('item', 'item:{id}', tags => '{items}');
    SELECT cache_sync.register_table('item', 'name:{name}:of:{id}');
    SELECT cache_sync.register_table('child', 'child:{id}');
    SELECT cache_sync.register_table('odd', '[x]*?\\:{name}:{{{id}}}')});
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

my @others = ('item:1', 'shop:', 'shop:item', 'shop:items:1', 'shop2:item:1', 'shop:Item:1', 'xshop:item:1', 'shop:name:x:1', 'shop:x*?\\:a:{1}');
sub fill_all {
    for my $redis (values %target) {
        for my $from (0 .. 9) {
            my @pairs = map { ("shop:item:$_", 'old', "shop:name:x:of:$_", 'old') } $from * 2500 + 1 .. ($from + 1) * 2500;
            $redis->command('MSET', @pairs);
        }
        $redis->command('MSET', map { ($_, 'kept') } @others);
        $redis->command('MSET', map { ($_, 'old') } 'shop:child:1', 'shop:[x]*?\\:a:{1}', 'shop:[x]*?\\::{}');
        my $got = $redis->command('FCALL', 'cs_get', 1, 'shop:item:90001', 'postgres', 30000, 0, sprintf '%012x', rand 2**48);
        $redis->command('FCALL', 'cs_fill', 1, 'shop:item:90001', 'postgres', $got->[2], 'v', 60_000, 120_000, 0, 'P', 0, '') if ref $got;
    }
    return;
}
sub left { my ($redis, $pattern) = @_; return scalar grep { /$pattern/ } @{ $redis->command('KEYS', 'shop:*') } }

fill_all();
my %lease = map { $_ => $target{$_}->command('FCALL', 'cs_get', 1, 'shop:item:90002', 'postgres', 30_000, 0, sprintf '%012x', rand 2**48)->[2] } sort keys %target;
$node->safe_psql('postgres', 'TRUNCATE item, child');
$node->drain;
for my $name (sort keys %target) {
    my $redis = $target{$name};
    is(left($redis, qr/^shop:(item:|name:.*:of:|child:)/), 0, "$name: TRUNCATE removed 50,000 keys of the templates");
    is_deeply($redis->command('MGET', @others), [ ('kept') x @others ], "$name: and no other key");
    is(left($redis, qr/^shop:\[x/), 2, "$name: nor those of another table");
    my $fill = $redis->command('FCALL', 'cs_fill', 1, 'shop:item:90002', 'postgres', $lease{$name}, 'old', 60_000, 120_000, 0, 'P', 0, '');
    is($fill->[1], 'LOST', "$name: a fill under way is refused");
}
$node->safe_psql('postgres', 'TRUNCATE odd');
$node->drain;
for my $name (sort keys %target) {
    is(left($target{$name}, qr/^shop:\[x/), 0, "$name: a template full of glob characters");
    is_deeply($target{$name}->command('MGET', @others), [ ('kept') x @others ], "$name: matches itself only");
}

# A TRUNCATE that is rolled back, by savepoint too.
fill_all();
$node->safe_psql('postgres', 'BEGIN; TRUNCATE item CASCADE; ROLLBACK; BEGIN; SAVEPOINT s; TRUNCATE item CASCADE; ROLLBACK TO s; INSERT INTO item VALUES (7); COMMIT');
$node->drain;
for my $name (sort keys %target) {
    is($target{$name}->command('EXISTS', 'shop:item:1', 'shop:item:7'), 1, "$name: only what was not rolled back");
}

fill_all();
$node->safe_psql('postgres', q{SELECT cache_sync.flush('r')});
$node->drain;
is(left($target{r}, qr/^shop:(item:|name:.*:of:|child:|\[x)/), 0, 'flush(target) removed everything of the templates');
is_deeply($target{r}->command('MGET', @others), [ ('kept') x @others ], 'and no other key');
cmp_ok(left($target{v}, qr/^shop:item:/), '>', 25_000 - 10, 'and not in the other target');
$node->safe_psql('postgres', 'SELECT cache_sync.flush()');
$node->drain;
is(left($target{v}, qr/^shop:(item:|name:.*:of:|child:|\[x)/), 0, 'flush() is for all of them');
my $peek = $target{v}->command('FCALL_RO', 'cs_peek', 1, 'shop:item:90001', 'postgres');
is($peek->[0], 0, 'also for entries of the fill protocol');

# Keys in other databases of the server are out of reach.
my $second = $target{r}->client(database => 5);
$second->command('SET', 'shop:item:1', 'kept');
$node->safe_psql('postgres', 'TRUNCATE item CASCADE; SELECT cache_sync.flush()');
$node->drain;
is($second->command('GET', 'shop:item:1'), 'kept', 'another database of Redis is left alone');

$node->stop;
done_testing();
