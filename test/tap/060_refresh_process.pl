# Refresh processes: who they are, what stops them and what is left then, and that code of a view's owner gains nothing by
# being run by them.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use Time::HiRes qw(time);
use CacheSync::Cluster qw(wait_for);
use CacheSync::Sql;

my $node = CacheSync::Cluster->new('main', extension => 0, conf => "cache_sync.refresh_lock_timeout = 100ms\n");
$node->safe_psql('postgres', q{
    CREATE EXTENSION cache_sync;
    CREATE SERVER waiting FOREIGN DATA WRAPPER cache_sync OPTIONS (url 'redis://127.0.0.1:1/0', paused 'true')});
$node->wait_for_target('waiting', 'paused');
my $sql = CacheSync::Sql->new($node);

# The views belong to a role that can do little, and whose settings are in the way of any work. pass() is a gate: it holds a
# refresh that comes through it while it is closed.
$sql->run($_) for (
    'CREATE ROLE app CONNECTION LIMIT 0', 'CREATE ROLE stranger', 'CREATE ROLE other', 'GRANT other TO app',
    'REVOKE CONNECT ON DATABASE postgres FROM PUBLIC', 'CREATE SCHEMA app AUTHORIZATION app', 'GRANT USAGE ON SCHEMA app TO PUBLIC',
    (map { "ALTER ROLE app SET $_" } 'default_transaction_read_only = on', 'default_transaction_isolation = serializable',
        'statement_timeout = 1', 'lock_timeout = 1', 'transaction_timeout = 1', 'role = other', 'search_path = nowhere'));
my $app = q{
    SET ROLE app;
    CREATE TABLE app.gate (name text);
    CREATE FUNCTION app.pass(gate text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
    BEGIN
        WHILE EXISTS (SELECT FROM app.gate g WHERE g.name = gate) LOOP
            PERFORM pg_catalog.pg_sleep(0.01);
        END LOOP;
        RETURN gate;
    END $$;
    RESET ROLE};
$sql->run($app);

# A view of the role app, over a table of its own, with a gate of the same name; registered, refreshed once.
sub make_view {
    my ($name, %option) = @_;
    my $options = join '', map { ", $_ => $option{$_}" } sort keys %option;
    $sql->run(qq{
        SET ROLE app;
        CREATE TABLE app.base_$name (id int, g int);
        INSERT INTO app.base_$name SELECT n, n FROM generate_series(1, 1000) n;
        CREATE MATERIALIZED VIEW app.$name AS SELECT b.id, b.g FROM (SELECT app.pass('$name') AS gate OFFSET 0) p, app.base_$name b;
        CREATE UNIQUE INDEX ON app.$name (id);
        SELECT cache_sync.register_view('app.$name', '\@yearly', on_change => false, key => '$name:{id}' $options);
        RESET ROLE});
    result(ask($name), 'id');
    settle($name);
    return;
}

sub job { my ($name) = @_; return $sql->value("SELECT pid FROM cache_sync._refresh_jobs() WHERE view = 'app.$name'::regclass") }
sub settle { my ($name) = @_; return wait_for("$name is at rest", sub { !defined job($name) && !pending($name) }) }
sub pending { my ($name) = @_; return $sql->value("SELECT count(*) FROM cache_sync.refresh_run WHERE view = 'app.$name'::regclass AND state IN ('queued', 'running')") }
sub shut { my ($name) = @_; return $sql->run("INSERT INTO app.gate VALUES ('$name')") }
sub open_gate { my ($name) = @_; return $sql->run("DELETE FROM app.gate WHERE name = '$name'") }
sub ask { my ($name) = @_; return $sql->value("SELECT cache_sync.refresh('app.$name')") }

# The columns of a run, joined, once it is over.
sub result {
    my ($run, $columns) = @_;
    wait_for("run $run is over", sub { $sql->value("SELECT state NOT IN ('queued', 'running') FROM cache_sync.refresh_run WHERE id = $run") eq 't' });
    return $sql->value("SELECT concat_ws(' ', state, $columns) FROM cache_sync.refresh_run WHERE id = $run");
}

# A refresh that hangs at the gate: its run and its pid.
sub hang {
    my ($name) = @_;
    shut($name);
    my $run = ask($name);
    my $pid;
    wait_for(
        "$name is refreshed",
        sub {
            $pid = $sql->value("SELECT a.pid FROM pg_stat_activity a JOIN cache_sync._refresh_jobs() j USING (pid)
                                WHERE j.view = 'app.$name'::regclass AND j.phase = 'refreshing' AND a.wait_event = 'PgSleep'");
        });
    return ($run, $pid);
}
sub is_gone { my ($pid) = @_; return !$sql->value("SELECT count(*) FROM pg_stat_activity WHERE pid = $pid") }

# An ordinary refresh.
make_view('one');
my ($run, $pid) = hang('one');
is($sql->value("SELECT concat_ws(' ', usename, backend_type, application_name, state, query) FROM pg_stat_activity WHERE pid = $pid"),
    'app cache_sync refresh cache_sync refresh active REFRESH MATERIALIZED VIEW CONCURRENTLY app.one', 'the process is the owner\'s, and says what it does');
is($sql->value("SELECT concat_ws(' ', state, pid = $pid) FROM cache_sync.refresh_run WHERE id = $run"), 'running t', 'the history says so too');
$sql->run('UPDATE app.base_one SET g = -1 WHERE id <= 10');
open_gate('one');
is(result($run, '"concurrently", rows_inserted, rows_removed, keys, tags'), 'succeeded t 0 0 0 0', 'a refresh does not see what came after its start');
$run = ask('one');
is(result($run, '"concurrently", rows_inserted, rows_removed, keys, tags'), 'succeeded t 10 10 10 0', 'ten changed rows are ten keys');
settle('one');
is($sql->value('SELECT count(*) FROM app.one WHERE g = -1'), 10, '... and they are in the view');
make_view('plain', concurrently => 'false');
$sql->run('UPDATE app.base_plain SET g = -1 WHERE id <= 10');
is(result(ask('plain'), '"concurrently", rows_inserted, rows_removed, keys, tags'), 'succeeded f 10 10 10 0', 'the same without CONCURRENTLY');

# What stops it.
($run, $pid) = hang('one');
$sql->run("SELECT pg_cancel_backend($pid)");
like(result($run, 'sqlstate, message'), qr/^canceled 57014 .*user request/, 'pg_cancel_backend');
wait_for('the process is gone', sub { is_gone($pid) });
open_gate('one');
settle('one');
($run, $pid) = hang('one');
$sql->run("SELECT pg_terminate_backend($pid)");
wait_for('the process is gone', sub { is_gone($pid) });
like(result($run, 'sqlstate'), qr/^failed 57P01/, 'pg_terminate_backend');
open_gate('one');
make_view('limited', statement_timeout => q{'200 ms'});
($run, $pid) = hang('limited');
like(result($run, 'sqlstate, message'), qr/^failed 57014 .*statement timeout/, 'statement_timeout');
open_gate('limited');
settle('limited');
is(result(ask('limited'), 'sqlstate'), 'succeeded', '... does not stop the next one');
$sql->run('INSERT INTO app.base_one VALUES (1, 1)');
like(result(ask('one'), 'sqlstate, message'), qr/^failed 23505 /, 'an error has its SQLSTATE and message');
$sql->run('DELETE FROM app.base_one WHERE (id, g) = (1, 1)');
is(result(ask('one'), 'sqlstate'), 'succeeded', '... and the next one is right again');

# The next publisher ends what the one before has left, and goes on.
($run, $pid) = hang('one');
my $publisher = $node->publisher_pid;
$sql->run("SELECT pg_terminate_backend($publisher)");
wait_for('the process is gone', sub { is_gone($pid) });
like(result($run, 'sqlstate'), qr/^failed 57P01/, 'another publisher ends the refresh of the last one');
open_gate('one');
is(result(ask('one'), 'sqlstate'), 'succeeded', '... and refreshes the view');

# Locks: it gives way and comes back.
my $locker = CacheSync::Sql->new($node);
$locker->run('BEGIN; REFRESH MATERIALIZED VIEW CONCURRENTLY app.one');
$run = ask('one');
wait_for('it tries again', sub { $sql->value(q{SELECT count(*) FROM cache_sync._refresh_jobs() WHERE phase = 'retrying'}) });
is($sql->value(q{SELECT count(*) FROM pg_locks l JOIN cache_sync._refresh_jobs() j USING (pid) WHERE l.relation = j.view AND j.phase = 'retrying'}), 0, 'without locks in between');
$locker->run('COMMIT');
is(result($run, 'sqlstate'), 'succeeded', 'it gets the lock in the end');
$locker->run('BEGIN; REFRESH MATERIALIZED VIEW CONCURRENTLY app.one');
$run = ask('one');
like(result($run, 'sqlstate'), qr/^failed 55P03/, 'or gives up');
$run = ask('one');
wait_for('it tries again', sub { $sql->value(q{SELECT count(*) FROM cache_sync._refresh_jobs() WHERE phase = 'retrying'}) });
$sql->run("SELECT pg_cancel_backend(@{[ job('one') ]})");
like(result($run, 'sqlstate'), qr/^canceled 57014/, 'it can be canceled while it pauses');
$locker->run('COMMIT');
settle('one');

# As many as are allowed, and never two of one view.
make_view($_) for qw(two three);
hang($_) for qw(one two);
shut('three');
my $third = ask('three');
my $again = ask('one');
for (1 .. 20) {
    is($sql->value('SELECT count(*) FROM cache_sync._refresh_jobs()'), 2, 'two at a time') if $_ == 20;
    last if $sql->value('SELECT count(*) FROM cache_sync._refresh_jobs()') != 2;
    $sql->run('SELECT pg_sleep(0.02)');
}
is($sql->value("SELECT string_agg(state, ' ') FROM cache_sync.refresh_run WHERE id IN ($third, $again)"), 'queued queued', 'the others wait');
open_gate('two');
wait_for('the third is refreshed', sub { defined job('three') });
is(job('two'), undef, 'once there is room');
open_gate($_) for qw(one three);
is(result($_, 'sqlstate'), 'succeeded', 'it was refreshed') for $third, $again;
settle($_) for qw(one two three);

# DDL does not wait for it.
sub quickly {
    my ($what, $statement, $pid) = @_;
    my $began = time;
    my $session = CacheSync::Sql->new($node, timeout => 30);
    $session->run($_) for ref $statement ? @$statement : $statement;
    cmp_ok(time - $began, '<', 5, "$what does not wait for a refresh");
    wait_for("$what: the process is gone", sub { is_gone($pid) });
    return;
}
(undef, $pid) = hang('two');
for my $statement ('DROP MATERIALIZED VIEW app.two', 'DROP SCHEMA app CASCADE', 'ALTER MATERIALIZED VIEW app.two OWNER TO stranger', 'DROP OWNED BY app') {
    my $session = CacheSync::Sql->new($node);
    ok(!eval { $session->run("SET ROLE stranger; SET lock_timeout = 100; $statement"); 1 }, "a stranger's $statement fails");
}
ok(!is_gone($pid), '... and ends no refresh');
quickly('DROP MATERIALIZED VIEW', 'DROP MATERIALIZED VIEW app.two', $pid);
(undef, $pid) = hang('three');
quickly('DROP TABLE CASCADE', 'DROP TABLE app.base_three CASCADE', $pid);
(undef, $pid) = hang('plain');
quickly('ALTER MATERIALIZED VIEW OWNER', [ 'GRANT CREATE ON SCHEMA app TO other', 'ALTER MATERIALIZED VIEW app.plain OWNER TO other' ], $pid);
open_gate('plain');

# The owner's code: everything that could make it somebody else, from the query, from a function of an index, at the commit.
my $mark = PostgreSQL::Test::Utils::tempdir() . '/was_here';
$sql->run(<<"SQL");
ALTER ROLE app RESET ALL;
SET ROLE app;
CREATE TABLE app.log (place text, attempt text, login name, acting name, problem text);
CREATE TABLE app.deferred (n int);
CREATE FUNCTION app.attempt(place text, statement text) RETURNS void LANGUAGE plpgsql AS \$\$
BEGIN
    EXECUTE statement;
    INSERT INTO app.log VALUES (place, statement, session_user, current_user);
EXCEPTION WHEN OTHERS THEN
    INSERT INTO app.log VALUES (place, statement, session_user, current_user, SQLERRM);
END \$\$;
CREATE FUNCTION app.escalate(place text) RETURNS int LANGUAGE plpgsql AS \$\$
DECLARE statement text;
BEGIN
    FOREACH statement IN ARRAY ARRAY[
        'ALTER ROLE app SUPERUSER', 'CREATE ROLE evil SUPERUSER', 'GRANT pg_execute_server_program TO app',
        'RESET ROLE', 'RESET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION DEFAULT', 'SET ROLE @{[ getpwuid $< ]}',
        'SET LOCAL ROLE NONE; ALTER ROLE app SUPERUSER', 'SET SESSION AUTHORIZATION @{[ getpwuid $< ]}; ALTER ROLE app SUPERUSER',
        'COPY (SELECT 1) TO PROGRAM ''touch $mark''', 'COPY (SELECT 1) TO ''$mark''', 'SELECT lo_import(''/etc/passwd'')',
        'SELECT pg_read_file(''/etc/passwd'')', 'ALTER SYSTEM SET work_mem = ''1MB''', 'LOAD ''cache_sync''',
        'CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION app.event()',
        'CREATE TRIGGER evil BEFORE UPDATE ON cache_sync.refresh_run FOR EACH ROW EXECUTE FUNCTION app.fire()',
        'UPDATE cache_sync.refresh_run SET state = ''failed''', 'DELETE FROM cache_sync.rule', 'INSERT INTO cache_sync.view VALUES (''app.evil'')',
        'CREATE FUNCTION cache_sync.evil() RETURNS int LANGUAGE sql AS ''SELECT 1''',
        'CREATE TEMP TABLE refresh_run (id bigint)', 'CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS ''SELECT app.escalate(''''temp'''')::text''',
        'DECLARE c CURSOR WITH HOLD FOR SELECT app.escalate(''hold'')', 'PREPARE evil AS SELECT 1', 'LISTEN evil',
        'SET CONSTRAINTS ALL DEFERRED; INSERT INTO app.deferred VALUES (1)',
        'SET search_path = app, pg_catalog', 'SET session_replication_role = replica', 'SET cache_sync.enabled = off',
        'SET default_transaction_read_only = on', 'SET lock_timeout = 1', 'SET plan_cache_mode = force_generic_plan',
        'SET cache_sync_internal.busy = on'] LOOP
        PERFORM app.attempt(place, statement);
    END LOOP;
    RETURN 1;
END \$\$;
CREATE FUNCTION app.event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM app.attempt(''event'', ''ALTER ROLE app SUPERUSER''); END';
CREATE FUNCTION app.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM app.attempt(''commit'', ''ALTER ROLE app SUPERUSER''); RETURN NULL; END';
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON app.deferred DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION app.fire();
-- Names that SQL with another search_path would find.
CREATE TABLE app.refresh_run (LIKE app.log);
CREATE FUNCTION app.lower(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN PERFORM app.escalate(''path''); RETURN \$1; END';
CREATE FUNCTION app.same(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN PERFORM app.escalate(''operator''); RETURN true; END';
CREATE OPERATOR app.= (LEFTARG = text, RIGHTARG = text, FUNCTION = app.same);
CREATE FUNCTION app.indexed(n int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN PERFORM app.escalate(''index''); RETURN n; END';
CREATE TABLE app.base_evil (id int);
CREATE MATERIALIZED VIEW app.evil AS SELECT id, app.escalate('query') FROM app.base_evil;
CREATE UNIQUE INDEX ON app.evil (id);
CREATE INDEX ON app.evil (app.indexed(id));
INSERT INTO app.base_evil VALUES (1);
SELECT cache_sync.register_view('app.evil', '\@yearly', on_change => false, key => 'evil:{id}');
RESET ROLE;
SQL
result(ask('evil'), 'id');
settle('evil');
for my $how ('NULL', 'false') {
    $sql->run("TRUNCATE app.log; UPDATE cache_sync.view SET \"concurrently\" = $how WHERE view = 'app.evil'::regclass; UPDATE app.base_evil SET id = id + 1");
    like(result(ask('evil'), '"concurrently", keys'), $how eq 'NULL' ? qr/^succeeded t 2$/ : qr/^succeeded f 2$/, "a view that tries everything is refreshed ($how)");
    settle('evil');
    is($sql->value(q{SELECT string_agg(DISTINCT concat_ws(' ', place, login, acting), ', ') FROM app.log}), 'index app app, query app app', 'its code ran as the owner, nowhere else');
    # Functions in pg_temp are found by nobody who does not name it.
    is($sql->value(q{SELECT string_agg(DISTINCT attempt, E'\n') FROM app.log WHERE problem IS NULL
                     AND attempt !~ '^(CREATE FUNCTION pg_temp.*|RESET ROLE|SET (search_path|default_transaction|lock_timeout|plan_cache_mode|cache_sync_internal).*)$'}), undef, 'what matters was refused');
    is($sql->value(q{SELECT count(*) FROM pg_roles r WHERE r.rolname = 'evil' OR (r.rolname = 'app' AND (r.rolsuper OR pg_has_role(r.oid, 'pg_execute_server_program', 'MEMBER')))}), 0, 'nobody has become more than he was');
    ok(!-e $mark, 'nothing was run on the server');
    is($sql->value('SELECT count(*) FROM app.refresh_run') + $sql->value('SELECT count(*) FROM app.deferred'), 0, 'nothing else was caught');
}
# The attempts are real: a worker that evaluated the same functions as a superuser would have been taken over.
$sql->run(q{BEGIN; SELECT app.indexed(1)});
is($sql->value(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'}), 't', 'a superuser that runs them is lost');
$sql->run('ROLLBACK');
is($sql->value(q{SELECT rolsuper FROM pg_roles WHERE rolname = 'app'}), 'f', '... (and rolled back)');

# Ends of databases and servers.
$sql->run(q{GRANT CREATE ON DATABASE postgres TO app});
$node->safe_psql('postgres', 'CREATE DATABASE side');
$node->safe_psql('side', q{
    CREATE EXTENSION cache_sync;
    CREATE TABLE gate (name text); INSERT INTO gate VALUES ('closed');
    CREATE FUNCTION pass() RETURNS int LANGUAGE plpgsql AS 'BEGIN WHILE EXISTS (SELECT FROM public.gate) LOOP PERFORM pg_sleep(0.01); END LOOP; RETURN 1; END';
    CREATE MATERIALIZED VIEW mv AS SELECT pass() WITH NO DATA;
    SELECT cache_sync.register_view('mv', '@yearly', on_change => false);
    SELECT cache_sync.refresh('mv')});
my $side = CacheSync::Sql->new($node, database => 'side');
sub side_pid { my $pid; wait_for('a refresh in the other database', sub { $pid = $side->value('SELECT pid FROM cache_sync._refresh_jobs() WHERE phase = \'refreshing\'') }); return $pid }
$pid = side_pid();
my $began = time;
$side->run('DROP EXTENSION cache_sync CASCADE');
cmp_ok(time - $began, '<', 5, 'DROP EXTENSION does not wait for a refresh');
wait_for('DROP EXTENSION: the process is gone', sub { is_gone($pid) });
$side->run($_) for 'CREATE EXTENSION cache_sync', q{SELECT cache_sync.register_view('mv', '@yearly', on_change => false)}, q{SELECT cache_sync.refresh('mv')};
$pid = side_pid();
$side->close;
$began = time;
$sql->run('DROP DATABASE side');
cmp_ok(time - $began, '<', 5, 'DROP DATABASE does not wait for a refresh');
ok(is_gone($pid), '... whose process is gone');

hang('one');
$sql->close;
$began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 10, 'a fast shutdown does not wait for a refresh');
$node->start;
$sql = CacheSync::Sql->new($node);
wait_for('it is refreshed again', sub { defined job('one') });
$sql->close;
$began = time;
$node->stop('immediate');
cmp_ok(time - $began, '<', 10, 'nor does an immediate one');
$node->start;
$sql = CacheSync::Sql->new($node);
open_gate('one');
is(result(ask('one'), 'sqlstate'), 'succeeded', 'the view can be refreshed again');
settle($_) for qw(one plain);
is($sql->value("SELECT count(*) FROM cache_sync.refresh_run WHERE state IN ('queued', 'running')"), 0, 'no run is left open');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/still active|leak|PANIC/, 'nothing was left behind at the end of any transaction');
done_testing();
