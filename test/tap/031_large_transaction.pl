# The memory of a backend stays bounded in a transaction of a million distinct keys, and the memory of the publisher that
# publishes it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster;
use CacheSync::Redis;
use CacheSync::Sql;

my $redis = CacheSync::Redis->new(flavour => 'redis');
my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "max_wal_size = 4GB\n");
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int, n int);
    SELECT cache_sync.register_table('item', 'a:rather:long:prefix:item:{id}')});
$node->wait_for_target('main', 'connected');

# Memory that the process has for itself, in MiB: not shared buffers, not the program.
sub own_memory {
    my ($pid) = @_;
    my ($kib) = slurp_file("/proc/$pid/status") =~ /^RssAnon:\s+(\d+) kB/m;
    return $kib / 1024;
}
sub of_cache_sync {
    my ($session) = @_;
    return $session->value(q{SELECT sum(total_bytes) / 1048576.0 FROM pg_backend_memory_contexts WHERE name LIKE 'cache\_sync%'});
}

my $session = CacheSync::Sql->new($node, timeout => 300);
$session->run('INSERT INTO item VALUES (0, 0)');
my $publisher = $node->publisher_pid;
my ($before, $publisher_before) = (own_memory($session->pid), own_memory($publisher));
$session->run('BEGIN');
$session->run('INSERT INTO item SELECT n, 0 FROM generate_series(1, 1000000) n');
my $ours = of_cache_sync($session);
my $growth = own_memory($session->pid) - $before;
diag sprintf 'a million keys: %.1f MiB for the transaction\'s set, %.1f MiB in all', $ours, $growth;
cmp_ok($ours, '<', 64, 'the set of a million distinct keys');
cmp_ok($growth, '<', 64, 'and the backend as a whole, with the list of fired triggers');
$session->run('SAVEPOINT s');
$session->run('UPDATE item SET n = 1');
cmp_ok(of_cache_sync($session), '<', 64, 'a million more rows in a subtransaction');
$session->run('ROLLBACK TO s');
$session->run('UPDATE item SET n = 2 WHERE id = 1000000');
$session->run('COMMIT');
cmp_ok(of_cache_sync($session), '<', 1, 'given back afterwards');
$node->drain;
is($node->safe_psql('postgres', 'SELECT published_keys FROM cache_sync.stat_targets') >= 1000000 ? 1 : 0, 1, 'all of them are published');
is($node->publisher_pid, $publisher, 'by the same publisher');
cmp_ok(own_memory($publisher) - $publisher_before, '<', 64, 'which took it in slices');
$node->stop;
done_testing();
