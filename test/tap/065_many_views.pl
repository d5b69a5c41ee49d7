# Many views on one hot table, views above views, views that fail, few processes: everything is refreshed in the end, in order,
# not too often, and nobody waits for somebody else.
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

my $count = 200;
my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "cache_sync.history_limit = 1000\nlog_min_messages = warning\nlog_statement = none\nautovacuum = off\n");
$node->wait_for_target('main', 'connected');
my $views = CacheSync::Views->new($node, redis => $redis);
my $sql = CacheSync::Sql->new($node);
$views->make_gate;
sub setting { my ($line) = @_; $node->append_conf('postgresql.conf', $line); $node->reload; my ($name, $value) = split / = /, $line; $views->wait($line, "SELECT current_setting('$name') = '$value'"); return }

# ---- two hundred ----

$sql->run(q{
    CREATE TABLE hot (id int PRIMARY KEY, n int);
    INSERT INTO hot SELECT i, 0 FROM generate_series(1, 400) i;
    CREATE TABLE item (id int PRIMARY KEY, n int DEFAULT 0);
    SELECT cache_sync.register_table('item', 'item:{id}')});
my $began = time;
$sql->run("CREATE MATERIALIZED VIEW hot_$_ AS SELECT id, n FROM hot WHERE id % $count = $_ - 1; CREATE UNIQUE INDEX ON hot_$_ (id)") for 1 .. $count;
my $made = time;
$sql->run("SELECT cache_sync.register_view('hot_$_', key => 'hot:{id}') FROM pg_class WHERE relname = 'hot_$_'") for 1 .. $count;
note sprintf '%d views made in %.1f s, registered in %.1f s', $count, $made - $began, time - $made;
$began = time;
$views->proves('many views', seconds => 120);
note sprintf 'refreshed in %.1f s', time - $began;

my $before = $views->last_run;
$began = time;
my ($changes, $slowest) = (0, 0);
while (time - $began < 8) {
    $sql->run('UPDATE hot SET n = n + 1 WHERE id % 40 = ' . $changes++ % 40);
    $redis->command('SET', 'item:1', 'old');
    my $sent = time;
    $sql->run('INSERT INTO item VALUES (1) ON CONFLICT (id) DO UPDATE SET n = item.n + 1');
    wait_for('the key goes', sub { !$redis->command('EXISTS', 'item:1') }, 20);
    $slowest = time - $sent if time - $sent > $slowest;
}
my $wrote = time - $began;
$views->proves("many views and $changes changes", seconds => 120);
my $took = time - $began;
note sprintf '%d changes in %.1f s, quiet after %.1f s, slowest key %.3f s, %s refreshes', $changes, $wrote, $took, $slowest, $views->last_run - $before;
cmp_ok($slowest, '<', 2, 'keys are published meanwhile');
cmp_ok($views->value("SELECT max(c) FROM (SELECT count(*) AS c FROM cache_sync.refresh_run WHERE id > $before GROUP BY view)"), '<=', $took + 2, 'no view more often than its min_interval allows');
is($views->value(qq{SELECT count(*) FROM (SELECT started_at - lag(started_at) OVER (PARTITION BY view ORDER BY id) AS gap FROM cache_sync.refresh_run WHERE id > $before) g WHERE gap < '0.9 seconds'}), 0, '... at any time');
is($views->value("SELECT count(DISTINCT view) FROM cache_sync.refresh_run WHERE id > $before AND state = 'succeeded'"), $count, 'all were refreshed');
cmp_ok($views->value(qq{SELECT max(c) FROM cache_sync.refresh_run a CROSS JOIN LATERAL (SELECT count(*) AS c FROM cache_sync.refresh_run b WHERE a.started_at >= b.started_at AND a.started_at < b.finished_at AND b.id > $before) x WHERE a.id > $before}), '<=', 2, 'at most two at a time');
$began = time;
$sql->run('DROP TABLE hot CASCADE');
note sprintf 'dropped in %.1f s', time - $began;
is($views->value('SELECT (SELECT count(*) FROM cache_sync.view) + (SELECT count(*) FROM cache_sync.refresh_run)'), 0, 'nothing is remembered of what is dropped');

# ---- above each other ----

$sql->run(q{
    CREATE TABLE base (id int PRIMARY KEY, g int, n int);
    INSERT INTO base SELECT i, i % 5, i FROM generate_series(1, 50) i;
    CREATE MATERIALIZED VIEW left_side AS SELECT id, g, n FROM base;
    CREATE UNIQUE INDEX ON left_side (id);
    CREATE MATERIALIZED VIEW right_side AS SELECT g, sum(n) AS n FROM base GROUP BY g;
    CREATE VIEW between AS SELECT l.id, l.n, r.n AS total FROM left_side l JOIN right_side r USING (g);
    CREATE MATERIALIZED VIEW tip AS SELECT sum(total - n) AS n, min(id) AS id FROM between;
    CREATE MATERIALIZED VIEW chain_1 AS SELECT id, n FROM base;
    CREATE MATERIALIZED VIEW chain_2 AS SELECT id, n FROM chain_1;
    CREATE VIEW chain_3 AS SELECT id, n FROM chain_2;
    CREATE MATERIALIZED VIEW chain_4 AS SELECT id, n FROM chain_3;
    CREATE MATERIALIZED VIEW chain_5 AS SELECT id, n FROM chain_4;
    CREATE MATERIALIZED VIEW chain_6 AS SELECT sum(n) AS n FROM chain_5});
my @diamond = qw(left_side right_side tip);
my @chain = qw(chain_1 chain_2 chain_4 chain_5 chain_6);
# In an order that is none.
$sql->run("SELECT cache_sync.register_view('$_', min_interval => '0', key => '$_:{n}')") for 'tip', 'chain_5', @diamond, @chain;
$views->proves('above each other');
is($views->value(q{SELECT depends_on::text FROM cache_sync.views WHERE view = 'tip'::regclass}), '{left_side,right_side}', 'what is below is known');
my $surplus = 0;
for my $round (1 .. 8) {
    $before = $views->last_run;
    $sql->run("UPDATE base SET n = n + $round WHERE id % 10 = $round");
    $views->proves("above each other, $round");
    for my $view (@diamond, @chain) { $surplus += $views->since($before, $view) ne "$view succeeded" }
    is($views->value(qq{
        SELECT string_agg(a.view || ' before ' || b.view, ', ') FROM cache_sync.refresh_history a JOIN cache_sync.views v USING (view)
        JOIN cache_sync.refresh_history b ON b.view = ANY (v.depends_on) WHERE a.id > $before AND b.id > $before AND a.started_at < b.finished_at}), undef, 'each after all that is below it');
}
is($surplus, 0, 'each once');
# With one process the same.
setting('cache_sync.max_refresh_workers = 1');
$before = $views->last_run;
$sql->run('UPDATE base SET n = n + 1');
$views->proves('one process');
is($views->value("SELECT count(*) FROM cache_sync.refresh_run WHERE id > $before"), @diamond + @chain, 'one process: each once');
is($views->value(qq{SELECT count(*) FROM cache_sync.refresh_run a JOIN cache_sync.refresh_run b ON a.id < b.id AND a.started_at < b.finished_at AND b.started_at < a.finished_at WHERE a.id > $before}), 0, 'one process: one at a time');
setting('cache_sync.max_refresh_workers = 0');
$sql->run('UPDATE base SET n = n + 1');
my $asked = $views->ask('tip');
$node->drain;
$views->wait('it is known', q{SELECT state = 'dirty' FROM cache_sync.views WHERE view = 'chain_1'::regclass});
is($views->value('SELECT count(*) FROM cache_sync._refresh_jobs()') + $views->value("SELECT count(*) FROM cache_sync.refresh_run WHERE id > $asked"), 0, 'no process: nothing is refreshed');
is($views->value(q{SELECT string_agg(DISTINCT state, ' ' ORDER BY state) FROM cache_sync.views WHERE view::text IN ('chain_1', 'left_side', 'tip')}), 'dirty queued', 'no process: what is to be done is said');
setting('cache_sync.max_refresh_workers = 2');
$views->proves('two processes again');
is($views->ended($asked), 'succeeded', 'what was asked for is done');

# ---- one that fails ----

$sql->run(q{
    CREATE TABLE divisor (id int, n int);
    INSERT INTO divisor VALUES (1, 1);
    CREATE MATERIALIZED VIEW bad AS SELECT id, 100 / n AS q FROM divisor;
    CREATE MATERIALIZED VIEW over_bad AS SELECT sum(q) AS q FROM bad;
    SELECT cache_sync.register_view('bad', min_interval => '0', key => 'bad:{id}'), cache_sync.register_view('over_bad', min_interval => '0', tags => '{over_bad}')});
$views->proves('before it fails');
$before = $views->last_run;
$began = time;
$sql->run('UPDATE divisor SET n = 0');
$views->wait('it failed three times', q{SELECT failures = 3 FROM cache_sync.views WHERE view = 'bad'::regclass});
cmp_ok(time - $began, '>', 2.5, 'it fails, and waits longer each time');
is($views->since($before, 'bad'), 'bad failed, bad failed, bad failed', 'said in the history');
is($views->value("SELECT DISTINCT sqlstate || ' ' || message FROM cache_sync.refresh_history WHERE id > $before AND view = 'bad'::regclass"), '22012 division by zero', 'with the reason');
is($views->value(q{SELECT concat_ws(' ', state, last_sqlstate, last_error) FROM cache_sync.views WHERE view = 'bad'::regclass}), 'backing off 22012 division by zero', 'and in the views');
is($views->value("SELECT string_agg(round(extract(epoch FROM gap))::text, ' ' ORDER BY id) FROM (SELECT id, started_at - lag(finished_at) OVER (ORDER BY id) AS gap FROM cache_sync.refresh_history WHERE id > $before AND view = 'bad'::regclass) g"), '1 2', 'after 1 s, then 2 s');
for my $n (1 .. 15) {
    $sql->run("UPDATE base SET n = n + 1 WHERE id = $n; UPDATE divisor SET id = id + 1");
    $views->quiet(except => [ 'bad', 'over_bad' ]);
}
$views->quiet(except => [ 'bad', 'over_bad' ]);
cmp_ok($views->value("SELECT count(*) FROM cache_sync.refresh_run WHERE id > $before AND view = 'bad'::regclass"), '<', 6, 'new changes do not make it try more often');
is($views->value('SELECT n FROM chain_6'), $views->value('SELECT sum(n) FROM base'), 'the others follow');
is($views->value("SELECT count(*) FROM cache_sync.refresh_run WHERE id > $before AND state <> 'succeeded' AND view <> 'bad'::regclass"), 0, 'none of them failed');
$sql->run('UPDATE divisor SET n = 5');
is($views->ended($views->ask('bad')), 'succeeded', 'repaired and asked for, it is refreshed at once');
$views->proves('repaired');
is($views->value(q{SELECT failures FROM cache_sync.views WHERE view = 'bad'::regclass}), 0, 'repaired: its failures are forgotten');

# ---- history ----

setting('cache_sync.history_limit = 5');
$views->ask('tip'), $views->quiet for 1 .. 8;
is($views->value(q{SELECT count(*) FROM cache_sync.refresh_history WHERE view = 'tip'::regclass}), 5, 'the history is limited');
is($views->value(q{SELECT max(id) FROM cache_sync.refresh_history}), $views->last_run, 'to the newest');
cmp_ok($views->value(q{SELECT refreshes FROM cache_sync.stat_views WHERE view = 'tip'::regclass}), '>', 15, 'the counters are not');

# ---- schedules ----

$sql->run(q{
    CREATE TABLE unwatched (n int); INSERT INTO unwatched VALUES (1);
    CREATE MATERIALIZED VIEW clock AS SELECT n FROM unwatched;
    SELECT cache_sync.register_view('clock', '1 second', on_change => false, tags => '{clock}')});
$began = time;
is($views->value(q{SELECT state FROM cache_sync.views WHERE view = 'clock'::regclass}), 'unwatched', 'by schedule only');
my $clock = q{FROM cache_sync.refresh_history WHERE view = 'clock'::regclass AND state = 'succeeded'};
$sql->run('UPDATE unwatched SET n = 2');
$views->wait('the schedule comes', 'SELECT n = 2 FROM clock');
is($views->value("SELECT DISTINCT reason $clock"), 'schedule', 'with its reason');
$views->wait('and again', "SELECT count(*) >= 4 $clock");
cmp_ok(time - $began, '>', 2, 'once a second');
$sql->close;
$views->close;
$node->stop;
# Six times of the schedule pass.
usleep(6_000_000);
$node->start;
$views->wait('a missed run comes, and the next ones', "SELECT count(*) >= 4 $clock AND started_at > pg_postmaster_start_time()");
cmp_ok($views->value('SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())'), '>', 1.9, 'missed runs run once');
cmp_ok($views->naive_stale, '>', 5, 'entries that nobody invalidates are stale');
$node->stop;

# ---- out of slots ----

my $small = CacheSync::Cluster->new('small', extension => 0, conf => "max_worker_processes = 3\nmax_logical_replication_workers = 0\n");
$small->safe_psql('postgres', 'CREATE DATABASE other');
$small->safe_psql($_, 'CREATE EXTENSION cache_sync') for 'postgres', 'other';
$small->publisher_pid($_) for 'postgres', 'other';
my $few = CacheSync::Views->new($small);
$few->run(q{
    CREATE TABLE base (n int); INSERT INTO base VALUES (1);
    CREATE MATERIALIZED VIEW mv AS SELECT n FROM base;
    SELECT cache_sync.register_view('mv')});
$few->wait('it says so', q{SELECT last_error ~ 'worker slots' FROM cache_sync.workers WHERE role = 'publisher' AND datname = 'postgres'});
like(slurp_file($small->logfile), qr/WARNING:  cache_sync: out of background worker slots\n.*\n.*max_worker_processes/, 'out of slots: said in the log, with what to do');
$few->run('UPDATE base SET n = 2');
is($few->value(q{SELECT state FROM cache_sync.views}), 'dirty', 'out of slots: the view is dirty');
$small->safe_psql('other', 'DROP EXTENSION cache_sync');
$began = time;
$few->proves('a slot is free');
cmp_ok(time - $began, '<', 12, 'a slot is free: tried again soon');
is($few->value('SELECT n FROM mv'), 2, 'a slot is free: refreshed');
is(() = slurp_file($small->logfile) =~ /out of background worker slots/g, 1, 'said once, not each time');
$small->stop;
done_testing();
