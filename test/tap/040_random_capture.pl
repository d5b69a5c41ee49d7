# Capture is complete and exact: random transactions on random tables, with sessions, servers and caches that break, against
# an oracle that shares nothing with cache_sync. CS_SEED repeats a run, CS_STEPS is how many rounds it has.
use strict;
use warnings;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::CaptureRun;

my $seed = $ENV{CS_SEED} // int rand 1_000_000;
my $rounds = $ENV{CS_STEPS} // 16;
diag "seed $seed";
my $run = CacheSync::CaptureRun->new(seed => $seed);
my $began = time;
for my $round (1 .. $rounds) {
    $run->round;
    note sprintf 'round %d, %.1f s, fault: %s', $round, time - $began, $run->{fault};
}
$run->finish;
note join ', ', map { "$_: $run->{seen}{$_}" } sort keys %{ $run->{seen} };

for my $kind (qw(lost stale surplus early phantom oracle error)) {
    my @found = grep { /^$kind:/ } $run->findings;
    is(scalar @found, 0, "$kind: none") or diag join "\n", map { substr $_, 0, 600 } "CS_SEED=$seed", @found;
}
# The run was one: enough of everything.
cmp_ok($run->seen('must go'), '>', 150 * $rounds, 'entries that had to go');
cmp_ok($run->seen('must stay'), '>', 150 * $rounds, 'entries that had to stay');
cmp_ok($run->seen('valid entries'), '>', 150 * $rounds, 'entries that readers filled while rows changed');
cmp_ok($run->seen("changes $_"), '>', 10 * $rounds, "changes of kind $_") for qw(I U D);
for my $kind ('INSERT', 'ON CONFLICT', 'UPDATE', 'DELETE', 'COPY', 'MERGE', 'WITH', 'DO', 'SAVEPOINT', 'ROLLBACK TO', 'ROLLBACK', 'PREPARE TRANSACTION', 'COMMIT PREPARED', 'ROLLBACK PREPARED') {
    cmp_ok($run->seen("did $kind"), '>', $kind =~ /PREPARE/ ? 0 : $rounds, "$kind that succeeded");
}
cmp_ok($run->seen('heard'), '>', 10 * $rounds, 'announcements whose rows were looked up at once');
done_testing();
