# A stock application: pgbench's own tables registered, its own scripts run, with a reader that fills the cache all the time.
# At the end every cached row equals its source.
use strict;
use warnings;
use POSIX ();
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::Cluster qw(wait_for);
use CacheSync::Redis;
use CacheSync::Sql;

my %target = map { $_ => CacheSync::Redis->new(flavour => $_) } qw(redis valkey);
my $node = CacheSync::Cluster->new('main', redis => \%target);
PostgreSQL::Test::Cluster::command_ok($node, [ 'pgbench', '-i', '-q', '-s', 1, 'postgres' ], 'pgbench -i');
$node->safe_psql('postgres', q{
    SELECT cache_sync.register_table('pgbench_accounts', 'account:{aid}', tags => '{"branch:{bid}:accounts"}');
    SELECT cache_sync.register_table('pgbench_branches', 'branch:{bid}');
    SELECT cache_sync.register_table('pgbench_tellers', 'teller:{tid}', tags => '{"branch:{bid}:tellers"}')});
$node->wait_for_target($_, 'connected') for sort keys %target;
$node->drain;

my $dir = PostgreSQL::Test::Utils::tempdir('readers');
my %source = (account => [ 'pgbench_accounts', 'aid', 'abalance', 60 ], branch => [ 'pgbench_branches', 'bid', 'bbalance', 1 ],
    teller => [ 'pgbench_tellers', 'tid', 'tbalance', 10 ]);
sub read_one {
    my ($sql, $redis, $kind, $id) = @_;
    my ($table, $key, $column) = @{ $source{$kind} };
    my $got = $redis->command('FCALL', 'cs_get', 1, "$kind:$id", 'postgres', 3000, 0, sprintf('%06x%06x', rand 2**24, rand 2**24));
    return $got unless ref $got && $got->[2] ne '';
    my $tags = $kind eq 'branch' ? '' : "branch:1:${kind}s";
    my $value = $sql->value("SELECT $column FROM $table WHERE $key = $id");
    # Accounts carry no tag here: every pgbench transaction would invalidate all of them at once.
    $redis->command('FCALL', 'cs_fill', 1, "$kind:$id", 'postgres', $got->[2], $value, 60_000, 120_000, 0, 'P', 0, $kind eq 'account' ? '' : $tags);
    return;
}
my @pids;
for my $name (sort keys %target) {
    my $pid = fork // die "fork: $!";
    if ($pid == 0) {
        my $fine = eval {
            my ($sql, $redis) = (CacheSync::Sql->new($node), $target{$name}->client);
            until (-e "$dir/stop") {
                my $kind = (qw(account account account branch teller))[ rand 5 ];
                read_one($sql, $redis, $kind, 1 + int rand $source{$kind}[3]);
            }
            1;
        };
        print STDERR "reader: $@" unless $fine;
        POSIX::_exit($fine ? 0 : 1);
    }
    push @pids, $pid;
}
# Few accounts, so that those that are read are those that are written.
my $script = PostgreSQL::Test::Utils::tempdir('script') . '/few.sql';
append_to_file($script, <<'SQL');
\set aid random(1, 60)
\set tid random(1, 10)
\set delta random(-5000, 5000)
BEGIN;
UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid;
UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid;
UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = 1;
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, 1, :aid, :delta, CURRENT_TIMESTAMP);
END;
SQL
PostgreSQL::Test::Cluster::command_ok($node, [ 'pgbench', '-n', '-c', 3, '-t', 200, 'postgres' ], 'pgbench');
PostgreSQL::Test::Cluster::command_ok($node, [ 'pgbench', '-n', '-c', 3, '-t', 200, '-f', $script, 'postgres' ], 'pgbench on few rows');
PostgreSQL::Test::Cluster::command_ok($node, [ 'pgbench', '-n', '-c', 2, '-t', 100, '-b', 'simple-update', '-M', 'prepared', 'postgres' ], 'pgbench with prepared statements');
open my $stop, '>', "$dir/stop" or die "stop: $!";
close $stop;
for (@pids) { waitpid $_, 0; is($?, 0, 'a reader ended well') }
$node->drain;

my $sql = CacheSync::Sql->new($node);
for my $name (sort keys %target) {
    my ($equal, @wrong) = (0);
    for my $kind (sort keys %source) {
        my ($table, $key, $column, $count) = @{ $source{$kind} };
        my %value = map { @$_ } $sql->rows("SELECT $key, $column FROM $table WHERE $key <= $count");
        for my $id (1 .. $count) {
            my $got = read_one($sql, $target{$name}, $kind, $id);
            next if !defined $got || ref $got;
            if ($got eq $value{$id}) { $equal++ } else { push @wrong, "$kind:$id is $got, not $value{$id}" }
        }
    }
    is("@wrong", '', "$name: every cached row equals its source");
    cmp_ok($equal, '>', 5, "$name: of $equal cached ones");
}
is($sql->value('SELECT count(*) FROM cache_sync.queue'), 0, 'nothing is pending');
$sql->run('TRUNCATE pgbench_accounts, pgbench_branches, pgbench_tellers, pgbench_history');
$node->drain;
for my $name (sort keys %target) {
    is(scalar(grep { /^(account|branch|teller):/ } @{ $target{$name}->command('KEYS', '*') }), 0, "$name: TRUNCATE leaves no entry");
}
$node->stop;
done_testing();
