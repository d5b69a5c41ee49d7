# Changes that come by logical replication, and by sessions with session_replication_role = replica.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;

my $redis = CacheSync::Redis->new;
my $publisher = CacheSync::Cluster->new('publisher', streaming => 1, extension => 0);
my $subscriber = CacheSync::Cluster->new('subscriber', redis => $redis);
my $table = q{
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    CREATE TABLE part (id int, n int DEFAULT 0, PRIMARY KEY (id)) PARTITION BY RANGE (id);
    CREATE TABLE part_low PARTITION OF part FOR VALUES FROM (0) TO (100);
    CREATE TABLE part_high PARTITION OF part FOR VALUES FROM (100) TO (200);};
$_->safe_psql('postgres', $table) for $publisher, $subscriber;
$publisher->safe_psql('postgres', q{
    INSERT INTO item VALUES (1), (2), (3);
    INSERT INTO part VALUES (1), (101);
    CREATE PUBLICATION p FOR TABLE item, part WITH (publish_via_partition_root = true)});
$subscriber->safe_psql('postgres', q{
    SELECT cache_sync.register_table('item', 'item:{id}');
    SELECT cache_sync.register_table('part', 'part:{id}')});
$subscriber->wait_for_target('main', 'connected');
$subscriber->drain;
my @keys = ((map { "item:$_" } 1 .. 6), (map { "part:$_" } 1, 2, 101, 102));
sub set { $redis->pipeline(map { [ 'SET', $_, 'old' ] } @keys); return }
sub gone { return join ' ', grep { !$redis->command('EXISTS', $_) } @keys }

set();
my $from = $publisher->connstr . ' dbname=postgres';
$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION s CONNECTION '$from' PUBLICATION p");
$subscriber->wait_for_subscription_sync($publisher, 's');
$subscriber->drain;
is(gone(), 'item:1 item:2 item:3 part:1 part:101', 'the initial copy');

set();
$publisher->safe_psql('postgres', q{
    INSERT INTO item VALUES (4);
    UPDATE item SET n = 1 WHERE id = 1;
    UPDATE item SET id = 5 WHERE id = 2;
    DELETE FROM item WHERE id = 3;
    INSERT INTO part VALUES (2);
    UPDATE part SET id = 102 WHERE id = 101});
$publisher->wait_for_catchup('s');
$subscriber->drain;
is(gone(), 'item:1 item:2 item:3 item:4 item:5 part:2 part:101 part:102', 'applied changes: old and new keys');

set();
$publisher->safe_psql('postgres', 'BEGIN; UPDATE item SET n = 9 WHERE id = 1; ROLLBACK');
$publisher->safe_psql('postgres', 'UPDATE item SET n = 9 WHERE id = 4');
$publisher->wait_for_catchup('s');
$subscriber->drain;
is(gone(), 'item:4', 'what was rolled back does not come');

set();
$publisher->safe_psql('postgres', 'TRUNCATE item');
$publisher->wait_for_catchup('s');
$subscriber->drain;
is(gone(), 'item:1 item:2 item:3 item:4 item:5 item:6', 'TRUNCATE: all keys of the table');

# Replica sessions, as tools for copying data use.
set();
$subscriber->safe_psql('postgres', q{
    SET session_replication_role = replica;
    INSERT INTO item VALUES (6);
    UPDATE part SET n = 1 WHERE id = 1;
    DELETE FROM part_high WHERE id = 102});
$subscriber->drain;
is(gone(), 'item:6 part:1 part:102', 'session_replication_role = replica');

$subscriber->stop;
$publisher->stop;
done_testing();
