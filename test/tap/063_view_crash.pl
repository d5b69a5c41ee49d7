# Processes that end while views are refreshed: refresh, publisher and postmaster are killed in every phase of a refresh, the
# server is restarted, refreshes are canceled and terminated. Nothing is lost, nothing is left behind, and whoever failed comes
# again. Locks and gates hold a refresh in the phase; the last one before its commit waits for the queue.
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
my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "cache_sync.refresh_lock_timeout = 60s\nautovacuum = off\n");
$node->wait_for_target('main', 'connected');
my $views = CacheSync::Views->new($node, redis => $redis);
$views->make_gate;
$views->run(q{
    CREATE TABLE base (id int PRIMARY KEY, g int, n int);
    CREATE TABLE big (id int, g int);
    INSERT INTO base SELECT i, i % 5, 0 FROM generate_series(1, 50) i;
    INSERT INTO big SELECT i, i % 50 FROM generate_series(1, 40000) i;
    CREATE MATERIALIZED VIEW mv AS SELECT b.* FROM (SELECT pass('mv') AS gate OFFSET 0) p, base b;
    CREATE UNIQUE INDEX ON mv (id);
    CREATE MATERIALIZED VIEW above AS SELECT g, sum(n) AS n FROM mv GROUP BY g;
    CREATE MATERIALIZED VIEW wide AS SELECT * FROM big;
    SELECT cache_sync.register_view('mv', min_interval => '0', key => 'mv:{id}', tags => '{"g:{g}"}'),
           cache_sync.register_view('above', min_interval => '0', key => 'above:{g}'),
           cache_sync.register_view('wide', min_interval => '0', tags => '{"wide:{g}"}')});
$views->proves('at first');

my $fresh = 0;
sub change { $fresh++; $views->run("UPDATE base SET n = $fresh WHERE id % 7 = $fresh % 7"); return }
sub lost { return $_[0]->value('SELECT count(*) FROM cache_sync.refresh_run WHERE state = \'running\'') }

# Each brings a refresh of its view into the phase, and returns the view, the pid, and the session that holds it there.
my %hold = (
    starting => sub {
        my $holder = CacheSync::Sql->new($node);
        $holder->run('BEGIN; LOCK TABLE cache_sync.refresh_run IN SHARE MODE');
        change();
        return ('mv', $views->in_phase('mv', 'starting', 1), $holder);
    },
    locking => sub {
        my $holder = CacheSync::Sql->new($node);
        $holder->run('BEGIN; ANALYZE mv');
        change();
        return ('mv', $views->in_phase('mv', 'locking', 1), $holder);
    },
    refreshing => sub {
        $views->shut('mv');
        change();
        my $pid = $views->at_gate('mv');
        # What comes now is in no view, whatever becomes of this refresh.
        change();
        return ('mv', $pid);
    },
    # Stopped where it is: no lock would hold it there. One that was through already is tried again.
    comparing => sub {
        my $sql = CacheSync::Sql->new($node);
        while (1) {
            $sql->run("UPDATE big SET g = (g + 1) % 50 WHERE id = 1 + " . $fresh++);
            my $pid;
            wait_for('it compares', sub {
                $pid = $sql->value(q{SELECT pid FROM cache_sync._refresh_jobs() WHERE view = 'wide'::regclass AND phase = 'comparing' AND pid <> 0});
                defined $pid || !defined $views->unrest }, 10);
            next unless defined $pid && kill 'STOP', $pid;
            return ('wide', $pid) if ($sql->value("SELECT phase FROM cache_sync._refresh_jobs() WHERE pid = $pid") // '') eq 'comparing';
            kill 'CONT', $pid;
        }
    },
    committing => sub {
        my $holder = CacheSync::Sql->new($node);
        $views->shut('mv');
        change();
        my $pid = $views->at_gate('mv');
        $holder->run('BEGIN; LOCK TABLE cache_sync.queue_0, cache_sync.queue_1, cache_sync.queue_2 IN SHARE MODE');
        $views->open('mv');
        wait_for('it waits for the queue', sub {
            $views->value("SELECT count(*) FROM pg_locks WHERE pid = $pid AND NOT granted AND relation::regclass::text ~ 'queue_\\d'") > 0 });
        return ('mv', $pid, $holder);
    });

# After a crash the server must be back and answer.
sub is_back {
    my ($publisher) = @_;
    $node->publisher_pid(undef, not => $publisher);
    $views->close;
    return;
}

for my $phase (qw(starting locking refreshing comparing committing)) {
    for my $victim (qw(refresh publisher postmaster)) {
        my $text = "$victim is killed, $phase";
        my $publisher = $node->publisher_pid;
        my ($view, $pid, $holder) = $hold{$phase}->();
        my $run = $views->value("SELECT run FROM cache_sync._refresh_jobs() WHERE pid = $pid") // 0;
        if ($victim eq 'refresh') { kill 'KILL', $pid or die "kill: $!" }
        elsif ($victim eq 'publisher') { kill 'KILL', $publisher or die "kill: $!" }
        else { $node->kill9 }
        # A stopped process would never notice.
        kill 'CONT', $pid if $phase eq 'comparing';
        if ($victim eq 'postmaster') { $node->poll_until('a new postmaster', sub { $node->start(fail_ok => 1) or $node->stop('fast', fail_ok => 1), 0 }) }
        is_back($publisher);
        $holder->close if $holder;
        $views->open('mv');
        $views->proves($text);
        cmp_ok($views->last_run, '>', $run, "$text: it came again");
        is(lost($views), 0, "$text: no run is left open");
        next if $phase eq 'starting';
        # Without a postmaster one that waits for nothing may come to its end.
        my $end = $phase eq 'comparing' && $victim eq 'postmaster' ? qr/^(failed 57P01|succeeded)$/ : qr/^failed 57P01$/;
        like($views->value("SELECT concat_ws(' ', state, sqlstate) FROM cache_sync.refresh_run WHERE id = $run"), $end, "$text: the run is said to have failed");
    }
}

# The publisher ends in order while a refresh runs: the next one has no other refresh of the view beside it.
for my $phase (qw(locking refreshing committing)) {
    my $text = "the publisher is terminated, $phase";
    my $publisher = $node->publisher_pid;
    my ($view, $pid, $holder) = $hold{$phase}->();
    my $most = 0;
    $views->run("SELECT pg_terminate_backend($publisher)");
    $node->publisher_pid(undef, not => $publisher);
    $views->wait("$text: the refresh is gone", sub {
        my $beside = $views->value(q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_sync refresh' AND query ~ 'mv$'});
        $most = $beside if $beside > $most;
        $views->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") == 0 });
    if ($holder) { $holder->run('ROLLBACK'); $holder->close }
    $views->open('mv');
    $views->proves($text);
    is($most <= 1, 1, "$text: never two of one view");
    is(lost($views), 0, "$text: no run is left open");
}

# Restarts with dirty views.
for my $mode (qw(fast immediate)) {
    for my $held (0, 1) {
        my $text = "restarted, $mode" . ($held ? ', while a refresh runs' : '');
        my $publisher = $node->publisher_pid;
        if ($held) { $hold{refreshing}->() }
        else {
            $node->append_conf('postgresql.conf', 'cache_sync.max_refresh_workers = 0');
            $node->reload;
            $views->wait('the setting is read', q{SELECT current_setting('cache_sync.max_refresh_workers') = '0'});
            change();
            $views->wait('it is dirty', q{SELECT state = 'dirty' FROM cache_sync.views WHERE view = 'mv'::regclass});
            is($views->value('SELECT count(*) FROM cache_sync._refresh_jobs()'), 0, "$text: nothing is started with no workers allowed");
            $node->append_conf('postgresql.conf', 'cache_sync.max_refresh_workers = 2');
        }
        $views->close;
        $node->stop($mode);
        $node->start;
        is_back($publisher);
        $views->open('mv');
        $views->proves($text);
        is(lost($views), 0, "$text: no run is left open");
    }
}
# What the publisher has not read yet is in the queue.
my $publisher = $node->publisher_pid;
kill 'STOP', $publisher or die "kill: $!";
change();
$views->run('BEGIN; UPDATE base SET n = -5 WHERE id = 5; PREPARE TRANSACTION \'p\'');
$views->close;
$node->kill9;
kill 'CONT', $publisher;
$node->poll_until('a new postmaster', sub { $node->start(fail_ok => 1) or $node->stop('fast', fail_ok => 1), 0 });
is_back($publisher);
$views->proves('unread before the crash');
is($views->value('SELECT count(*) FROM mv WHERE n = ' . $fresh), $views->value("SELECT count(*) FROM base WHERE n = $fresh"), 'unread before the crash: it is in the view');
$views->run(q{COMMIT PREPARED 'p'});
$views->proves('prepared before the crash');

# Canceled and terminated refreshes: said with their SQLSTATE, and tried again by themselves, the former not at once.
for my $case ([ 'pg_terminate_backend', 'failed', '57P01', 0.5, 4 ], [ 'pg_cancel_backend', 'canceled', '57014', 50, 70 ]) {
    my ($function, $state, $sqlstate, $least, $most) = @$case;
    $views->shut('mv');
    my $run = $views->last_run;
    change();
    my $pid = $views->at_gate('mv');
    change();
    $node->drain;
    $views->run("SELECT $function($pid)");
    $views->wait("$function: said", sub { $views->value(q{SELECT state FROM cache_sync.views WHERE view = 'mv'::regclass}) eq 'backing off' });
    is($views->value("SELECT concat_ws(' ', state, sqlstate) FROM cache_sync.refresh_history WHERE id > $run ORDER BY id LIMIT 1"), "$state $sqlstate", "$function: how it ended");
    is($views->value(q{SELECT concat_ws(' ', failures, last_sqlstate, dirty_since IS NOT NULL) FROM cache_sync.views WHERE view = 'mv'::regclass}), "1 $sqlstate t", "$function: the view is still dirty");
    my $wait = $views->value(q{SELECT extract(epoch FROM next_run - last_failure) FROM cache_sync.views WHERE view = 'mv'::regclass});
    cmp_ok($wait, '>', $least, "$function: it waits");
    cmp_ok($wait, '<', $most, "$function: not for too long");
    $views->open('mv');
    # Somebody who asks need not wait.
    is($views->ended($views->ask('mv')), 'succeeded', "$function: asked for, it comes at once") if $function =~ /cancel/;
    $views->proves($function);
}

cmp_ok($views->valid, '>', 1000, 'enough entries were judged');
cmp_ok($views->naive_stale, '>', 20, 'entries that nobody invalidates are stale');
$node->stop;
done_testing();
