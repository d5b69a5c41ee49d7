# Many clients in random order against an oracle: no stale answer, whatever is lost; and the same harness finds the stale answers
# of caching without the protocol. CS_SEED repeats a run, CS_STEPS makes it longer.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Test::More;
use PostgreSQL::Test::Utils;
use CacheSync::Protocol;
use CacheSync::RandomRun;

my $seed = $ENV{CS_SEED} // int(rand 2**31);
my $steps = $ENV{CS_STEPS} // 20_000;
note "CS_SEED=$seed";

for my $flavour (qw(redis valkey)) {
    my $node = CacheSync::Protocol->new(flavour => $flavour, conf => ['dbfilename dump.rdb']);
    subtest "$flavour: protocol" => sub {
        my $run = walk($node, 'protocol', $steps);
        my $seen = $run->{seen};
        is($seen->{stale_hits}, 0, 'no stale answer');
        is($seen->{stale_fills}, 0, 'no stale fill accepted');
        is($seen->{own_missed} // 0, 0, 'no answer without the transaction that the reader named');
        is($seen->{late_accepted} // 0, 0, 'no late command accepted');
        # A walk that met nothing proves nothing.
        cmp_ok($seen->{$_}, '>', $steps / 2000, "$_: $seen->{$_}") for qw(hits fills absences labelled lost fenced late);
        cmp_ok($run->{incarnations}, '>', $steps / 4000, "incarnations: $run->{incarnations}");
        cmp_ok($seen->{restarts}, '>', 0, "restarts: $seen->{restarts}");
    };
    for my $control (qw(naive unfenced)) {
        $node->server->command('FLUSHALL');
        $node->load;
        my $seen = walk($node, $control, 6000)->{seen};
        cmp_ok($seen->{stale_hits}, '>', 0, "$flavour: $control: stale answers are found: $seen->{stale_hits} of $seen->{hits}");
        cmp_ok($seen->{stale_fills}, '>', 0, "$flavour: unfenced: stale fills: $seen->{stale_fills} of $seen->{fills}") if $control eq 'unfenced';
    }
}
done_testing();

sub walk {
    my ($node, $arm, $count) = @_;
    my $run = CacheSync::RandomRun->new($node, seed => $seed, arm => $arm);
    for my $step (1 .. $count) {
        $run->step;
        next unless $arm eq 'protocol' && $run->{seen}{stale_hits};
        diag "first stale answer at step $step; repeat with CS_SEED=$seed";
        last;
    }
    return $run;
}
