# What the views say during an outage is true: pending, errors, state, queue, workers, counters.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my %target = (up => CacheSync::Redis->new(flavour => 'redis'), down => CacheSync::Redis->new(flavour => 'valkey'));
my $node = CacheSync::Cluster->new('main', redis => \%target, conf => "cache_sync.max_backoff = 300ms\n",
    options => { connect_timeout => '1s', command_timeout => '1s' });
my $sql = CacheSync::Sql->new($node);
sub value { my ($text) = @_; return $sql->value("SELECT $text") }
$sql->run(q{
    CREATE TABLE item (id int PRIMARY KEY, g int DEFAULT 0);
    SELECT cache_sync.register_table('item', 'item:{id}', tags => '{"g:{g}"}')});
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;
$sql->run('SELECT cache_sync.stat_reset()');
is(value('sum(keys) + sum(transactions) + (SELECT sum(published_keys) FROM cache_sync.stat_targets) FROM cache_sync.stat_capture'), 0, 'stat_reset()');

$target{down}->kill9;
$node->poll_until('the dead target is seen', q{SELECT state <> 'connected' AND NOT connected FROM cache_sync.targets WHERE name = 'down'});
my $first = $sql->value('BEGIN; INSERT INTO item VALUES (1), (2), (3); SELECT pg_current_xact_id(); COMMIT');
$sql->run('BEGIN; UPDATE item SET g = 1 WHERE id = 1; UPDATE item SET g = 2 WHERE id = 1; COMMIT');
$sql->run('BEGIN; INSERT INTO item VALUES (99); ROLLBACK');
$sql->run(q{SELECT cache_sync.invalidate('k1', 'k2')});
$sql->run('TRUNCATE item');
$sql->run(q{SELECT cache_sync.flush('down')});
my $open = CacheSync::Sql->new($node);
$open->run('BEGIN; INSERT INTO item VALUES (100)');
$node->poll_until('the live target is done', q{SELECT pending_transactions = 0 FROM cache_sync.targets WHERE name = 'up'});

is_deeply([ $sql->rows('SELECT keys, tags, patterns, flush FROM cache_sync.queue ORDER BY xid') ], [
    [ '{item:1,item:2,item:3}', '{g:0}', '{}', '{}' ],
    [ '{item:1}', '{g:0,g:1,g:2}', '{}', '{}' ],
    [ '{k1,k2}', '{}', '{}', '{}' ],
    [ q({}), q({}), q({item:*}), q({*}) ],
    [ '{}', '{}', '{}', '{down}' ],
], 'the queue, decoded; nothing of open or rolled-back transactions');
is(value('min(xid::text::bigint) = ' . ($first // 0) . ' FROM cache_sync.queue') // '', 't', 'with its xids') if defined $first;
is(value(q{bool_and(age > '0' AND age < '5 min') FROM cache_sync.queue}), 't', 'and ages');
my ($down) = $sql->rows(q{SELECT pending_transactions, pending_bytes > 0, connected, last_error, last_error_at > now() - interval '5 min', state
    FROM cache_sync.targets WHERE name = 'down'});
is_deeply([ @$down[ 0 .. 2 ] ], [ 5, 't', 'f' ], 'the dead target: five transactions pending');
like($down->[3], qr/refused|closed|reset/i, 'its last error');
is($down->[4], 't', 'and when that was');
like($down->[5], qr/waiting|backing off|circuit open|connecting/, "its state: $down->[5]");
my ($up) = $sql->rows(q{SELECT state, connected, pending_transactions, pending_bytes, in_flight, circuit, last_lag >= 0, mode FROM cache_sync.targets WHERE name = 'up'});
is_deeply($up, [ 'connected', 't', 0, 0, 0, 'closed', 't', 'functions' ], 'the live target');
# A message that was sent twice is as good as one, and a key that two transactions touched may be sent once.
is(value(q{published_keys >= 5 AND published_patterns >= 1 FROM cache_sync.stat_targets WHERE name = 'up'}), 't', 'it was told 5 keys or more, and the pattern');
is(value(q{lag_p50 > 0 AND lag_p50 <= lag_p95 AND lag_p95 <= lag_p99 AND lag_p99 <= lag_max FROM cache_sync.stat_targets WHERE name = 'up'}), 't', 'lag percentiles are in order');
is(value(q{published_keys = 0 AND errors > 0 FROM cache_sync.stat_targets WHERE name = 'down'}), 't', 'the dead one was told nothing');
is_deeply([ $sql->rows('SELECT transactions, keys FROM cache_sync.stat_capture') ], [ [ 5, 6 ] ], 'stat_capture');
cmp_ok(value('duplicates FROM cache_sync.stat_capture'), '>', 0, 'duplicates are counted');
is(value(q{count(*) FROM cache_sync.check() WHERE "check" = 'target down' AND NOT ok AND hint IS NOT NULL}), 1, 'check() names the dead target');
is(value(q{count(*) FROM cache_sync.check() WHERE "check" = 'target up' AND ok}), 1, 'and not the live one');

my $publisher = $node->publisher_pid;
is(value("count(*) FROM pg_stat_activity WHERE pid = $publisher AND backend_type = 'cache_sync publisher' AND datname = 'postgres'"), 1, 'workers and pg_stat_activity agree');
is(value(q{count(*) FROM cache_sync.workers WHERE role = 'launcher' AND pid IN (SELECT pid FROM pg_stat_activity)}), 1, 'the launcher');

$open->run('COMMIT');
$target{down}->start;
$node->drain;
is(value('count(*) FROM cache_sync.queue'), 0, 'after it is back the queue is empty');
is(value(q{state || pending_transactions || pending_bytes FROM cache_sync.targets WHERE name = 'down'}), 'connected00', 'and nothing is pending');
is(value(q{count(*) FROM cache_sync.check() WHERE "check" ~ 'target' AND NOT ok}), 0, 'check() is content');

# For pg_monitor, and for nobody else.
$sql->run('CREATE ROLE watcher LOGIN IN ROLE pg_monitor; CREATE ROLE nobody LOGIN');
my $watcher = CacheSync::Sql->new($node, user => 'watcher');
for my $view (qw(tables targets queue workers stat_capture stat_targets)) {
    ok(eval { $watcher->rows("SELECT * FROM cache_sync.$view"); 1 }, "pg_monitor reads $view") or diag($@);
}
ok(eval { $watcher->rows('SELECT * FROM cache_sync.check()'); 1 }, 'and check()') or diag($@);
my $stranger = CacheSync::Sql->new($node, user => 'nobody');
for my $what (qw(targets queue workers stat_capture stat_targets check() _queue() _target_states())) {
    ok(!eval { $stranger->rows("SELECT * FROM cache_sync.$what"); 1 }, "others do not read $what");
}
$node->stop;
done_testing();
