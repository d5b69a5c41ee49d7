# Dump and restore, pg_upgrade, DROP EXTENSION: rules, targets and triggers come along and work; the queue and what is known
# of targets do not, so a target is flushed once; and nothing is left behind by a dropped extension.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use IPC::Run;
use CacheSync::Cluster;
use CacheSync::Redis;

my $redis = CacheSync::Redis->new;
my $source = CacheSync::Cluster->new('source', redis => $redis, options => { source => 'shop' });
$source->safe_psql('postgres', <<'SQL');
CREATE ROLE keeper LOGIN;
GRANT CREATE ON SCHEMA public TO keeper;
SET ROLE keeper;
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);
CREATE TABLE sale (id int, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE sale_eu PARTITION OF sale FOR VALUES IN ('eu');
CREATE TABLE sale_us PARTITION OF sale FOR VALUES IN ('us') PARTITION BY RANGE (id);
CREATE TABLE sale_us_1 PARTITION OF sale_us FOR VALUES FROM (0) TO (100);
CREATE TABLE person (id int);
CREATE TABLE employee (salary int) INHERITS (person);
CREATE FUNCTION dear(numeric) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT $1 > 100';
SELECT cache_sync.register_table('item', 'item:{id}'), cache_sync.register_table('item', 'dear:{id}', columns => '{price}', condition => 'dear(price)'),
       cache_sync.register_table('sale', 'sale:{region}:{id}', '{sales}'), cache_sync.register_table('sale_eu', 'eu:{id}'),
       cache_sync.register_table('person', 'person:{id}');
RESET ROLE;
SQL
$source->safe_psql('postgres', q{
    INSERT INTO item SELECT g, 'item ' || g, g FROM generate_series(1, 20) g;
    INSERT INTO sale SELECT g, CASE WHEN g % 2 = 0 THEN 'eu' ELSE 'us' END FROM generate_series(1, 20) g;
    INSERT INTO employee SELECT g, g FROM generate_series(1, 5) g});

# What is queued for nobody who is there must not be restored.
$source->add_target('away', undef, url => 'redis://127.0.0.1:1/0', paused => 'true');
$source->wait_for_target('away', 'paused');
$source->safe_psql('postgres', q{UPDATE item SET price = price + 1});
$source->drain;
cmp_ok($source->safe_psql('postgres', 'SELECT sum(bytes) FROM cache_sync.queue_tables'), '>', 0, 'the source has something queued');

my $rules = q{SELECT id, relation, key, tags, columns, condition FROM cache_sync.rule ORDER BY id};
my $tables = q{SELECT relation::text, key, triggers FROM cache_sync.tables ORDER BY 1, 2};
my $triggers = q{SELECT tgrelid::regclass::text, tgname, tgenabled, tgparentid <> 0 FROM pg_trigger WHERE tgname ~ '^cache_sync' ORDER BY 1, 2};
my %wanted = map { $_ => $source->safe_psql('postgres', $_) } $rules, $tables, $triggers;
like($wanted{$tables}, qr/^(?:.*\|enabled\n?)+$/, 'in order before');

my $dir = PostgreSQL::Test::Utils::tempdir;
sub runs {
    my ($what, @command) = @_;
    my ($out, $err);
    my $fine = IPC::Run::run \@command, '>', \$out, '2>', \$err;
    ok($fine && $err !~ /error/i, $what) or diag("@command\n$out\n$err");
    return;
}
my @from = ('-d', $source->connstr('postgres'));
runs('pg_dump', 'pg_dump', '-f', "$dir/plain.sql", @from);
runs('pg_dump', 'pg_dump', '-Fd', '-f', "$dir/dir", @from);
runs('pg_dump', 'pg_dump', '--schema-only', '-f', "$dir/schema.sql", @from);
runs('pg_dump', 'pg_dump', '--data-only', '--disable-triggers', '-f', "$dir/data.sql", @from);
my $dump = slurp_file("$dir/plain.sql");
unlike($dump, qr/COPY cache_sync\.(queue|target_state|rule_column)/, 'neither queue nor what is known of targets is dumped');
unlike($dump, qr/CREATE (FUNCTION|TABLE|VIEW) cache_sync\./, 'nor what the extension makes itself');
$source->stop;

# pg_upgrade from 17 to 17: the files of the tables are the old ones, those of the queue too.
my $upgraded = CacheSync::Cluster->new('upgraded', start => 0);
my $bin = $source->config_data('--bindir');
$redis->command('MSET', 'unrelated', 'kept', map { ("item:$_", 'old', "person:$_", 'old') } 1 .. 3);
chdir $dir or die "chdir: $!";
runs('pg_upgrade goes through', 'pg_upgrade', '--link', '-b', $bin, '-B', $bin, '-d', $source->data_dir, '-D', $upgraded->data_dir,
    '-p', $source->port, '-P', $upgraded->port, '-s', $upgraded->host);
$upgraded->start;
is($upgraded->safe_psql('postgres', $_), $wanted{$_}, 'upgraded: the same') for $rules, $tables, $triggers;
$upgraded->wait_for_target('main', 'connected');
$upgraded->drain;
works($upgraded, 'postgres');
$upgraded->stop;

# One after the other in a server of its own. Without its extension, a database before has no publisher left.
my $server = CacheSync::Cluster->new('restored', extension => 0);
$server->safe_psql('postgres', 'CREATE ROLE keeper LOGIN');
sub restore {
    my ($name, @commands) = @_;
    # These are of the past: the target must not be believed, and is flushed.
    $redis->command('MSET', map { ("item:$_", 'old', "person:$_", 'old') } 1 .. 3);
    $redis->command('SET', 'unrelated', 'kept');
    $server->safe_psql('postgres', "CREATE DATABASE $name");
    runs("$name: @$_[0, 1] goes through", @$_, '-d', $server->connstr($name)) for @commands;
    return;
}
sub in_order {
    my ($name) = @_;
    is($server->safe_psql($name, $_), $wanted{$_}, "$name: the same " . ($_ eq $rules ? 'rules' : $_ eq $tables ? 'view' : 'triggers')) for $rules, $tables, $triggers;
    $server->wait_for_target('main', 'connected', $name);
    $server->drain($name);
    works($server, $name);
    return;
}
sub works {
    my ($node, $name) = @_;
    is($redis->command('EXISTS', map { ("item:$_", "person:$_") } 1 .. 3), 0, "$name: the target was flushed");
    is($redis->command('GET', 'unrelated'), 'kept', "$name: of what the rules name");
    # When the publisher met the target, and when the rules came.
    like($node->safe_psql($name, q{SELECT flushes FROM cache_sync.stat_targets WHERE name = 'main'}), qr/^[12]$/, "$name: not over and over");
    $redis->command('MSET', map { ("$_:7", 'old') } qw(item dear sale:us sale:eu eu person));
    $node->safe_psql($name, q{
        SET ROLE keeper;
        UPDATE item SET name = 'x' WHERE id = 7;
        UPDATE item SET price = 1000 WHERE id = 7;
        UPDATE sale SET region = 'eu' WHERE id = 7;
        UPDATE employee SET id = 7 WHERE id = 1});
    $node->drain($name);
    is($redis->command('EXISTS', map { "$_:7" } qw(item dear sale:us sale:eu eu person)), 0, "$name: changes are captured and published");
    $redis->command('SET', 'item:8', 'kept');
    $redis->command('SET', 'sale:us:9', 'old');
    $node->safe_psql($name, q{
        SET ROLE keeper;
        ALTER TABLE item RENAME price TO cost;
        ALTER TABLE item RENAME id TO number;
        TRUNCATE sale_us_1});
    $node->drain($name);
    is($node->safe_psql($name, q{SELECT string_agg(concat_ws(' ', key, columns, condition), ' ' ORDER BY key) FROM cache_sync.tables WHERE relation = 'item'::regclass}),
        'dear:{number} {cost} public.dear(cost) item:{number}', "$name: rules follow renames");
    is($redis->command('MGET', 'item:8', 'sale:us:9')->[$_], ('kept', undef)[$_], "$name: TRUNCATE of a partition") for 0, 1;
    $node->safe_psql($name, q{SELECT cache_sync.register_table('sale', 'another:{id}')});
    is($node->safe_psql($name, q{SELECT string_agg(concat_ws(': ', "check", detail), E'\n') FROM cache_sync.check() WHERE NOT ok}), '', "$name: check() has nothing to say");
    return;
}
sub forget { my ($name) = @_; $server->safe_psql('postgres', "DROP DATABASE $name WITH (FORCE)"); return }

my @psql = qw(psql -X -q -v ON_ERROR_STOP=1 -f);
restore('plain', [ @psql, "$dir/plain.sql" ]);
in_order('plain');
forget('plain');
restore('parallel', [ 'pg_restore', '-j', 3, "$dir/dir" ]);
in_order('parallel');
forget('parallel');
restore('single', [ @psql, "$dir/plain.sql", '-1' ]);
in_order('single');
forget('single');

# Schema alone: writes work, though there is no rule yet. Then the data.
restore('parts', [ @psql, "$dir/schema.sql" ]);
is($server->safe_psql('parts', 'SELECT count(*) FROM cache_sync.rule'), '0', 'schema: rules are data');
$server->safe_psql('parts', q{INSERT INTO item VALUES (1); DELETE FROM item});
runs('parts: data goes through', @psql, "$dir/data.sql", '-d', $server->connstr('parts'));
$server->wait_for_target('main', 'connected', 'parts');
$server->drain('parts');
is($server->safe_psql('parts', $_), $wanted{$_}, 'parts: the same after the data') for $rules, $tables, $triggers;
is($server->safe_psql('parts', q{SELECT string_agg(tgenabled, '') FROM pg_trigger WHERE tgrelid = 'cache_sync.rule'::regclass AND NOT tgisinternal}), 'AAA', 'parts: triggers of the rules fire always again');
$redis->command('MSET', map { ("item:$_", 'old') } 1 .. 3);
$server->safe_psql('parts', 'SET ROLE keeper; ALTER TABLE item RENAME id TO number; UPDATE item SET price = 3 WHERE number = 3');
$server->drain('parts');
is($redis->command('EXISTS', map { "item:$_" } 1 .. 3), 2, 'parts: works');

# DROP EXTENSION takes everything along.
$server->safe_psql('parts', 'DROP EXTENSION cache_sync CASCADE');
is($server->safe_psql('parts', $_->[1]), '0', "DROP EXTENSION leaves no $_->[0]") for (
    [ 'trigger', q{SELECT count(*) FROM pg_trigger WHERE tgname ~ 'cache_sync'} ],
    [ 'event trigger', 'SELECT count(*) FROM pg_event_trigger' ],
    [ 'function', q{SELECT count(*) FROM pg_proc WHERE probin ~ 'cache_sync' OR prosrc ~ 'cache_sync'} ],
    [ 'schema', q{SELECT count(*) FROM pg_namespace WHERE nspname ~ 'cache_sync'} ],
    [ 'server', 'SELECT count(*) FROM pg_foreign_server' ],
    [ 'foreign data wrapper', 'SELECT count(*) FROM pg_foreign_data_wrapper' ],
    [ 'object of a schema that is gone', 'SELECT count(*) FROM pg_class c WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid = c.relnamespace)' ],
    [ 'dependency', q{SELECT count(*) FROM pg_depend d WHERE d.refclassid = 'pg_extension'::regclass AND NOT EXISTS (SELECT FROM pg_extension e WHERE e.oid = d.refobjid)} ]);
$server->safe_psql('parts', q{INSERT INTO item VALUES (100); TRUNCATE sale; DROP TABLE sale});
$server->safe_psql('parts', qq{CREATE EXTENSION cache_sync;
    CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url '@{[ $redis->url ]}', source 'shop');
    SELECT cache_sync.register_table('item', 'item:{number}')});
$server->drain('parts');
$redis->command('SET', 'item:2', 'old');
$server->safe_psql('parts', 'UPDATE item SET price = 30 WHERE number = 2');
$server->drain('parts');
is($redis->command('EXISTS', 'item:2'), 0, 'CREATE EXTENSION again works');
$server->stop;

done_testing();
