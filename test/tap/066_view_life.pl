# The life of views around refreshes: what is dropped while it is refreshed holds nobody up, locks of others are given way to,
# changes come by logical replication, a standby is promoted, a dump is restored.
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use IPC::Run;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;
use CacheSync::Views;

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis, streaming => 1, conf => "cache_sync.refresh_lock_timeout = 400ms\nmax_wal_senders = 10\nautovacuum = off\n");
$node->wait_for_target('main', 'connected');
my $views = CacheSync::Views->new($node, redis => $redis);
my $sql = CacheSync::Sql->new($node);
$views->make_gate;
my $fresh = 0;

# A table and a view over it with a gate of the view's name, registered.
sub make {
    my ($in, $name, $options) = @_;
    $in->run(qq{
        CREATE TABLE base_$name (id int PRIMARY KEY, n int);
        INSERT INTO base_$name SELECT i, 0 FROM generate_series(1, 30) i;
        CREATE MATERIALIZED VIEW $name AS SELECT b.* FROM (SELECT public.pass('$name') AS gate OFFSET 0) p, base_$name b;
        CREATE UNIQUE INDEX ON $name (id)});
    $in->run(qq{SELECT cache_sync.register_view('$name', min_interval => '0', key => '$name:{id}' } . ($options // '') . ')');
    return;
}
sub change { my ($in, $name) = @_; $fresh++; $in->run("UPDATE base_$name SET n = $fresh WHERE id % 3 = $fresh % 3"); return }
sub hold { my ($in, $name) = @_; $in->shut($name); change($in, $name); return $in->at_gate($name) }
sub refreshes { return $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_sync refresh'}) }
sub quickly {
    my ($what, $statement, $database) = @_;
    my $began = time;
    my $session = CacheSync::Sql->new($node, database => $database // 'postgres');
    $session->run($statement);
    $session->close;
    cmp_ok(time - $began, '<', 2, "$what does not wait for a refresh");
    return;
}
# After that nothing may be started over and over.
sub nothing_is_left {
    my ($what) = @_;
    wait_for("$what: no refresh is left", sub { refreshes() eq '0' });
    my $size = -s $node->logfile;
    usleep(1_300_000);
    open my $log, '<', $node->logfile or die "log: $!";
    seek $log, $size, 0;
    is(() = join('', <$log>) =~ /ERROR|FATAL|WARNING|refresh of materialized view/g, 0, "$what: nothing is tried for ever");
    return;
}

# ---- locks of others ----

make($views, 'mv');
make($views, 'whole', ', "concurrently" => false');
$views->proves('at first');

# Somebody reads the view for long. A plain refresh must not have all others wait behind it.
my $reader = CacheSync::Sql->new($node);
$reader->run('BEGIN; SELECT count(*) FROM whole');
change($views, 'whole');
my ($slowest, $seen) = (0, 0);
my $until = time + 3;
while (time < $until) {
    my $began = time;
    $sql->value('SELECT count(*) FROM whole');
    $slowest = time - $began if time - $began > $slowest;
    $seen++ if $views->value(q{SELECT count(*) FROM cache_sync._refresh_jobs() j WHERE j.view = 'whole'::regclass});
    usleep(10_000);
}
note sprintf 'a reader behind a plain refresh waited for %.2f s', $slowest;
cmp_ok($seen, '>', 0, 'a refresh wants the lock of a reader');
cmp_ok($slowest, '>', 0.2, '... and others wait behind it');
cmp_ok($slowest, '<', 1.2, '... but not for long');
$reader->run('COMMIT');
$views->proves('the reader is gone');

# Somebody has the view for himself for a while: it gives up and comes again.
my $locker = CacheSync::Sql->new($node);
for my $statement ('ALTER MATERIALIZED VIEW mv SET (fillfactor = 90)', 'REFRESH MATERIALIZED VIEW mv') {
    my $run = $views->last_run;
    $locker->run("BEGIN; $statement");
    change($views, 'mv');
    $views->wait('it gives up', qq{SELECT count(*) > 0 FROM cache_sync.refresh_run WHERE id > $run AND state = 'failed'}) if $statement =~ /^REFRESH/;
    $views->wait('it tries again', q{SELECT count(*) > 0 FROM cache_sync._refresh_jobs() WHERE phase = 'retrying'});
    $locker->run('COMMIT');
    $views->proves("after $statement");
    is($views->value("SELECT coalesce(string_agg(DISTINCT sqlstate, ' '), '') FROM cache_sync.refresh_history WHERE id > $run"), $statement =~ /^REFRESH/ ? '55P03' : '', "after $statement: what the history says");
}
# A base table that is locked stops the refresh as well.
$locker->run('BEGIN; LOCK TABLE base_mv IN ACCESS EXCLUSIVE MODE; UPDATE base_mv SET n = -1 WHERE id = 1');
my $asked = $views->ask('mv');
$views->wait('it tries again', q{SELECT count(*) > 0 FROM cache_sync._refresh_jobs() WHERE phase = 'retrying'});
$locker->run('COMMIT');
is($views->ended($asked), 'succeeded', 'a base table was locked: refreshed in the end');
$views->proves('a base table was locked');

# statement_timeout: said, tried again with a pause, and nobody else is concerned.
make($views, 'limited', q{, statement_timeout => '200 ms'});
$views->proves('with a timeout');
my $run = $views->last_run;
hold($views, 'limited');
change($views, 'mv');
$views->wait('it failed twice', q{SELECT failures = 2 FROM cache_sync.views WHERE view = 'limited'::regclass});
is($views->value("SELECT string_agg(DISTINCT concat_ws(' ', view, state, sqlstate), ', ') FROM cache_sync.refresh_history WHERE id > $run"), 'limited failed 57014, mv succeeded', 'statement_timeout: said');
$views->open('limited');
$views->proves('after statement_timeout');

# ---- what is dropped ----

my $before = refreshes();
make($views, 'dropped');
$views->quiet;
hold($views, 'dropped');
quickly('DROP MATERIALIZED VIEW', 'DROP MATERIALIZED VIEW dropped');
nothing_is_left('DROP MATERIALIZED VIEW');
is($views->value(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'base_dropped'::regclass}), 0, 'DROP MATERIALIZED VIEW: no trigger is left');
is($views->value(q{SELECT (SELECT count(*) FROM cache_sync.views WHERE view::text = 'dropped') + (SELECT count(*) FROM cache_sync.view_state s WHERE NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = s.view))}), 0, '... and nothing is remembered');
make($views, 'taken');
$views->quiet;
my $pid = hold($views, 'taken');
quickly('unregister_view', q{SELECT cache_sync.unregister_view('taken')});
$views->open('taken');
$views->proves('unregistered while it is refreshed');
is($views->value(q{SELECT count(*) FROM pg_trigger WHERE tgrelid = 'base_taken'::regclass}), 0, 'unregistered: no trigger is left');
nothing_is_left('unregister_view');

for my $end ('DROP EXTENSION cache_sync CASCADE', 'DROP DATABASE side', 'DROP DATABASE side WITH (FORCE)') {
    my $inside = $end =~ /EXTENSION/;
    $node->safe_psql('postgres', 'CREATE DATABASE side');
    $node->safe_psql('side', 'CREATE EXTENSION cache_sync');
    $node->publisher_pid('side');
    my $side = CacheSync::Views->new($node, database => 'side');
    $side->make_gate;
    make($side, $_) for 'one', 'two';
    $side->quiet;
    hold($side, $_) for 'one', 'two';
    # FORCE ends sessions, so one is left open for it.
    $side->close unless $end =~ /FORCE/;
    quickly($end, $end, $inside ? 'side' : 'postgres');
    nothing_is_left($end);
    $side->close;
    if ($inside) {
        is($node->safe_psql('side', q{SELECT count(*) FROM pg_trigger WHERE tgname ~ 'cache_sync'}), '0', "$end: no trigger is left");
        $node->safe_psql('side', 'DELETE FROM gate');
        $node->safe_psql('side', 'UPDATE base_one SET n = 1; REFRESH MATERIALIZED VIEW CONCURRENTLY two; DROP MATERIALIZED VIEW one');
        quickly('DROP DATABASE after it', 'DROP DATABASE side');
    }
}
change($views, 'mv');
$views->proves('the other database is not concerned');

# ---- a standby ----

$node->backup('b');
my $standby = CacheSync::Cluster->new('standby', bare => 1);
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
hold($views, 'mv');
$node->wait_for_replay_catchup($standby);
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'cache_sync%'}), '0', 'nothing runs on a standby');
is($standby->safe_psql('postgres', "SELECT count(*) FROM cache_sync.$_") > 0, 1, "$_ can be read there") for 'views', 'refresh_history', 'stat_views', 'check()';
my ($code) = $standby->psql('postgres', q{SELECT cache_sync.refresh('mv')});
isnt($code, 0, 'refresh() fails there');
$views->close;
$sql->close;
$locker->close;
$node->stop('immediate');
$standby->promote;
my $promoted = CacheSync::Views->new($standby, redis => $redis);
$standby->wait_for_target('main', 'connected');
$promoted->open('mv');
$promoted->proves('promoted');
is($promoted->value("SELECT count(*) FROM mv WHERE n = $fresh"), 10, 'promoted: what the old primary did not come to is in the view');
change($promoted, 'mv');
$promoted->proves('promoted, and written');

# ---- logical replication ----

my $source = CacheSync::Cluster->new('source', streaming => 1, extension => 0);
my $tables = 'CREATE TABLE item (id int PRIMARY KEY, n int); CREATE TABLE part (id int PRIMARY KEY, n int) PARTITION BY RANGE (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (0) TO (100)';
$_->safe_psql('postgres', $tables) for $source, $standby;
$source->safe_psql('postgres', 'INSERT INTO item VALUES (1, 1); INSERT INTO part VALUES (1, 1); CREATE PUBLICATION p FOR TABLE item, part WITH (publish_via_partition_root = true)');
$promoted->run(q{
    CREATE MATERIALIZED VIEW applied AS SELECT i.id, i.n, p.n AS m FROM item i LEFT JOIN part p USING (id);
    CREATE UNIQUE INDEX ON applied (id);
    SELECT cache_sync.register_view('applied', min_interval => '0', key => 'applied:{id}')});
$promoted->run("CREATE SUBSCRIPTION s CONNECTION '" . $source->connstr . " dbname=postgres' PUBLICATION p");
$standby->wait_for_subscription_sync($source, 's');
$promoted->proves('the initial copy');
is($promoted->value('SELECT count(*) FROM applied'), 1, 'the initial copy is in the view');
for my $statement ('INSERT INTO item VALUES (2, 2)', 'UPDATE item SET n = 3 WHERE id = 1', 'UPDATE part SET n = 4', 'INSERT INTO part VALUES (2, 5)', 'DELETE FROM item WHERE id = 2', 'TRUNCATE part', 'TRUNCATE item') {
    $source->safe_psql('postgres', $statement);
    $source->wait_for_catchup('s');
    $promoted->proves("applied: $statement");
}
$promoted->run('DROP SUBSCRIPTION s');
$source->stop;

# ---- dump and restore ----

$promoted->run('INSERT INTO item VALUES (7, 7)');
$promoted->quiet;
my $dir = PostgreSQL::Test::Utils::tempdir;
my $registered = q{SELECT v.view::text, v.schedule, v.on_change, v.min_interval, v.concurrently, v.statement_timeout, r.key, r.tags FROM cache_sync.view v LEFT JOIN cache_sync.rule r ON r.relation = v.view ORDER BY 1};
my $triggers = q{SELECT tgrelid::regclass::text, tgname, tgenabled FROM pg_trigger WHERE tgname ~ '^cache_sync' ORDER BY 1, 2};
my %wanted = map { $_ => $standby->safe_psql('postgres', $_) } $registered, $triggers;
IPC::Run::run([ 'pg_dump', '-f', "$dir/dump.sql", '-d', $standby->connstr('postgres') ]) or die 'pg_dump';
unlike(slurp_file("$dir/dump.sql"), qr/COPY cache_sync\.(view_state|refresh_run)/, 'neither state nor history is dumped');
$standby->safe_psql('postgres', 'CREATE DATABASE restored TEMPLATE template0');
my ($out, $errors);
IPC::Run::run([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", '-d', $standby->connstr('restored') ], '>', \$out, '2>', \$errors);
is($errors =~ s/^.*(WARNING|DETAIL|HINT|CONTEXT|SQL statement|PL.pgSQL).*\n//gmr, '', 'it is restored');
my $restored = CacheSync::Views->new($standby, database => 'restored');
is($standby->safe_psql('restored', $_), $wanted{$_}, 'restored: the same') for $registered, $triggers;
$restored->quiet;
is(join("\n", $restored->wrong), '', 'restored: each view holds what its query yields');
is($restored->value(q{SELECT string_agg(DISTINCT c::text, ' ') FROM (SELECT count(*) AS c FROM cache_sync.refresh_run GROUP BY view) x}), '1', 'restored: each was refreshed once');
is($restored->value('SELECT count(DISTINCT view) FROM cache_sync.refresh_run'), $restored->value('SELECT count(*) FROM cache_sync.view'), '... all of them');
change($restored, 'mv');
$restored->quiet;
is(join("\n", $restored->wrong), '', 'restored: and they follow');
$restored->close;
cmp_ok($views->valid + $promoted->valid, '>', 500, 'enough entries were judged');
$promoted->close;
$standby->stop;
done_testing();
