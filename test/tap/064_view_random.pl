# Random views over random tables and over each other, changed by random transactions, while readers fill a cache from them and
# refreshes, publisher and server are asked, canceled, killed and restarted. Whenever it is quiet each view must hold what its
# query yields, and no entry of the cache may be stale. CS_SEED repeats a run, CS_STEPS is how many rounds it has.
use strict;
use warnings;
use List::Util qw(shuffle);
use POSIX ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;
use CacheSync::Views;

my $seed = $ENV{CS_SEED} // int rand 1_000_000;
my $rounds = $ENV{CS_STEPS} // 12;
my ($writers, $transactions) = (3, 40);
diag "seed $seed";
srand $seed;
sub one_of { return $_[ rand @_ ] }

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis,
    conf => "cache_sync.ring_size = 64kB\ncache_sync.refresh_lock_timeout = 200ms\ncache_sync.history_limit = 100000\nmax_prepared_transactions = 20\nlog_statement = none\nlog_min_messages = warning\nlog_min_error_statement = panic\n");
$node->wait_for_target('main', 'connected');
my $views = CacheSync::Views->new($node, redis => $redis);
my $dir = PostgreSQL::Test::Utils::tempdir('views');

# ---- tables, and views that all have the columns id, g and n, so that any can be read by any other ----

my @read = map { "t$_" } 1 .. 4;
my @tables = @read;
for my $table (@read) {
    my $kind = one_of('plain', 'hash', 'range', 'child');
    $views->run("CREATE TABLE $table (id int PRIMARY KEY, g int, n int)" . ($kind =~ /hash|range/ ? " PARTITION BY $kind (id)" : ''));
    if ($kind eq 'hash') { $views->run("CREATE TABLE ${table}_$_ PARTITION OF $table FOR VALUES WITH (MODULUS 3, REMAINDER $_)") for 0 .. 2 }
    if ($kind eq 'range') { $views->run("CREATE TABLE ${table}_$_ PARTITION OF $table FOR VALUES FROM (" . $_ * 20 . ') TO (' . ($_ * 20 + 20) . ')') for 0 .. 2 }
    if ($kind eq 'child') { $views->run("CREATE TABLE ${table}_c () INHERITS ($table)") }
    note "$table: $kind";
    $views->run("INSERT INTO $table SELECT i, i % 4, i FROM generate_series(1, 40) i");
    push @tables, $kind eq 'child' ? "${table}_c" : "${table}_1" if $kind ne 'plain';
}
$views->run("CREATE MATERIALIZED VIEW control AS SELECT * FROM $read[0]");

# A query over the inputs; what of it is unique.
sub query {
    my ($x, $y) = @_;
    my $k = 2 + int rand 4;
    return one_of(
        [ "SELECT id, g, n FROM $x WHERE n % $k <> 0", '' ],
        [ "SELECT g AS id, min(id) AS g, sum(n)::int % 100003 AS n FROM $x GROUP BY g", 'id' ],
        [ "SELECT a.id, b.g, (a.n + b.n) % 100003 AS n FROM (SELECT id, sum(n)::int % 1000 AS n FROM $x GROUP BY id) a JOIN (SELECT id, min(g) AS g, max(n) AS n FROM $y GROUP BY id) b USING (id)", 'id' ],
        [ "SELECT id, g, n FROM $x WHERE g % 2 = 0 UNION ALL SELECT id, g, n FROM $y WHERE g % 2 = 1", '' ],
        [ "SELECT DISTINCT g AS id, g, (g * $k) AS n FROM $x WHERE n > 20 AND g IS NOT NULL", 'id' ]);
}
my (@below, @names, @plain) = @read;
for my $number (1 .. 9) {
    # Rather what is new, so that some depth comes of it.
    my ($x, $y) = map { $below[ rand() < 0.5 ? -1 - int rand(@below > 3 ? 3 : @below) : rand @below ] } 1, 2;
    my ($query, $unique) = @{ query($x, $y) };
    if ($number % 4 == 0) {
        $views->run("CREATE VIEW p$number AS $query");
        push @plain, "p$number";
        push @below, "p$number";
        next;
    }
    # Some take their time, so that much happens meanwhile.
    $query = "WITH s AS MATERIALIZED (SELECT pg_sleep(0.05)) SELECT q.* FROM s, ($query) q" if rand() < 0.3;
    $views->run("CREATE MATERIALIZED VIEW v$number AS $query");
    my $concurrent = $unique && rand() < 0.7;
    $views->run("CREATE UNIQUE INDEX ON v$number ($unique)") if $concurrent;
    note "v$number: $query" . ($concurrent ? ', unique' : '');
    push @names, "v$number";
    push @below, "v$number";
}
sub register {
    my ($name) = @_;
    my $interval = one_of('0', '0', '50 ms', '300 ms', '1 second');
    return $views->run("SELECT cache_sync.register_view('$name', min_interval => '$interval', key => '$name:{id}', tags => '{\"$name.{g}\"}')");
}
register($_) for shuffle @names;
$views->proves('at first');

# ---- who writes and who reads ----

sub in_child {
    my ($work) = @_;
    my $pid = fork // die "fork: $!";
    return $pid if $pid;
    my $fine = eval { $work->(); 1 };
    print STDERR "child: $@" unless $fine;
    POSIX::_exit($fine ? 0 : 1);
}

sub statement {
    my $table = one_of(@tables);
    my ($id, $id_2, $g, $n) = (map({ 1 + int rand 55 } 1, 2), rand() < 0.05 ? 'NULL' : int rand 6, int rand 200);
    my $where = one_of("id = $id", "id BETWEEN $id AND $id + 5", "g = " . int rand 6);
    return "TRUNCATE $table" if rand() < 0.01;
    return one_of(
        "UPDATE $table SET n = $n WHERE $where", "UPDATE $table SET n = n + 1, g = $g WHERE $where", "DELETE FROM $table WHERE $where",
        $table =~ /_1$/ ? "UPDATE $table SET g = $g" : "INSERT INTO $table SELECT $id + i, $g, $n FROM generate_series(0, 3) i WHERE $id + i < 60" . ($table =~ /_c$/ ? '' : ' ON CONFLICT (id) DO UPDATE SET n = excluded.n'),
        $table =~ /_/ ? "UPDATE $table SET n = n" : "MERGE INTO $table t USING (VALUES ($id), ($id_2)) AS s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = $n WHEN NOT MATCHED THEN DO NOTHING");
}

sub transaction {
    my ($sql, $name) = @_;
    return $sql->run(statement()) if rand() < 0.3;
    $sql->run('BEGIN');
    $sql->run('SET LOCAL session_replication_role = replica') if rand() < 0.1;
    for (1 .. 1 + int rand 3) {
        my $saved = rand() < 0.4;
        $sql->run('SAVEPOINT a') if $saved;
        $sql->run(statement());
        $sql->run(one_of('ROLLBACK TO a', 'RELEASE a')) if $saved;
    }
    my $dice = rand;
    return $sql->run('ROLLBACK') if $dice < 0.1;
    return $sql->run('COMMIT') if $dice < 0.9;
    $sql->run("PREPARE TRANSACTION '$name'");
    usleep(rand 100_000);
    return $sql->run(one_of('COMMIT', 'ROLLBACK') . " PREPARED '$name'");
}

# A session of the writer; what an earlier one left prepared holds locks.
sub writer_session {
    my ($writer) = @_;
    my $sql = CacheSync::Sql->new($node, timeout => 20);
    $sql->run("ROLLBACK PREPARED '$_->[0]'") for $sql->rows("SELECT gid FROM pg_prepared_xacts WHERE gid ~ '^w${writer}_'");
    return $sql;
}

# What ends with an error, by a deadlock, or with the server, is given up; the server says what came of it.
sub write_for {
    my ($writer, $round) = @_;
    srand $seed * 31 + $round * 7 + $writer;
    my $sql;
    for my $number (1 .. $transactions) {
        $sql //= eval { writer_session($writer) };
        my $fine = $sql && eval { transaction($sql, "w${writer}_${round}_$number"); 1 };
        if (!$fine) {
            $sql->close if $sql;
            $sql = undef;
            usleep(30_000);
        }
        usleep(rand 30_000);
    }
    return;
}

# ---- what disturbs ----

my %did;
my $naive = 0;
sub refresh_pid {
    my $pid;
    $views->ask(one_of(@names)) for 1 .. 3;
    for (1 .. 100) {
        $pid = $views->value('SELECT pid FROM cache_sync._refresh_jobs() WHERE pid <> 0 ORDER BY random() LIMIT 1');
        last if defined $pid;
        usleep(3000);
    }
    usleep(rand 20_000);
    return $pid;
}
sub restarted { my ($publisher) = @_; $node->publisher_pid(undef, not => $publisher); $views->close; return }
my %disturb = (
    'ask' => sub { $views->ask(one_of(@names)) for 1 .. 3; return 1 },
    'cancel' => sub { my $pid = refresh_pid() // return 0; $views->run("SELECT pg_cancel_backend($pid)"); return 1 },
    'terminate' => sub { my $pid = refresh_pid() // return 0; $views->run("SELECT pg_terminate_backend($pid)"); return 1 },
    'terminate publisher' => sub { my $pid = $node->publisher_pid; $views->run("SELECT pg_terminate_backend($pid)"); return 1 },
    'by hand' => sub { return eval { $views->run('REFRESH MATERIALIZED VIEW ' . one_of(@names)); 1 } },
    'replace' => sub {
        my $name = one_of(@plain);
        # The same columns from elsewhere.
        my $other = one_of(@read);
        return eval { $views->run("SET lock_timeout = '2s'; CREATE OR REPLACE VIEW $name AS SELECT id, g, n FROM $other WHERE g <> " . int rand 4); 1 };
    },
    'register again' => sub { return eval { register(one_of(@names)); 1 } },
    'workers' => sub { $node->append_conf('postgresql.conf', 'cache_sync.max_refresh_workers = ' . one_of(1, 2, 4)); $node->reload; return 1 },
    'kill a refresh' => sub { my $pid = refresh_pid() // return 0; my $publisher = $node->publisher_pid; kill 'KILL', $pid or return 0; restarted($publisher); return 1 },
    'kill the publisher' => sub { my $pid = $node->publisher_pid; kill 'KILL', $pid or return 0; restarted($pid); return 1 },
    'restart' => sub { my $pid = $node->publisher_pid; $views->close; $node->stop(one_of('fast', 'immediate')); $node->start; restarted($pid); return 1 },
    'redis' => sub { $redis->kill9; usleep(rand 300_000); $redis->start; delete $redis->{client}; return 1 });
my @gentle = grep { !/kill|restart/ } sort keys %disturb;
my @harsh = grep { /kill|restart/ } sort keys %disturb;

for my $round (1 .. $rounds) {
    srand $seed * 101 + $round;
    my $began = time;
    my $entries = $views->{entries};
    my @writing = map { my $writer = $_; in_child(sub { write_for($writer, $round) }) } 1 .. $writers;
    my $reading = in_child(sub { srand $seed + $round; CacheSync::Views->new($node, redis => $redis)->fill_until(sub { -e "$dir/stop.$round" }, $entries) });
    my @done;
    for my $what ((map { one_of(@gentle) } 1 .. 3), $round % 2 ? one_of(@harsh) : (), one_of(@gentle)) {
        usleep(rand 300_000);
        my $fine = eval { $disturb{$what}->() };
        $views->close unless defined $fine;
        $did{$what}++ if $fine;
        push @done, $what . ($fine ? '' : ' (not)');
    }
    waitpid $_, 0 for @writing;
    open my $stop, '>', "$dir/stop.$round" or die "stop: $!";
    close $stop;
    waitpid $reading, 0;
    $views->wait('the server answers', sub { $views->value('SELECT true') eq 't' });
    $views->run("COMMIT PREPARED '$_->[0]'") for $views->rows('SELECT gid FROM pg_prepared_xacts');
    # These have the last changes; no later one makes good what is lost with them.
    $did{'terminate the last'} += $views->value('SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM cache_sync._refresh_jobs() WHERE pid <> 0') if rand() < 0.7;
    # Who was canceled would wait for a minute.
    $views->ask($_->[0]) for $views->rows(q{SELECT view FROM cache_sync.view_state s JOIN cache_sync.view v USING (view) WHERE s.next_attempt > clock_timestamp() + '5 seconds'});
    my $settled = time;
    $naive += grep({ /redis/ } @done) ? 0 : $views->naive_stale;
    delete $views->{naive};
    $views->proves("round $round, " . join(', ', @done)) or diag "CS_SEED=$seed";
    note sprintf 'round %d: %.1f s and %.1f s until it was quiet', $round, $settled - $began, time - $settled;
}
note join ', ', map { "$_: $did{$_}" } sort keys %did;
my %ended = map { @$_ } $views->rows('SELECT state, count(*) FROM cache_sync.refresh_run GROUP BY 1');
note join ', ', map { "$_: $ended{$_}" } sort keys %ended;

# The run was one, and what nobody keeps right is wrong.
is(join(' ', grep { !/^(succeeded|failed|canceled)$/ } sort keys %ended), '', 'no run is left open');
cmp_ok($ended{succeeded}, '>', 4 * $rounds, 'enough refreshes');
cmp_ok($views->value(q{SELECT count(*) FROM cache_sync.refresh_run WHERE keys > 0}), '>', $rounds, 'enough of them changed rows');
cmp_ok($views->valid, '>', 5 * $rounds, 'enough fresh entries were judged');
cmp_ok($naive, '>', 2 * $rounds, 'entries that nobody invalidates are stale');
cmp_ok($views->value("SELECT count(*) FROM (SELECT * FROM control EXCEPT SELECT * FROM $read[0]) x"), '>', 0, 'a view that is not registered differs');
$node->stop;
done_testing();
