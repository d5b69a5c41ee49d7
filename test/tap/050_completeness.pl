# Every way to change a row, on every kind of table: the cache is compared with the source afterwards. What is stale was
# missed; what is gone though its row did not change was invalidated without need.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster;
use CacheSync::Redis;
use CacheSync::RowOracle;
use CacheSync::Sql;
use CacheSync::TableKinds qw(kinds make_common make_kind fill_kind source_map absent_keys);

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', redis => $redis);
$node->safe_psql('postgres', make_common());
$node->wait_for_target('main', 'connected');

# name => statements, run one by one in a session of their own; the schema of the kind is in its path. Options in a hash at
# the end: on: kinds; same: nothing changes; wide: which keys may be gone without need; user; fails: the last one must, so.
my @partitions = (on => ['partitioned']);
my @family = (on => [qw(partitioned inherited)]);
my @cases = (
    'INSERT' => [q{INSERT INTO t (id, opt, n) VALUES (21, 9, 11), (22, NULL, 1)}],
    'INSERT ... SELECT, RETURNING' => [q{INSERT INTO t (id, n) SELECT id + 20, n FROM t RETURNING *}],
    'INSERT with NULL keys' => [q{INSERT INTO t (id, tenant, code, at, mood, amount, opt, n) VALUES (23, NULL, NULL, NULL, NULL, NULL, NULL, NULL)}],
    'INSERT that is rolled back' => [q{BEGIN}, q{INSERT INTO t (id) VALUES (21)}, q{UPDATE t SET n = 0}, q{ROLLBACK}, { same => 1 }],
    'INSERT that fails' => [q{INSERT INTO t (id, region, amount) VALUES (30, 'us', 1), (31, 'us', -1)}, { same => 1, fails => qr/check constraint/ }],
    'UPDATE of one row' => [q{UPDATE t SET n = n + 1, opt = 7 WHERE id = 5}],
    'UPDATE of all rows' => [q{UPDATE t SET n = n + 1}],
    'UPDATE that changes nothing' => [q{UPDATE t SET n = n, tenant = tenant, opt = opt}, { same => 1 }],
    'UPDATE of no row' => [q{UPDATE t SET n = 0 WHERE id = 1000}, { same => 1 }],
    'UPDATE of a column that one rule does not watch' => [q{UPDATE t SET note = 'other' WHERE id IN (2, 7)}],
    'UPDATE of the key' => [q{UPDATE t SET id = 41 WHERE id = 4}],
    'UPDATE of the key to that of a deleted row' => [q{BEGIN}, q{DELETE FROM t WHERE id = 4}, q{UPDATE t SET id = 4 WHERE id = 2}, q{COMMIT}],
    'UPDATE that swaps keys' => [q{UPDATE t SET id = CASE id WHEN 2 THEN 44 WHEN 4 THEN 2 ELSE 4 END WHERE id IN (2, 4, 6)}],
    'UPDATE of every part of a composite key' => [
        (map { "UPDATE t SET $_ WHERE id = 3" } q{tenant = '{a}:b %25'}, q{code = gen_random_uuid()}, q{at = at + '1 year'}, q{mood = 'glad'}, q{amount = amount + 1})],
    'UPDATE from and to NULL in keys' => [q{UPDATE t SET opt = NULL WHERE id = 1}, q{UPDATE t SET opt = 8 WHERE id = 3}, q{UPDATE t SET tenant = NULL WHERE id = 8}],
    'UPDATE into and out of the condition' => [q{UPDATE t SET n = 100 WHERE id = 1}, q{UPDATE t SET n = 1 WHERE id = 10}, q{UPDATE t SET n = NULL WHERE id = 12}],
    'UPDATE outside of the condition' => [q{UPDATE t SET n = n - 1 WHERE id < 4}],
    'UPDATE there and back' => [q{BEGIN}, q{UPDATE t SET n = n + 1 WHERE id = 6}, q{UPDATE t SET n = n - 1 WHERE id = 6}, q{COMMIT}, { same => 1, wide => qr/:6$|-c:|-o:/ }],
    'UPDATE ... FROM, DELETE ... USING' => [q{UPDATE t SET n = b.id * 30 FROM boss b WHERE b.id = t.owner_id AND b.id = 2}, q{DELETE FROM t USING boss b WHERE b.id = t.owner_id AND b.id = 3}],
    'DELETE' => [q{DELETE FROM t WHERE id IN (1, 8)}],
    'DELETE of all rows' => [q{DELETE FROM t}],
    'DELETE and INSERT again' => [q{BEGIN}, q{DELETE FROM t WHERE id = 7}, q{INSERT INTO t (id, region) VALUES (7, 'us')}, q{COMMIT}],
    'SELECT FOR UPDATE' => [q{SELECT * FROM t FOR UPDATE}, { same => 1 }],
    'COPY' => [q{COPY t (id, region, opt, n) FROM PROGRAM 'printf "21\tus\t9\t1\n22\tas\t\\\\N\t12\n"'}],
    'COPY FREEZE' => [q{BEGIN}, q{CREATE TEMP TABLE c (LIKE t)}, q{COPY t (id, n) FROM PROGRAM 'printf "23,30"' (FORMAT csv)}, q{COMMIT}],
    'MERGE, every arm' => [
        q{MERGE INTO t USING (VALUES (2, 'delete'), (4, 'update'), (6, 'keep'), (25, 'insert'), (26, 'ignore')) s (id, what) ON t.id = s.id
          WHEN MATCHED AND what = 'delete' THEN DELETE
          WHEN MATCHED AND what = 'update' THEN UPDATE SET n = n + 9, id = t.id + 40
          WHEN MATCHED THEN DO NOTHING
          WHEN NOT MATCHED AND what = 'insert' THEN INSERT (id, n) VALUES (s.id, 13)
          WHEN NOT MATCHED THEN DO NOTHING
          WHEN NOT MATCHED BY SOURCE AND t.id = 9 THEN DELETE
          WHEN NOT MATCHED BY SOURCE AND t.id = 11 THEN UPDATE SET opt = NULL
          RETURNING merge_action(), t.id}, { wide => qr/-[pw]:4$/ }],
    'ON CONFLICT DO UPDATE' => [q{INSERT INTO t (id, region, n) VALUES (10, 'as', 1), (27, 'as', 1) ON CONFLICT (id, region) DO UPDATE SET n = t.n + 5, opt = 6}],
    'ON CONFLICT DO NOTHING' => [q{INSERT INTO t (id, region) VALUES (10, 'as') ON CONFLICT DO NOTHING}, { same => 1 }],
    'ON CONFLICT DO UPDATE WHERE false' => [q{INSERT INTO t (id, region, n) VALUES (10, 'as', 1) ON CONFLICT (id, region) DO UPDATE SET n = 0 WHERE t.n > 1000}, { same => 1 }],
    'foreign key: CASCADE of DELETE' => [q{DELETE FROM boss WHERE id = 1}],
    'foreign key: CASCADE of UPDATE' => [q{UPDATE boss SET id = 11 WHERE id = 2}],
    'foreign key: SET NULL' => [q{DELETE FROM boss WHERE id = 4}],
    'foreign key: both in one statement, rolled back to a savepoint' => [q{BEGIN}, q{SAVEPOINT s}, q{DELETE FROM boss WHERE id = 1}, q{ROLLBACK TO s}, q{DELETE FROM boss WHERE id = 3}, q{COMMIT}],
    'writable CTEs' => [
        q{WITH gone AS (DELETE FROM t WHERE id = 1 RETURNING *), moved AS (UPDATE t SET n = 99 WHERE id = 2 RETURNING *),
               put AS (INSERT INTO t (id, n) SELECT id + 20, 5 FROM gone RETURNING id)
          INSERT INTO side SELECT id, n FROM moved WHERE id > 1 ON CONFLICT (id) DO UPDATE SET v = excluded.v}],
    'a CTE that nobody reads' => [q{WITH gone AS (DELETE FROM t WHERE id = 1) SELECT 1}],
    'BEFORE trigger that changes the row' => [q{INSERT INTO t (id, note) VALUES (28, 'bump')}, q{UPDATE t SET note = 'bump' WHERE id = 4}],
    'BEFORE trigger that changes the key' => [q{INSERT INTO t (id, note) VALUES (28, 'move')}, q{UPDATE t SET note = 'move' WHERE id = 6}],
    'BEFORE trigger that skips the row' => [q{INSERT INTO t (id, note) VALUES (28, 'skip')}, q{UPDATE t SET note = 'skip', n = 0 WHERE id = 6}, { same => 1 }],
    'deferred constraint trigger that writes' => [q{BEGIN}, q{UPDATE boss SET name = 'promote x' WHERE id IN (1, 2)}, q{COMMIT}],
    'deferred constraint trigger after SET CONSTRAINTS' => [q{BEGIN}, q{UPDATE boss SET name = 'promote x' WHERE id = 1}, q{SET CONSTRAINTS ALL IMMEDIATE}, q{COMMIT}],
    'cursor' => [q{BEGIN}, q{DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE}, q{FETCH c}, q{UPDATE t SET n = 77 WHERE CURRENT OF c}, q{COMMIT}],
    'updatable view' => [q{CREATE TEMP VIEW v AS SELECT id, n FROM t WHERE id < 5 WITH CHECK OPTION}, q{UPDATE v SET n = n + 20}, q{DELETE FROM v WHERE id = 2}, { wide => qr/-[pw]:2$/ }],
    'view with INSTEAD OF trigger' => [
        q{CREATE FUNCTION pg_temp.instead() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN UPDATE t SET n = NEW.n WHERE id = NEW.id; RETURN NEW; END$$},
        q{CREATE TEMP VIEW v AS SELECT id, max(n) AS n FROM t GROUP BY id},
        q{CREATE TRIGGER i INSTEAD OF UPDATE ON v FOR EACH ROW EXECUTE FUNCTION pg_temp.instead()}, q{UPDATE v SET n = 66 WHERE id = 3}],
    'rule that rewrites' => [q{CREATE TEMP TABLE door (id int)}, q{CREATE RULE r AS ON INSERT TO door DO INSTEAD UPDATE t SET n = 5 WHERE t.id = NEW.id}, q{INSERT INTO door VALUES (9)}],
    'prepared statement' => [q{PREPARE p AS UPDATE t SET n = $2 WHERE id = $1}, (map { "EXECUTE p($_, 70 + $_)" } 1 .. 7)],
    'savepoints' => [
        q{BEGIN}, q{UPDATE t SET n = 51 WHERE id = 1}, q{SAVEPOINT a}, q{UPDATE t SET n = 52 WHERE id = 2}, q{SAVEPOINT b}, q{UPDATE t SET n = 53 WHERE id = 3},
        q{ROLLBACK TO b}, q{UPDATE t SET n = 54 WHERE id = 4}, q{RELEASE a}, q{SAVEPOINT c}, q{DELETE FROM t WHERE id > 6}, q{ROLLBACK TO c}, q{COMMIT}],
    'savepoints by the hundred' => [q{BEGIN}, (map { ("SAVEPOINT s$_", 'UPDATE t SET n = n + 1 WHERE id = ' . (1 + $_ % 5), $_ % 2 ? "ROLLBACK TO s$_" : ()) } 1 .. 150), q{COMMIT}],
    'exception blocks, nested deep' => [
        q{CREATE FUNCTION pg_temp.dive(depth int) RETURNS void LANGUAGE plpgsql AS $$
          BEGIN
              UPDATE t SET n = n + 100 WHERE id = depth;
              IF depth < 12 THEN PERFORM pg_temp.dive(depth + 1); END IF;
              IF depth % 3 = 0 THEN RAISE EXCEPTION 'up'; END IF;
          EXCEPTION WHEN raise_exception THEN
              UPDATE t SET opt = 20 WHERE id = depth;
          END $$}, q{SELECT pg_temp.dive(1)}],
    'procedure with COMMIT and ROLLBACK inside' => [
        q{CREATE PROCEDURE pg_temp.steps() LANGUAGE plpgsql AS $$
          BEGIN FOR i IN 1..6 LOOP UPDATE t SET n = 90 + i WHERE id = i; IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF; END LOOP; END $$}, q{CALL pg_temp.steps()}],
    'PREPARE TRANSACTION, COMMIT PREPARED' => [q{BEGIN}, q{UPDATE t SET n = 91 WHERE id = 2}, q{SAVEPOINT s}, q{DELETE FROM t WHERE id = 3}, q{ROLLBACK TO s}, q{PREPARE TRANSACTION 'x'}, q{COMMIT PREPARED 'x'}],
    'PREPARE TRANSACTION, ROLLBACK PREPARED' => [q{BEGIN}, q{UPDATE t SET n = 91 WHERE id = 2}, q{PREPARE TRANSACTION 'x'}, q{ROLLBACK PREPARED 'x'}, { same => 1 }],
    'session_replication_role = replica' => [q{SET session_replication_role = replica}, q{UPDATE t SET n = 40 WHERE id = 1}, q{DELETE FROM t WHERE id = 2}, q{INSERT INTO t (id) VALUES (29)}],
    'SERIALIZABLE' => [q{BEGIN ISOLATION LEVEL SERIALIZABLE}, q{SELECT count(*) FROM t}, q{UPDATE t SET n = n + 3 WHERE id = 1}, q{COMMIT}],
    'REPEATABLE READ' => [q{BEGIN ISOLATION LEVEL REPEATABLE READ}, q{SELECT count(*) FROM t}, q{UPDATE t SET id = id + 30 WHERE id = 2}, q{COMMIT}],
    'parallel plan' => [
        q{SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SET debug_parallel_query = on},
        q{UPDATE t SET n = (SELECT count(*) FROM pg_class) WHERE id = 5}, q{INSERT INTO t (id, n) SELECT 30, count(*) FROM pg_attribute}],
    'settings of the session' => [
        q{SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Kolkata'; SET extra_float_digits = -15; SET intervalstyle = iso_8601; SET bytea_output = escape},
        q{UPDATE t SET note = 'x' WHERE id = 5}, q{UPDATE t SET at = at + '3 days' WHERE id = 6}],
    'partition: DML on it directly' => [q{INSERT INTO t_us (id, n) VALUES (32, 32)}, q{UPDATE t_us SET n = n + 1 WHERE id = 4}, q{DELETE FROM t_us WHERE id = 6}, { on => [qw(partitioned inherited)] }],
    'partition: ONLY' => [q{UPDATE ONLY t SET n = n + 1}, { on => ['inherited'] }],
    'partition of a partition, directly' => [q{UPDATE t_eu_low SET n = n + 1 WHERE id = 3}, q{DELETE FROM t_as_1}, q{DELETE FROM t_as_0}, {@partitions}],
    'rows that move between partitions' => [q{UPDATE t SET region = 'eu' WHERE id = 2}, q{UPDATE t SET region = 'us', id = 33 WHERE id = 9}, q{UPDATE t SET id = 34 WHERE id = 3}, { on => [qw(plain partitioned)], wide => qr/-[nw]:2$/ }],
    'rows that move, by ON CONFLICT and MERGE' => [q{MERGE INTO t USING (VALUES (5)) s (id) ON t.id = s.id WHEN MATCHED THEN UPDATE SET region = 'as'}, { @partitions, wide => qr/-[nw]:5$/ }],
    'grandchild' => [q{INSERT INTO t_us_more (id, n, more) VALUES (35, 35, 1)}, q{UPDATE t_us_more SET more = 2}, q{UPDATE t_us SET n = 0 WHERE id = 8}, { on => ['inherited'], wide => qr/^inherited(-c|-o|-p)?:/ }],
    'TRUNCATE' => [q{TRUNCATE t}, { wide => qr/^\w+(-[conpw])?:/ }],
    'TRUNCATE, then INSERT' => [q{BEGIN}, q{TRUNCATE t}, q{INSERT INTO t (id, n) VALUES (1, 1), (36, 36)}, q{COMMIT}, { wide => qr/^\w+(-[conpw])?:/ }],
    'TRUNCATE CASCADE' => [q{TRUNCATE boss CASCADE}, { wide => qr/^\w+(-[conpw])?:/ }],
    'TRUNCATE of a partition' => [q{TRUNCATE t_us}, { @family, wide => qr/^\w+(-[conpw])?:/ }],
    'TRUNCATE of a partition of a partition' => [q{TRUNCATE t_eu_low}, { @partitions, wide => qr/^\w+(-[conpw])?:/ }],
    'TRUNCATE that is rolled back' => [q{BEGIN}, q{SAVEPOINT s}, q{TRUNCATE t}, q{ROLLBACK TO s}, q{COMMIT}, { same => 1 }],
    'a role without rights on anything of cache_sync' => [q{UPDATE t SET n = n + 7 WHERE id = 7}, q{DELETE FROM t WHERE id = 8}, q{INSERT INTO t (id) VALUES (37)}, { user => 'app' }],
    'a role without rights: PREPARE TRANSACTION' => [q{BEGIN}, q{UPDATE t SET n = n + 7 WHERE id = 7}, q{PREPARE TRANSACTION 'y'}, q{COMMIT PREPARED 'y'}, { user => 'app' }],
    'SET ROLE' => [q{SET ROLE app}, q{UPDATE t SET n = n + 7 WHERE id = 7}, q{RESET ROLE}, q{UPDATE t SET n = n + 7 WHERE id = 8}],
    'SET LOCAL ROLE, COMMIT as another' => [q{BEGIN}, q{UPDATE t SET n = n + 7 WHERE id = 7}, q{SET LOCAL ROLE nobody}, q{COMMIT}],
    'SECURITY DEFINER function, called without rights' => [q{SELECT demote(3)}, { user => 'nobody' }],
    'row level security' => [q{UPDATE t SET n = n + 7}, q{DELETE FROM t WHERE id IN (5, 6)}, q{INSERT INTO t (id, region) VALUES (38, 'eu')}, { user => 'app', secured => 1, wide => qr/-[pw]:5$/ }],
    'search_path of the writer' => [
        q{CREATE FUNCTION evil.more(int, int) RETURNS boolean LANGUAGE sql AS 'SELECT false'},
        q{CREATE OPERATOR evil.> (LEFTARG = int, RIGHTARG = int, FUNCTION = evil.more)},
        q{CREATE TABLE evil.rule (id int); CREATE TABLE evil.queue_0 (id int); CREATE FUNCTION evil.capture() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'},
        q{SET search_path = evil, pg_temp, public, pg_catalog}, q{UPDATE :kind.t SET n = 60 WHERE :kind.t.id OPERATOR(pg_catalog.=) 1}, q{DELETE FROM :kind.t WHERE id OPERATOR(pg_catalog.=) 12}, { user => 'app' }],
    'a pg_temp that shadows everything' => [
        q{CREATE TEMP TABLE rule (id int); CREATE TEMP TABLE queue_0 (id int); CREATE TEMP TABLE pg_inherits (id int)},
        q{SET search_path = pg_temp, pg_catalog}, q{UPDATE :kind.t SET n = 61 WHERE id = 1}, { user => 'app' }],
);

sub run_case {
    my ($oracle, $kind, $name, @statements) = @_;
    my %option = ref $statements[-1] ? %{ pop @statements } : ();
    return if $option{on} && !grep { $_ eq $kind } @{ $option{on} };
    $oracle->quiet(fill_kind($kind));
    $oracle->quiet('ALTER TABLE t ENABLE ROW LEVEL SECURITY') if $option{secured};
    $oracle->fill;
    my $sql = CacheSync::Sql->new($node, user => $option{user});
    $sql->run("SET search_path = $kind");
    my $last = pop @statements;
    $sql->run(s/:kind\b/$kind/gr) for @statements;
    my $fine = eval { $sql->run($last =~ s/:kind\b/$kind/gr); 1 };
    $sql->close;
    if ($option{fails}) { like($@, $option{fails}, "$kind: $name: fails") }
    elsif (!$fine) { fail("$kind: $name: $@") }
    $oracle->judge("$kind: $name", unchanged => $option{same}, wide => $option{wide});
    $oracle->quiet('ALTER TABLE t DISABLE ROW LEVEL SECURITY') if $option{secured};
    return;
}

for my $kind (kinds()) {
    my $oracle = CacheSync::RowOracle->new($node, $redis, map => source_map($kind), absent => absent_keys($kind));
    $oracle->quiet(make_kind($kind), <<"SQL");
CREATE POLICY p ON t USING (region = 'eu') WITH CHECK (region = 'eu');
CREATE FUNCTION demote(int) RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = $kind AS 'UPDATE t SET n = 0 WHERE id = \$1 + 4';
GRANT USAGE ON SCHEMA $kind TO nobody;
CREATE SCHEMA evil AUTHORIZATION app;
SQL
    for (my $n = 0; $n < @cases; $n += 2) { run_case($oracle, $kind, $cases[$n], @{ $cases[ $n + 1 ] }) }
    $oracle->quiet('DROP SCHEMA evil CASCADE');
}
is($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.check() WHERE NOT ok'), '0', 'check() has nothing to say');
$node->stop;
done_testing();
