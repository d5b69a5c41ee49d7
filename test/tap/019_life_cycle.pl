# CREATE and DROP of extension and database with publishers running: nothing is held up, and no worker starts for ever.
use strict;
use warnings;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Load;
use CacheSync::Redis;
use CacheSync::Sql;

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('main', extension => 0);
my $count_publishers = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_sync publisher'};
$node->poll_until('a launcher', q{SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'cache_sync launcher'});
$node->poll_until("no publisher without extension", sub { $node->safe_psql("postgres", $count_publishers) eq "0" });
pass('library without extension');

sub timed {
    my ($what, $statement, $database) = @_;
    my $began = time;
    $node->safe_psql($database // 'postgres', $statement);
    my $took = time - $began;
    note sprintf '%s: %.2f s', $what, $took;
    cmp_ok($took, '<', 5, "$what is not held up");
    return;
}
sub make {
    my ($name) = @_;
    $node->safe_psql($name, 'CREATE EXTENSION cache_sync');
    $node->safe_psql($name, qq{CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url '@{[ $redis->url ]}', source '$name', prefix '$name:');
        CREATE TABLE item (id int PRIMARY KEY); SELECT cache_sync.register_table('item', 'item:{id}')});
    $node->publisher_pid($name);
    return;
}
sub works {
    my ($name, $id) = @_;
    $redis->command('SET', "$name:item:$id", 'old');
    $node->safe_psql($name, "INSERT INTO item VALUES ($id)");
    $node->drain($name);
    is($redis->command('GET', "$name:item:$id"), undef, "$name: publishes");
    return;
}

for my $name (qw(one two three)) {
    $node->safe_psql('postgres', "CREATE DATABASE $name");
    make($name);
}
works($_, 1) for qw(one two three);
isnt($node->publisher_pid('one'), $node->publisher_pid('two'), 'each database has its publisher');
$redis->command('SET', 'two:item:2', 'old');
$node->safe_psql('one', 'INSERT INTO item VALUES (2)');
$node->drain('one');
is($redis->command('GET', 'two:item:2'), 'old', 'they do not mix');

timed('RENAME', 'ALTER DATABASE one RENAME TO uno');
$node->publisher_pid('uno');
$redis->command('SET', 'one:item:3', 'old');
$node->safe_psql('uno', 'INSERT INTO item VALUES (3)');
$node->drain('uno');
is($redis->command('GET', 'one:item:3'), undef, 'uno: publishes after the rename');
timed('TEMPLATE', 'CREATE DATABASE four TEMPLATE uno');
$node->publisher_pid($_) for qw(uno four);
works('two', 4);
$redis->command('SET', 'one:item:5', 'old');
$node->safe_psql('four', 'INSERT INTO item VALUES (5)');
$node->drain('four');
is($redis->command('GET', 'one:item:5'), undef, 'four: the copy publishes, to the target that it was copied with');
timed('DROP', 'DROP DATABASE four');
timed('FORCE', 'DROP DATABASE uno WITH (FORCE)');
timed('TABLESPACE-like change', 'ALTER DATABASE two SET work_mem TO 4096');
works('two', 6);

# A statement that fails must not leave the database without publisher.
my $holder = CacheSync::Sql->new($node, database => 'three');
my ($code, undef, $error) = $node->psql('postgres', 'ALTER DATABASE three RENAME TO drei');
isnt($code, 0, 'RENAME fails while somebody else is connected');
like($error, qr/being accessed by other users/, 'with the usual message');
$holder->close;
$node->publisher_pid('three');
works('three', 7);

# DROP EXTENSION under load, and CREATE again.
$node->safe_psql('two', 'CREATE TABLE plain (id int)');
my @writers = map { CacheSync::Sql->new($node, database => 'two') } 1 .. 3;
for my $round (1 .. 3) {
    $_->send('DO $$ BEGIN FOR i IN 1..30 LOOP BEGIN INSERT INTO item VALUES (1000 + (random() * 1e8)::int); EXCEPTION WHEN unique_violation THEN NULL; END; COMMIT; END LOOP; END $$') for @writers;
    timed("DROP EXTENSION $round", 'DROP EXTENSION cache_sync CASCADE', 'two');
    for my $writer (@writers) {
        my $fine = eval { $writer->finish; 1 };
        # A writer that had compiled its trigger may find that it is gone; it may not crash or hang.
        ok($fine || $@ =~ /cache_sync|deadlock|does not exist|could not (open|find)/, "round $round: a writer ends") or diag($@);
    }
    $node->safe_psql('two', 'INSERT INTO item VALUES (' . (500 + $round) . ')');
    $node->poll_until('its publisher ended', sub {
        $node->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'cache_sync publisher' AND datname = 'two'}) eq '0' });
    $node->safe_psql('two', qq{CREATE EXTENSION cache_sync;
        CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url '@{[ $redis->url ]}', source 'two', prefix 'two:');
        SELECT cache_sync.register_table('item', 'item:{id}')});
    works('two', 600 + $round);
    # Sessions that had the old extension's tables in mind.
    $redis->command('SET', "two:item:70$round", 'old');
    $writers[0]->run("INSERT INTO item VALUES (70$round)");
    $node->drain('two');
    is($redis->command('GET', "two:item:70$round"), undef, "round $round: a session from before captures again");
}
$_->close for @writers;

# Rolled back: nothing changes.
$node->safe_psql('two', 'BEGIN; DROP EXTENSION cache_sync CASCADE; ROLLBACK');
works('two', 800);
$node->safe_psql('postgres', 'DROP DATABASE two');
$node->safe_psql('postgres', 'DROP DATABASE three');
$node->poll_until('no publisher is left', sub { $node->safe_psql('postgres', $count_publishers) eq '0' });
my $log = -s $node->logfile;
# Nothing to poll for here: that nothing happens can only be seen after a while.
$node->safe_psql('postgres', 'SELECT pg_sleep(2.5)');
my $tail = substr slurp_file($node->logfile), $log;
is(() = $tail =~ /FATAL|cache_sync publisher|background worker/g, 0, 'and none is started over and over') or diag($tail);
$node->stop;

# Out of worker slots.
my $small = CacheSync::Cluster->new('small', extension => 0, conf => "max_worker_processes = 3\nmax_logical_replication_workers = 0\n");
for my $name (qw(a b c)) {
    $small->safe_psql('postgres', "CREATE DATABASE $name");
    $small->safe_psql($name, qq{CREATE EXTENSION cache_sync; CREATE TABLE item (id int); SELECT cache_sync.register_table('item', '$name:{id}');
        CREATE SERVER main FOREIGN DATA WRAPPER cache_sync OPTIONS (url '@{[ $redis->url ]}', source 'small_$name')});
}
$small->poll_until('it says that it is out of slots', sub { slurp_file($small->logfile) =~ /cache_sync.*(slot|max_worker_processes)/ });
pass('out of slots is said in the log');
my $without;
$small->poll_until('one database has none', sub {
    ($without) = grep { $small->safe_psql($_, 'SELECT count(*) FROM cache_sync.workers WHERE role = \'publisher\' AND pid IS NOT NULL AND datname = current_database()') eq '0' } qw(a b c);
    defined $without });
$redis->command('SET', "$without:1", 'old');
$small->safe_psql($without, 'INSERT INTO item VALUES (1)');
is($small->safe_psql($without, q{SELECT cache_sync.drain('1 second')}), 'f', 'without publisher: drain() says no');
my ($other) = grep { $_ ne $without } qw(a b c);
$small->safe_psql($other, 'DROP EXTENSION cache_sync CASCADE');
$small->drain($without, 60);
is($redis->command('GET', "$without:1"), undef, 'and it recovers when a slot is free');
$small->stop;
done_testing();
