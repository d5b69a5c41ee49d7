# A REFRESH, whoever runs it and however, queues exactly the keys and tags of the rows that it changed. Compared with the
# multiset difference of the contents before and after, computed in SQL. CS_SEED repeats a run, CS_STEPS is its length.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster;
use CacheSync::Sql;

my $seed = $ENV{CS_SEED} // int rand 1_000_000;
my $steps = $ENV{CS_STEPS} // 60;
diag "seed $seed";
srand $seed;

# A paused target keeps what was queued to be looked at.
my $node = CacheSync::Cluster->new('main', extension => 0);
$node->safe_psql('postgres', q{
    CREATE EXTENSION cache_sync;
    CREATE SERVER waiting FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:1/0', paused 'true')});
$node->wait_for_target('waiting', 'paused');
my $sql = CacheSync::Sql->new($node);
$sql->run('CREATE TEMP TABLE seen AS SELECT queue_table, row_id FROM cache_sync._queue()');

# What was queued since the last call, sorted, as 'kind name'.
sub touched {
    return sort map { $_->[0] } $sql->rows(q{
        WITH fresh AS MATERIALIZED (
            SELECT * FROM cache_sync._queue() q
            WHERE NOT EXISTS (SELECT FROM seen s WHERE (s.queue_table, s.row_id) = (q.queue_table, q.row_id))
        ), noted AS (INSERT INTO seen SELECT queue_table, row_id FROM fresh)
        SELECT d.kind || ' ' || d.name FROM fresh f, cache_sync._decode_payload(f.payload) d});
}

# The rule of a view, as registering it stores it.
sub register {
    my ($view, $key, $tags) = @_;
    $key = defined $key ? "'$key'" : 'NULL';
    $sql->run("INSERT INTO cache_sync.rule (relation, key, tags) VALUES ('$view', $key, '$tags')");
    return;
}

sub marker { my ($view) = @_; return 'relation ' . $sql->value("SELECT '$view'::regclass::oid") }
sub refreshed { touched(); $sql->run($_) for @_; return [touched()] }

# Ten of 100,000 rows.
$sql->run(q{
    CREATE TABLE base (id int PRIMARY KEY, g int, t text);
    INSERT INTO base SELECT n, n % 100, 'row ' || n FROM generate_series(1, 100000) n;
    CREATE MATERIALIZED VIEW big AS SELECT * FROM base;
    CREATE UNIQUE INDEX ON big (id)});
register('big', 'big:{id}', '{"g:{g}"}');
for my $how ('CONCURRENTLY ', '') {
    for my $vacuumed (0, 1) {
        my $text = ($how || 'plain ') . ($vacuumed ? 'after VACUUM' : '');
        $sql->run('VACUUM big') if $vacuumed;
        $sql->run(q{UPDATE base SET t = t || '+' WHERE id % 10000 = 7});
        is_deeply(refreshed("REFRESH MATERIALIZED VIEW ${how}big"),
            [ sort((map { 'key big:' . ($_ * 10000 + 7) } 0 .. 9), 'tag g:7', marker('big')) ], "${text}: ten changed rows are ten keys");
        is_deeply(refreshed("REFRESH MATERIALIZED VIEW ${how}big"), [], "${text}: nothing changed, nothing is queued");
    }
}
$sql->run(q{SET maintenance_work_mem = '1MB'; UPDATE base SET g = -1 WHERE id IN (5, 50000)});
is_deeply(
    refreshed('REFRESH MATERIALIZED VIEW big'),
    [ sort('key big:5', 'key big:50000', 'tag g:-1', 'tag g:0', 'tag g:5', marker('big')) ],
    'compared on disk: a changed tag is the old one and the new one');
$sql->run(q{RESET maintenance_work_mem; DROP MATERIALIZED VIEW big; DROP TABLE base});

# Transactions.
$sql->run(q{
    CREATE TABLE small (id int, g int, t text);
    INSERT INTO small SELECT n, n, 'row ' || n FROM generate_series(1, 9) n;
    CREATE MATERIALIZED VIEW mv AS SELECT * FROM small;
    CREATE UNIQUE INDEX ON mv (id)});
register('mv', 'mv:{id}', '{}');
my $mv = marker('mv');
for my $how ('CONCURRENTLY ', '') {
    my $refresh = "REFRESH MATERIALIZED VIEW ${how}mv";
    my $text = $how || 'plain ';
    is_deeply(refreshed("BEGIN; UPDATE small SET g = g + 1 WHERE id = 1; $refresh; ROLLBACK"), [], "${text}rolled back");
    is_deeply(
        refreshed(
            "BEGIN; SAVEPOINT a; UPDATE small SET g = g + 1 WHERE id = 2; $refresh; ROLLBACK TO a;"
              . " UPDATE small SET g = g + 1 WHERE id = 3; $refresh; COMMIT"),
        [ 'key mv:3', $mv ], "${text}a refresh that a savepoint takes back");
    is_deeply(
        refreshed(
            "BEGIN; UPDATE small SET g = g + 1 WHERE id = 4; $refresh; SAVEPOINT a; UPDATE small SET g = g + 1 WHERE id = 5;"
              . " $refresh; RELEASE a; UPDATE small SET g = g - 1 WHERE id = 4; $refresh; COMMIT"),
        [ 'key mv:4', 'key mv:5', $mv ], "${text}three refreshes in a transaction");
    is_deeply(
        refreshed("BEGIN; UPDATE small SET g = g + 1 WHERE id = 6; $refresh; PREPARE TRANSACTION 'p'", q{COMMIT PREPARED 'p'}),
        [ 'key mv:6', $mv ], "${text}prepared") unless $how;
    is_deeply(
        refreshed(
            "DO \$\$ BEGIN UPDATE small SET g = g + 1 WHERE id = 7; $refresh; BEGIN UPDATE small SET g = g + 1 WHERE id = 8;"
              . " $refresh; PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; END \$\$"),
        [ 'key mv:7', $mv ], "${text}in a function, with a block that fails");
    is_deeply(
        refreshed("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM mv; UPDATE small SET g = g + 1 WHERE id = 9; $refresh; COMMIT"),
        [ 'key mv:9', $mv ], "${text}in REPEATABLE READ");
    is_deeply(refreshed("SET cache_sync.enabled = off; UPDATE small SET g = g + 1; $refresh; RESET cache_sync.enabled"), [], "${text}not enabled");
}

# Contents that are not there.
$sql->run('UPDATE small SET g = g + 1 WHERE id = 1');
is_deeply(refreshed('REFRESH MATERIALIZED VIEW mv WITH NO DATA'), [ 'pattern mv:*', $mv ], 'WITH NO DATA is everything');
is_deeply(refreshed('REFRESH MATERIALIZED VIEW mv'), [ 'pattern mv:*', $mv ], 'filling an empty view is everything');
$sql->run(q{DELETE FROM cache_sync.rule WHERE relation = 'mv'::regclass});
is_deeply(refreshed('REFRESH MATERIALIZED VIEW mv'), [$mv], 'plain without a rule: the marker');
is_deeply(refreshed('REFRESH MATERIALIZED VIEW CONCURRENTLY mv'), [], 'CONCURRENTLY without a rule, nothing changed');
$sql->run('UPDATE small SET g = g + 1 WHERE id = 1');
is_deeply(refreshed('REFRESH MATERIALIZED VIEW CONCURRENTLY mv'), [$mv], 'CONCURRENTLY without a rule: the marker');
register('mv', 'mv:{id}:{no}', '{"x:{no}"}');
$sql->run('UPDATE small SET g = g + 1 WHERE id = 1');
is_deeply(refreshed('REFRESH MATERIALIZED VIEW CONCURRENTLY mv'), [ 'flush ', 'pattern mv:*:*', $mv ], 'a rule that names a column which is gone');
$sql->run(q{DELETE FROM cache_sync.rule WHERE relation = 'mv'::regclass});
register('mv', 'mv:{id}', '{}');

# Errors are PostgreSQL's own, and who may not refresh a view does not hold it up.
$sql->run(q{CREATE ROLE nobody; CREATE TABLE not_a_view (); CREATE MATERIALIZED VIEW no_index AS SELECT 1 AS one});
for my $case (
    [ 'REFRESH MATERIALIZED VIEW no_such_view', '42P01' ], [ 'REFRESH MATERIALIZED VIEW not_a_view', '0A000' ],
    [ 'REFRESH MATERIALIZED VIEW CONCURRENTLY no_index', '55000' ], [ 'SET LOCAL ROLE nobody; REFRESH MATERIALIZED VIEW mv', '42501' ],
    [ 'SET LOCAL ROLE nobody; REFRESH MATERIALIZED VIEW CONCURRENTLY mv', '42501' ]) {
    my ($statement, $state) = @$case;
    ok(!eval { $sql->run($statement); 1 }, "$statement fails");
    is($sql->state, $state, "... with $state");
}
my $reader = CacheSync::Sql->new($node);
$reader->run('BEGIN; SELECT FROM mv');
my $stranger = CacheSync::Sql->new($node);
$stranger->run('SET ROLE nobody');
eval { $stranger->run(q{SET lock_timeout = '10s'; REFRESH MATERIALIZED VIEW mv}) };
is($stranger->state, '42501', 'a stranger is refused before any lock is waited for');
$reader->run('COMMIT');

# Random contents: duplicates, NULLs in the unique index, values out of line and compressed, rows that only move.
my @texts = ("''", 'NULL', "'a'", "'A'", "repeat('x', 5000)", "repeat('y', 5000)", "string_agg(md5(n::text), '') FROM generate_series(1, 400) n");
sub value { my ($column) = @_; return $column eq 't' ? '(SELECT ' . $texts[ rand @texts ] . ')' : rand() < 0.15 ? 'NULL' : int rand 6 }
$sql->run(q{
    CREATE TABLE random_base (a int, b int, t text, u int);
    ALTER TABLE random_base ALTER t SET STORAGE EXTERNAL;
    CREATE MATERIALIZED VIEW random_view AS SELECT a, b, t, u, ARRAY[a, b] AS r, b::numeric / 10 AS q FROM random_base;
    CREATE UNIQUE INDEX ON random_view (u);
    CREATE TEMP TABLE before AS SELECT * FROM random_view});
register('random_view', 'k:{a}:{q}', '{"t:{b}","all"}');
my $random = marker('random_view');
my %seen = (changes => 0, nothing => 0, CONCURRENTLY => 0, plain => 0);

# A row of the contents as one text; equal to another's exactly if all values are.
my $row = q{SELECT m.a, m.b, m.q, (m.*)::text AS image, count(*) OVER (PARTITION BY (m.*)::text) AS times};
my $oracle = qq{
    WITH old AS (SELECT DISTINCT * FROM ($row FROM before m) x), new AS (SELECT DISTINCT * FROM ($row FROM random_view m) x),
    changed AS (SELECT coalesce(o.a, n.a) AS a, coalesce(o.b, n.b) AS b, coalesce(o.q, n.q) AS q
                FROM old o FULL JOIN new n USING (image) WHERE o.times IS DISTINCT FROM n.times)
    SELECT DISTINCT name FROM changed c, LATERAL (VALUES
        (CASE WHEN a IS NOT NULL AND q IS NOT NULL THEN 'key k:' || a || ':' || q END), ('tag t:' || b), ('tag all'), ('$random')) AS v (name)
    WHERE name IS NOT NULL ORDER BY 1};

for my $step (1 .. $steps) {
    for (1 .. int rand 6) {
        my $dice = rand;
        my $where = 'WHERE ctid = (SELECT ctid FROM random_base ORDER BY hashtext(ctid::text || ' . int(rand 1000) . ') LIMIT 1)';
        if ($dice < 0.4) {
            my $copies = 1 + int rand 2;
            my $u = $copies > 1 || rand() < 0.3 ? 'NULL' : "(SELECT coalesce(max(u), 0) + 1 FROM random_base)";
            $sql->run('INSERT INTO random_base SELECT ' . join(', ', value('a'), value('b'), value('t'), $u) . " FROM generate_series(1, $copies)");
        } elsif ($dice < 0.7) {
            my $column = (qw(a b t))[ rand 3 ];
            $sql->run("UPDATE random_base SET $column = " . value($column) . " $where");
        } elsif ($dice < 0.75) {
            $sql->run('ALTER TABLE random_base ALTER t SET STORAGE ' . (qw(EXTENDED EXTERNAL MAIN))[ rand 3 ]);
            $sql->run('CREATE TEMP TABLE again AS SELECT a, b, t || \'\' AS t, u FROM random_base ORDER BY random();'
                  . ' TRUNCATE random_base; INSERT INTO random_base SELECT * FROM again; DROP TABLE again');
        } else {
            $sql->run("DELETE FROM random_base $where");
        }
    }
    # Equal rows are refused by CONCURRENTLY where no column of them is NULL.
    my $how = rand() < 0.5 ? 'CONCURRENTLY ' : '';
    $sql->run('TRUNCATE before; INSERT INTO before SELECT * FROM random_view');
    $sql->run('VACUUM random_view') if rand() < 0.3;
    touched();
    if (!eval { $sql->run("REFRESH MATERIALIZED VIEW ${how}random_view"); 1 }) {
        die $@ unless $how && $sql->state eq '21000';
        $how = '';
        $sql->run('REFRESH MATERIALIZED VIEW random_view');
    }
    my @got = touched();
    my @wanted = sort map { $_->[0] } $sql->rows($oracle);
    ++$seen{ @wanted ? 'changes' : 'nothing' };
    ++$seen{ $how ? 'CONCURRENTLY' : 'plain' };
    if ("@got" ne "@wanted") {
        is_deeply(\@got, \@wanted, "step $step ${how}CS_SEED=$seed");
        last;
    }
}
note join ', ', map { "$_: $seen{$_}" } sort keys %seen;
cmp_ok($seen{$_}, '>', $steps / 20, "enough of: $_") for sort keys %seen;
done_testing();
