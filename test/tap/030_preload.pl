# Without shared_preload_libraries nothing works, and every way to find out says what to set.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use CacheSync::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = CacheSync::Cluster->new('main');
$node->safe_psql('postgres', q{
    CREATE TABLE item (id int PRIMARY KEY);
    SELECT cache_sync.register_table('item', 'item:{id}')});
$node->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$node->restart;

sub complains {
    my ($statement, $what) = @_;
    my ($code, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement");
    like($err, qr/55000: cache_sync must be loaded when the server starts/, "$what: the error");
    like($err, qr/HINT:  Add cache_sync to "shared_preload_libraries" and restart the server\./, "$what: the hint");
    return;
}
complains('INSERT INTO item VALUES (1)', 'a write to a registered table');
complains('SELECT cache_sync.drain()', 'a function');
$node->safe_psql('postgres', 'CREATE DATABASE other');
my ($code, $out, $err) = $node->psql('other', 'CREATE EXTENSION cache_sync');
like($err, qr/cache_sync must be loaded when the server starts/, 'CREATE EXTENSION: the error');
like($err, qr/Add cache_sync to "shared_preload_libraries"/, 'CREATE EXTENSION: the hint');
is($node->safe_psql('other', q{SELECT count(*) FROM pg_namespace WHERE nspname = 'cache_sync'}), '0', 'and nothing is left of it');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'cache_sync'\n");
$node->restart;
$node->safe_psql('postgres', 'INSERT INTO item VALUES (1)');
is($node->safe_psql('postgres', 'SELECT count(*) FROM item'), '1', 'with it, the table can be written again');
$node->stop;
done_testing();
