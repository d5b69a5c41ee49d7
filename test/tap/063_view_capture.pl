# Views are refreshed after changes that come by logical replication, into partitions as well, once for a transaction of many rows;
# and after a dump is restored, without anybody registering them again.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use IPC::Run;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

my $redis = CacheSync::Redis->new;
my $publisher = CacheSync::Cluster->new('publisher', streaming => 1, extension => 0);
my $subscriber = CacheSync::Cluster->new('subscriber', redis => $redis);
my $tables = q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    CREATE TABLE part (id int PRIMARY KEY, n int DEFAULT 0) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (2000);};
$_->safe_psql('postgres', $tables) for $publisher, $subscriber;
$publisher->safe_psql('postgres', q{
    INSERT INTO item VALUES (1), (2), (3);
    INSERT INTO part VALUES (1), (101);
    CREATE PUBLICATION p FOR TABLE item, part WITH (publish_via_partition_root = true)});
$subscriber->safe_psql('postgres', q{
    CREATE VIEW items AS SELECT id, n FROM item;
    CREATE MATERIALIZED VIEW item_copy AS SELECT * FROM items;
    CREATE UNIQUE INDEX ON item_copy (id);
    CREATE MATERIALIZED VIEW part_sum AS SELECT count(*) AS rows, coalesce(sum(id), 0) AS ids, coalesce(sum(n), 0) AS n FROM part;
    SELECT cache_sync.register_view('item_copy', min_interval => '0', key => 'copy:{id}');
    SELECT cache_sync.register_view('part_sum', min_interval => '0')});
$subscriber->wait_for_target('main', 'connected');

my %query = (
    item_copy => q{SELECT string_agg(id || '=' || n, ' ' ORDER BY id) FROM },
    part_sum => q{SELECT rows || ' ' || ids || ' ' || n FROM });
sub contents { my ($view, $database) = @_; return $subscriber->safe_psql($database // 'postgres', $query{$view} . $view) }
sub becomes {
    my ($view, $wanted, $what, $database) = @_;
    wait_for("$view is $wanted", sub { contents($view, $database) eq $wanted });
    is(contents($view, $database), $wanted, $what);
    return;
}
sub runs { my ($view) = @_; return $subscriber->safe_psql('postgres', "SELECT count(*) FROM cache_sync.refresh_history WHERE view = '$view'::regclass AND state = 'succeeded'") }
sub calm { wait_for('nothing to be refreshed', sub { $subscriber->safe_psql('postgres', q{SELECT count(*) FROM cache_sync.views WHERE state <> 'clean'}) eq '0' }); return }

my $from = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$from' PUBLICATION p");
$subscriber->wait_for_subscription_sync($publisher, 's');
becomes('item_copy', '1=0 2=0 3=0', 'the initial copy of a table');
becomes('part_sum', '2 102 0', 'the initial copy into partitions');

for my $step (
    [ 'INSERT INTO item VALUES (4)', 'item_copy', '1=0 2=0 3=0 4=0' ],
    [ 'UPDATE item SET n = 1 WHERE id = 1', 'item_copy', '1=1 2=0 3=0 4=0' ],
    [ 'DELETE FROM item WHERE id = 3', 'item_copy', '1=1 2=0 4=0' ],
    [ 'INSERT INTO part SELECT g, 1 FROM generate_series(1001, 1500) g', 'part_sum', '502 625352 500' ],
    [ 'UPDATE part SET n = 2 WHERE id > 1000', 'part_sum', '502 625352 1000' ],
    [ 'UPDATE part SET id = 102 WHERE id = 1', 'part_sum', '502 625453 1000' ],
    [ 'DELETE FROM part WHERE id > 1000', 'part_sum', '2 203 0' ],
    [ 'TRUNCATE item', 'item_copy', '' ]) {
    my ($statement, $view, $wanted) = @$step;
    calm();
    my $before = runs($view);
    $publisher->safe_psql('postgres', $statement);
    $publisher->wait_for_catchup('s');
    becomes($view, $wanted, "applied: $statement");
    calm();
    is(runs($view) - $before, 1, 'refreshed once');
}
$redis->pipeline([ 'SET', 'copy:7', 'old' ], [ 'SET', 'copy:8', 'old' ]);
$publisher->safe_psql('postgres', 'INSERT INTO item VALUES (7)');
$publisher->wait_for_catchup('s');
becomes('item_copy', '7=0', 'applied: one row');
calm();
$subscriber->drain;
is(join(' ', map { $redis->command('EXISTS', $_) } 'copy:7', 'copy:8'), '0 1', 'the key of the row that changed, and no other, is invalid');

# What changes nothing refreshes nothing.
my $before = runs('item_copy');
$subscriber->safe_psql('postgres', $_)
  for 'UPDATE item SET n = 9 WHERE id = 99', 'DELETE FROM item WHERE false', 'BEGIN; UPDATE item SET n = 9; ROLLBACK', 'INSERT INTO item VALUES (7) ON CONFLICT DO NOTHING';
$subscriber->safe_psql('postgres', 'UPDATE part SET n = 3');
becomes('part_sum', '2 203 6', 'a local change');
calm();
is(runs('item_copy') - $before, 0, 'statements that change no row, and what is rolled back, refresh nothing');

# A dump.
$subscriber->safe_psql('postgres', 'DROP SUBSCRIPTION s');
my $known = q{SELECT * FROM cache_sync.view ORDER BY view::text};
my $triggers = q{SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE tgname ~ '^cache_sync' ORDER BY tgrelid::regclass::text, 2};
my %wanted = map { $_ => $subscriber->safe_psql('postgres', $_) } $known, $triggers;
my $file = PostgreSQL::Test::Utils::tempdir . '/dump.sql';
sub succeeds { my ($what, @command) = @_; my ($out, $err); ok((IPC::Run::run \@command, '>', \$out, '2>', \$err) && $err !~ /error/i, $what) or diag("$out\n$err"); return }
succeeds('pg_dump', 'pg_dump', '-f', $file, '-d', $subscriber->connstr('postgres'));
$subscriber->safe_psql('postgres', 'CREATE DATABASE restored');
succeeds('restored', 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $file, '-d', $subscriber->connstr('restored'));
is($subscriber->safe_psql('restored', $_), $wanted{$_}, 'views and triggers as before') for $known, $triggers;
wait_for('the restored views have been looked at', sub { $subscriber->safe_psql('restored', q{SELECT count(*) FROM cache_sync.views WHERE state <> 'clean' OR last_success IS NULL}) eq '0' });
$subscriber->safe_psql('restored', 'INSERT INTO item VALUES (8); INSERT INTO part_low VALUES (5, 5)');
becomes('item_copy', '7=0 8=0', 'restored: on change', 'restored');
becomes('part_sum', '3 208 11', 'restored: on change of a partition', 'restored');
is($subscriber->safe_psql('restored', q{SELECT string_agg("check" || ': ' || detail, E'\n') FROM cache_sync.check() WHERE NOT ok AND "check" ~ 'view'}), '', 'check() has nothing to say');

$subscriber->stop;
$publisher->stop;
done_testing();
