# Registered views follow what they read, whatever happens while one of them is refreshed. Gates and locks force the order of
# events; after each case every view is compared with its query, and every cached entry with its view.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;
use CacheSync::Views;

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "cache_sync.ring_size = 64kB\ncache_sync.refresh_lock_timeout = 300ms\n");
$node->wait_for_target('main', 'connected');
my $views = CacheSync::Views->new($node, redis => $redis);
my $sql = CacheSync::Sql->new($node);
$views->make_gate;
$sql->run(q{
    CREATE TABLE base (id int PRIMARY KEY, g int, n int);
    CREATE TABLE other (id int PRIMARY KEY, n int);
    CREATE TABLE part (id int, g int) PARTITION BY LIST (g);
    CREATE TABLE part_0 PARTITION OF part FOR VALUES IN (0);
    CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
    INSERT INTO base SELECT i, i % 5, 0 FROM generate_series(1, 60) i;
    INSERT INTO other SELECT i, 0 FROM generate_series(1, 10) i;
    INSERT INTO part SELECT i, i % 2 FROM generate_series(1, 20) i;
    CREATE VIEW plain AS SELECT id, g, n FROM base;
    CREATE MATERIALIZED VIEW slow AS SELECT b.id, b.g, b.n, o.n AS m
        FROM (SELECT pass('slow') AS gate OFFSET 0) p, plain b LEFT JOIN other o USING (id);
    CREATE UNIQUE INDEX ON slow (id);
    CREATE MATERIALIZED VIEW sums AS SELECT g, sum(n) AS n, count(*) AS rows FROM plain GROUP BY g;
    CREATE MATERIALIZED VIEW parts AS SELECT g, count(*) AS rows, sum(id) AS ids FROM part GROUP BY g;
    CREATE UNIQUE INDEX ON parts (g);
    SELECT cache_sync.register_view('slow', min_interval => '0', key => 'slow:{id}', tags => '{"g:{g}"}'),
           cache_sync.register_view('sums', min_interval => '0', key => 'sums:{g}'),
           cache_sync.register_view('parts', min_interval => '0', key => 'parts:{g}', tags => '{parts}')});
$views->proves('at first');
is($views->value('SELECT bool_and(base_tables = v.wanted) FROM cache_sync.views JOIN (VALUES (\'slow\'::regclass, \'{base,other}\'::regclass[]), (\'sums\', \'{base}\'), (\'parts\', \'{part}\')) v (view, wanted) USING (view)'),
    't', 'what they read is found');

# A value that was never there before.
my $fresh = 0;
sub change { my ($table, $where) = @_; $fresh++; return "UPDATE $table SET n = 1000 + $fresh WHERE " . ($where // 'id <= 3') }

# Two changes, two requests and a change again while a refresh runs: one process at a time, and one more run for all of them.
my $before = $views->last_run;
$views->shut('slow');
$sql->run(change('base'));
my $pid = $views->at_gate('slow');
my @asked = map { $views->ask('slow') } 1, 2;
$sql->run(change($_)) for qw(base other base);
$node->drain;
is($views->value(q{SELECT count(*) FROM cache_sync._refresh_jobs() WHERE view = 'slow'::regclass}), 1, 'overlapping: never two of one view');
is($views->value(q{SELECT state FROM cache_sync.views WHERE view = 'slow'::regclass}), 'running', 'overlapping: it runs');
is($views->value("SELECT count(*) FROM cache_sync.refresh_history WHERE id IN ($asked[0], $asked[1]) AND state = 'queued'"), 2, 'overlapping: the requests wait');
$views->open('slow');
$views->proves('overlapping');
is($views->since($before, 'slow'), 'slow succeeded, slow succeeded, slow succeeded', 'overlapping: both requests are answered by one more run');
is($views->value("SELECT count(DISTINCT pid) FROM cache_sync.refresh_run WHERE id > $before AND view = 'slow'::regclass"), 2, '... which is the second');

# A commit after the refresh took its snapshot and before its end: it is not in the view, so it leads to another refresh. Once
# for a change that the publisher learns of while the refresh runs, once for one that was made before and becomes visible then.
my $writer = CacheSync::Sql->new($node);
for my $how ('a change', 'a change that was open at the start', 'a prepared transaction', 'replica') {
    my $text = "committed while it runs, $how";
    $before = $views->last_run;
    $writer->run('BEGIN; ' . change('base', 'id = 7')) if $how =~ /open/;
    $writer->run('BEGIN; ' . change('base', 'id = 8') . "; PREPARE TRANSACTION 'p'") if $how =~ /prepared/;
    $views->shut('slow');
    $sql->run(change('other'));
    $views->at_gate('slow');
    if ($how =~ /open/) { $writer->run('COMMIT') }
    elsif ($how =~ /prepared/) { $writer->run(q{COMMIT PREPARED 'p'}) }
    elsif ($how =~ /replica/) { $sql->run('SET session_replication_role = replica; ' . change('base', 'id = 9') . '; RESET session_replication_role') }
    else { $sql->run(change('base', 'id BETWEEN 4 AND 6')) }
    # The first run ends by itself only, and without the change: the second is held at the same gate until that is seen.
    $views->open('slow');
    $views->wait("$text: the first run ends", sub { $views->since($before, 'slow') =~ /^slow succeeded/ });
    $views->proves($text);
    is($views->since($before, 'slow'), 'slow succeeded, slow succeeded', "$text: exactly one more run");
}

# What did not commit is no change.
$before = $views->last_run;
$sql->run('BEGIN; ' . change('base') . '; ROLLBACK');
$sql->run('BEGIN; SAVEPOINT a; ' . change('base') . '; ROLLBACK TO a; COMMIT');
$sql->run('BEGIN; ' . change('base') . q{; PREPARE TRANSACTION 'gone'});
$sql->run(q{ROLLBACK PREPARED 'gone'});
$sql->run('SET cache_sync.enabled = off; UPDATE other SET n = n; RESET cache_sync.enabled');
$views->proves('rolled back');
is($views->since($before), '', 'rolled back: nothing is refreshed');
$sql->run('BEGIN; SAVEPOINT a; ' . change('base') . '; ROLLBACK TO a; ' . change('base', 'id = 30') . '; RELEASE a; COMMIT');
$views->proves('a savepoint that is kept');
like($views->since($before), qr/slow succeeded.*sums succeeded|sums succeeded.*slow succeeded/, 'a savepoint that is kept: refreshed');

# More than the ring holds, while the publisher cannot take it, and while a refresh runs.
$sql->run(q{CREATE TABLE wide (id int); SELECT cache_sync.register_table('wide', 'wide:' || repeat('x', 200) || ':{id}')});
my $overflows = q{SELECT ring_overflows FROM cache_sync.stat_capture};
my $overflowed = $views->value($overflows);
$views->shut('slow');
$sql->run(change('other', 'id = 1'));
$views->at_gate('slow');
my $publisher = $node->publisher_pid;
kill 'STOP', $publisher or die "kill: $!";
$sql->run('DO $$ BEGIN FOR n IN 1 .. 600 LOOP INSERT INTO wide VALUES (n); COMMIT; END LOOP; END $$');
$sql->run(change('base', 'id = 41'));
kill 'CONT', $publisher;
$views->open('slow');
$views->proves('the ring overflows');
cmp_ok($views->value($overflows), '>', $overflowed, 'the ring overflows: it did');

# What needs all of a table, or of a view, waits for a refresh that reads it, and comes right after it.
sub waits_for_refresh {
    my ($statement) = @_;
    $views->shut('slow');
    $sql->run(change('base'));
    $views->at_gate('slow');
    $writer->send($statement);
    $views->wait('it waits', sub { $views->value('SELECT count(*) FROM pg_locks WHERE NOT granted AND pid = ' . $writer->pid) > 0 });
    $views->open('slow');
    $writer->finish;
    return;
}
waits_for_refresh('TRUNCATE other');
$views->proves('TRUNCATE');
$sql->run('INSERT INTO other SELECT i, i FROM generate_series(1, 10) i');

# What a view reads becomes another thing while it is refreshed: before its query is looked at, and once that runs.
$sql->run('CREATE TABLE base_2 (id int PRIMARY KEY, g int, n int); INSERT INTO base_2 SELECT id + 100, g, n FROM base');
my $both = 'CREATE OR REPLACE VIEW plain AS SELECT id, g, n FROM base UNION ALL SELECT id, g, n FROM base_2';
my $one = 'CREATE OR REPLACE VIEW plain AS SELECT id, g, n FROM base';
my $locker = CacheSync::Sql->new($node);
$locker->run('BEGIN; ANALYZE slow');
$sql->run(change('base'));
$views->wait('it tries to get its lock', q{SELECT count(*) > 0 FROM cache_sync._refresh_jobs() WHERE view = 'slow'::regclass AND phase IN ('locking', 'retrying')});
$sql->run($both);
$locker->run('COMMIT');
$views->proves('a view below is replaced before');
is($views->value('SELECT count(*) FROM slow'), 120, 'a view below is replaced before: it reads both');
$sql->run($one);
$views->proves('replaced back');
waits_for_refresh($both);
$views->proves('a view below is replaced');
$sql->run(change('base_2', 'id = 105'));
$views->proves('a view below is replaced: what it reads now is watched');
is($views->value(q{SELECT n FROM slow WHERE id = 105}), 1000 + $fresh, '... and is in the view');
$sql->run($one);
$views->proves('replaced once more');
is($views->value(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'base_2'::regclass}), 0, 'replaced once more: no triggers are left behind');

# Partitions come, go and are emptied, also directly.
for my $step (
    [ 'a partition is attached', q{CREATE TABLE part_2 (id int, g int); INSERT INTO part_2 VALUES (100, 2); ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES IN (2)} ],
    [ 'it is written directly', q{INSERT INTO part_2 VALUES (101, 2), (102, 2)} ],
    [ 'it is truncated', q{TRUNCATE part_2} ],
    [ 'rows move', q{UPDATE part SET g = 2 WHERE id IN (1, 2)} ],
    [ 'it is detached', q{ALTER TABLE part DETACH PARTITION part_2} ],
    [ 'a partition is made', q{CREATE TABLE part_3 PARTITION OF part FOR VALUES IN (3) PARTITION BY RANGE (id)} ],
    [ 'a partition of it', q{CREATE TABLE part_3_1 PARTITION OF part_3 FOR VALUES FROM (0) TO (1000); INSERT INTO part_3_1 VALUES (7, 3)} ],
    [ 'it is dropped', q{DROP TABLE part_3} ],
    [ 'all are truncated', q{TRUNCATE part} ],
    [ 'copied', q{INSERT INTO part SELECT i, i % 2 FROM generate_series(1, 9) i} ]) {
    my ($text, $statements) = @$step;
    $sql->run($_) for split /; /, $statements;
    $views->proves($text);
}
$sql->run('ALTER TABLE part DETACH PARTITION part_1 CONCURRENTLY');
$views->proves('a partition is detached concurrently');
$before = $views->last_run;
$sql->run('INSERT INTO part_1 VALUES (1, 1); INSERT INTO part_2 VALUES (1, 2)');
$views->quiet;
is($views->since($before), '', 'who is detached is not watched');
$sql->run($_) for 'CREATE TABLE parent (id int, n int)', 'CREATE TABLE child () INHERITS (parent)', 'CREATE MATERIALIZED VIEW family AS SELECT id, n FROM parent',
  q{SELECT cache_sync.register_view('family', min_interval => '0', key => 'family:{id}')}, 'INSERT INTO child VALUES (1, 1)';
$views->proves('an inheritance child');
$sql->run($_) for 'CREATE TABLE late (id int, n int)', 'INSERT INTO late VALUES (3, 3)', 'ALTER TABLE late INHERIT parent';
$views->proves('a child comes late');
$sql->run('INSERT INTO late VALUES (4, 4)');
$views->proves('... and is watched');

# A view over a materialized view that nobody registered, and that is refreshed by hand.
$sql->run($_) for 'CREATE MATERIALIZED VIEW between AS SELECT g, sum(n) AS n FROM base GROUP BY g', 'CREATE UNIQUE INDEX ON between (g)',
  'CREATE MATERIALIZED VIEW over AS SELECT sum(n) AS n FROM between',
  q{SELECT cache_sync.register_view('over', min_interval => '0', tags => '{over}')};
$views->proves('over an unregistered view');
for my $how ('', 'CONCURRENTLY ') {
    $sql->run(change('base', 'id = 11'));
    $views->quiet;
    isnt($views->value('SELECT n FROM over'), $views->value('SELECT sum(n) FROM base'), 'the view below is old, and so is the one above');
    $sql->run("REFRESH MATERIALIZED VIEW ${how}between");
    $views->proves("refreshed by hand: ${how}");
    is($views->value('SELECT n FROM over'), $views->value('SELECT sum(n) FROM base'), 'now both are new');
}
$before = $views->last_run;
$sql->run('REFRESH MATERIALIZED VIEW CONCURRENTLY between');
$views->quiet;
is($views->since($before), '', 'refreshed by hand without a change: nothing follows');

# A target that is away holds up no refresh.
$redis->kill9;
$node->wait_for_target('main', 'backing off');
$sql->run("INSERT INTO wide SELECT generate_series(1, 5000)") for 1 .. 3;
$sql->run(change('base', 'id = 12'));
wait_for('the view follows without the target', sub { $views->value('SELECT n FROM slow WHERE id = 12') == 1000 + $fresh });
pass('a target that is away holds up no refresh');
$redis->start;
delete $redis->{client};
$views->proves('the target is back');

cmp_ok($views->valid, '>', 1000, 'enough entries were judged');
cmp_ok($views->naive_stale, '>', 20, 'entries that nobody invalidates are stale');
# Without being registered, or without its triggers, a view differs: the comparison would see it.
$sql->run(q{SELECT cache_sync.unregister_view('sums'); ALTER TABLE base DISABLE TRIGGER USER});
$sql->run(change('base', 'id < 20'));
$views->quiet;
isnt($views->value('SELECT sum(n) FROM sums'), $views->value('SELECT sum(n) FROM base'), 'a view that is not registered differs');
is(join(' ', map { s/:.*//r } $views->wrong), 'public.slow', 'so does one whose triggers were disabled');
like($views->value(q{SELECT string_agg(detail, ' ') FROM cache_sync.check() WHERE NOT ok}), qr/base/, 'of which check() knows');
$sql->run('ALTER TABLE base ENABLE TRIGGER USER');
$views->proves('triggers that are enabled again');

$node->stop;
done_testing();
