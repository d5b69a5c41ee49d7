# DDL that changes rows without any DML, prepared transactions over a restart, and who holds the queue back: on every kind of
# table, the cache is compared with the source afterwards, as in 050_completeness.pl.
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
my %oracle = map { $_ => CacheSync::RowOracle->new($node, $redis, map => source_map($_), absent => absent_keys($_)) } kinds();
my $any_of_t = qr/^\w+(-[conpw])?:/;

# As in 050_completeness.pl. The table is made anew for each case; before: what happens to it before the cache is filled.
my @partitioned = (on => ['partitioned']);
my @inherited = (on => ['inherited']);
my @cases = (
    'DETACH PARTITION' => [q{ALTER TABLE t DETACH PARTITION t_us}, {@partitioned}],
    'DETACH PARTITION with partitions' => [q{ALTER TABLE t DETACH PARTITION t_eu}, {@partitioned}],
    'DETACH PARTITION of a partition' => [q{ALTER TABLE t_eu DETACH PARTITION t_eu_low}, {@partitioned}],
    'DETACH PARTITION CONCURRENTLY' => [q{ALTER TABLE t DETACH PARTITION t_us CONCURRENTLY}, {@partitioned}],
    'DETACH PARTITION, then its rows change' => [q{BEGIN}, q{ALTER TABLE t DETACH PARTITION t_us}, q{UPDATE t_us SET n = 0}, q{COMMIT}, {@partitioned}],
    'DETACH PARTITION that is rolled back' => [q{BEGIN}, q{ALTER TABLE t DETACH PARTITION t_us}, q{ROLLBACK}, { @partitioned, same => 1 }],
    'rows of what was detached' => [q{UPDATE t_us SET n = 0}, q{TRUNCATE t_us}, { @partitioned, same => 1, before => q{ALTER TABLE t DETACH PARTITION t_us} }],
    'ATTACH PARTITION' => [q{ALTER TABLE t ATTACH PARTITION t_us FOR VALUES IN ('us')}, { @partitioned, before => q{ALTER TABLE t DETACH PARTITION t_us} }],
    'ATTACH PARTITION with partitions' => [q{ALTER TABLE t ATTACH PARTITION t_eu FOR VALUES IN ('eu')}, { @partitioned, before => q{ALTER TABLE t DETACH PARTITION t_eu} }],
    'ATTACH PARTITION, then its rows change' => [q{ALTER TABLE t ATTACH PARTITION t_eu FOR VALUES IN ('eu')}, q{UPDATE t_eu_low SET n = n + 40}, { @partitioned, before => q{ALTER TABLE t DETACH PARTITION t_eu} }],
    'ATTACH PARTITION without rows' => [q{CREATE TABLE t_xx (LIKE t INCLUDING ALL)}, q{ALTER TABLE t ATTACH PARTITION t_xx FOR VALUES IN ('xx')}, { @partitioned, same => 1, keep => 1 }],
    'a partition that is new' => [q{CREATE TABLE t_yy PARTITION OF t FOR VALUES IN ('yy')}, q{INSERT INTO t (id, region) VALUES (50, 'yy')}, q{INSERT INTO t_yy (id, region, n) VALUES (51, 'yy', 11)}, { @partitioned, keep => 1 }],
    'DROP of a partition' => [q{DROP TABLE t_us}, {@partitioned}],
    'DROP of a partition of a partition' => [q{DROP TABLE t_eu_low}, {@partitioned}],
    'DROP of a partition with partitions' => [q{DROP TABLE t_eu}, {@partitioned}],
    'DROP of a partition in an older snapshot' => [q{BEGIN ISOLATION LEVEL REPEATABLE READ}, q{SELECT 1}, sub { $oracle{partitioned}->quiet('CREATE TABLE t_zz PARTITION OF t FOR VALUES IN (\'zz\')', "INSERT INTO t (id, region) VALUES (55, 'zz')"); $oracle{partitioned}->fill }, q{DROP TABLE t_zz}, q{COMMIT}, {@partitioned}],
    'NO INHERIT' => [q{ALTER TABLE t_us NO INHERIT t}, {@inherited}],
    'INHERIT' => [q{ALTER TABLE t_us INHERIT t}, { @inherited, before => q{ALTER TABLE t_us NO INHERIT t} }],
    'INHERIT, then a grandchild changes' => [q{ALTER TABLE t_us INHERIT t}, q{UPDATE t_us_more SET n = n + 40}, { @inherited, before => q{ALTER TABLE t_us NO INHERIT t} }],
    'DROP of a child' => [q{DROP TABLE t_us_more}, {@inherited}],
    'DROP of a child, CASCADE' => [q{DROP TABLE t_us CASCADE}, {@inherited}],
    'ALTER COLUMN TYPE ... USING' => [q{ALTER TABLE t ALTER COLUMN n TYPE bigint USING n * 2}],
    'ALTER COLUMN TYPE of a key' => [q{ALTER TABLE t ALTER COLUMN at TYPE timestamptz USING at + interval '1 hour'}],
    'ALTER COLUMN TYPE to another text' => [q{ALTER TABLE t ALTER COLUMN opt TYPE numeric(6, 2)}],
    'SET EXPRESSION' => [q{ALTER TABLE t ALTER COLUMN slug SET EXPRESSION AS (upper(tenant))}],
    'a value of an enum is renamed' => [q{ALTER TYPE common.mood RENAME VALUE 'sad' TO 'very sad'}, { after => q{ALTER TYPE common.mood RENAME VALUE 'very sad' TO 'sad'} }],
    'ADD COLUMN' => [q{ALTER TABLE boss ADD COLUMN more int DEFAULT 7}, q{ALTER TABLE side ADD COLUMN more int DEFAULT 7}, { same => 1 }],
    'DISABLE TRIGGER ALL, ENABLE TRIGGER ALL' => [q{ALTER TABLE t DISABLE TRIGGER ALL}, q{UPDATE t SET n = n + 3}, q{ALTER TABLE t ENABLE TRIGGER ALL}],
);

for my $kind (kinds()) {
    my $oracle = $oracle{$kind};
    for (my $n = 0; $n < @cases; $n += 2) {
        my @steps = @{ $cases[ $n + 1 ] };
        my %option = ref $steps[-1] ? %{ pop @steps } : ();
        next if $option{on} && $option{on}[0] ne $kind;
        $oracle->quiet(make_kind($kind), fill_kind($kind));
        # A session that has compiled the rules as they were; it must not go on with them.
        my $other = CacheSync::Sql->new($node);
        $other->run("SET search_path = $kind");
        $other->run(q{BEGIN; UPDATE t SET n = n + 1; ROLLBACK});
        $oracle->quiet($option{before} // ());
        $oracle->fill;
        my $sql = CacheSync::Sql->new($node);
        $sql->run("SET search_path = $kind");
        for my $step (@steps) { ref $step ? $step->() : $sql->run($step) }
        $sql->close;
        $oracle->judge("$kind: $cases[$n]", unchanged => $option{same}, wide => $option{same} ? undef : $any_of_t);
        $oracle->fill;
        $other->run('UPDATE t SET n = n + 1');
        $other->close;
        $oracle->judge("$kind: $cases[$n], then a session from before", wide => qr/-c:|-o:/);
        $oracle->quiet($option{after} // ());
    }
    # The table itself: nothing may be left of it in the cache.
    $oracle->quiet(make_kind($kind), fill_kind($kind));
    $oracle->fill;
    my @keys = grep { $oracle->{before}{$_} ne '(no row)' && !/-side:/ } sort keys %{ $oracle->{before} };
    $node->safe_psql('postgres', "DROP TABLE $kind.t CASCADE");
    $oracle->drain;
    is($redis->command('EXISTS', @keys), 0, "$kind: DROP TABLE");
    is($redis->command('EXISTS', map { "$kind-side:$_" } 1 .. 3), 3, "$kind: and nothing of another table");
}

# Prepared transactions: nothing before COMMIT PREPARED, everything after it, also when the server restarted in between.
for my $kind (kinds()) {
    $oracle{$kind}->quiet(make_kind($kind), fill_kind($kind));
    my $sql = CacheSync::Sql->new($node);
    for my $way (qw(commit rollback)) {
        my $from = $way eq 'commit' ? 0 : 4;
        $sql->run($_) for "SET search_path = $kind", 'BEGIN', "UPDATE t SET n = n + 60 WHERE id = $from + 1", 'SAVEPOINT a', "DELETE FROM t WHERE id = $from + 2",
          'ROLLBACK TO a', "UPDATE t SET id = id + 20 WHERE id = $from + 3", "PREPARE TRANSACTION '$kind $way'";
    }
    $sql->close;
    $oracle{$kind}->fill;
}
$oracle{$_}->judge("$_: prepared", unchanged => 1) for kinds();
my $held = $node->safe_psql('postgres', q{SELECT count(*), min(reason), min(pid), bool_and(active IS NOT NULL AND pages > 0 AND age >= '0'), string_agg(gid, ',')
    FROM cache_sync.queue_tables WHERE gid IS NOT NULL});
like($held, qr/^[1-3]\|prepared transaction\|\|t\|(plain|partitioned|inherited) (commit|rollback)/, 'queue_tables names who holds it back');
$node->restart;
$_->connect for values %oracle;
$node->safe_psql('postgres', q{SET ROLE pg_monitor; SELECT * FROM cache_sync.queue_tables});
is($node->safe_psql('postgres', q{SELECT count(*) > 0 FROM cache_sync.queue_tables WHERE gid ~ 'commit|rollback' AND pid IS NULL}), 't', 'after a restart as well');
like($node->safe_psql('postgres', q{SELECT unnest(cache_sync._queue_tables_held('0'))}), qr/^queue_\d by prepared transaction "\w+ \w+" for /, 'and check() can tell');
is($node->safe_psql('postgres', q{SELECT ok FROM cache_sync.check() WHERE "check" = 'queue tables'}), 't', 'but not within the first minute');
for my $kind (kinds()) {
    # At its start a publisher publishes again what the queue still holds.
    $oracle{$kind}->fill;
    $node->safe_psql('postgres', "ROLLBACK PREPARED '$kind rollback'");
    $oracle{$kind}->judge("$kind: ROLLBACK PREPARED after a restart", unchanged => 1);
    $oracle{$kind}->fill;
    $node->safe_psql('postgres', "COMMIT PREPARED '$kind commit'");
    $oracle{$kind}->judge("$kind: COMMIT PREPARED after a restart");
}
is($node->safe_psql('postgres', q{SELECT count(*) FROM cache_sync.queue_tables WHERE gid IS NOT NULL}), '0', 'nobody holds it back any more');
is($node->safe_psql('postgres', 'SELECT count(*) FROM cache_sync.check() WHERE NOT ok'), '0', 'check() has nothing to say');
$node->stop;
done_testing();
