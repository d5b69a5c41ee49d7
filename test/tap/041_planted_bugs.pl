# The test of the test: what 040_random_capture.pl runs must find bugs that are planted into the library, each within the
# length of a normal run.
use strict;
use warnings;
use Time::HiRes qw(time);
use PostgreSQL::Test::Utils;
use PostgreSQL::Test::Cluster;
use Test::More;
use CacheSync::CaptureRun;
use CacheSync::Variant;

my $seed = $ENV{CS_SEED} // int rand 1_000_000;
my $rounds = $ENV{CS_STEPS} // 16;
diag "seed $seed";

# What is planted: the file, what is replaced by what, what has to be compiled again, how it shows.
my @bugs = (
    {
        name => 'drops one key in a thousand',
        file => 'publish/batch.cpp',
        at => qr/^void BatchBuilder::add\(TouchKind kind, std::string_view text\) \{\n\K/m,
        with => "    static unsigned planted = 0;\n    if (kind == TouchKind::key && ++planted % 1000 == 0)\n        return;\n",
        compile => ['publish/batch.cpp'],
        shows => 'lost',
    },
    {
        name => 'publishes before the commit is visible',
        file => 'capture/transaction_pg.cpp',
        at => qr/^ +if \(!nothing_happened\(\)\)\n +write_to_queue\(\);\n\K/m,
        with => "            if (event == XACT_EVENT_PRE_COMMIT && !nothing_happened())\n                announce_rows({});\n",
        compile => ['capture/transaction_pg.cpp'],
        shows => 'early',
    },
    {
        name => 'forgets the old key',
        file => 'capture/row_change_pg.h',
        at => qr/if \(numbers\.has_old\K\)/,
        with => ' && !numbers.has_new)',
        compile => ['capture/row_trigger_pg.cpp'],
        shows => 'lost',
    },
    {
        name => 'publishes what a savepoint undid',
        file => 'capture/transaction_pg.cpp',
        at => qr/touched\.\Kabort_level\(level\)/,
        with => 'commit_level(level)',
        compile => ['capture/transaction_pg.cpp'],
        shows => 'surplus|phantom',
    },
    {
        name => 'renders as the session would',
        file => 'capture/pinned_settings_pg.cpp',
        at => qr/^void FormatSettings::apply\(\) const noexcept \{\n\K/m,
        with => "    return;\n",
        compile => ['capture/pinned_settings_pg.cpp'],
        shows => 'lost',
    });

my $began = time;
my $variants = CacheSync::Variant->prepare('../../src');
note sprintf 'compiled in %.1f s', time - $began;
for my $n (0 .. $#bugs) {
    my $bug = $bugs[$n];
    my $path = $variants->make("bug$n", @$bug{qw(file at with)}, @{ $bug->{compile} });
    local $ENV{PATH} = "$path/bin:$ENV{PATH}";
    $began = time;
    my $run = CacheSync::CaptureRun->new(seed => $seed, name => "bug$n");
    my $round = 0;
    $run->round while $round++ < $rounds && !grep { /^(?:$bug->{shows}):/ } $run->findings;
    $run->finish;
    my ($found) = grep { /^(?:$bug->{shows}):/ } $run->findings;
    note sprintf '%s: %d rounds, %.1f s; %s', $bug->{name}, $round - 1, time - $began, substr $found // 'not found', 0, 200;
    ok($found, "a library that $bug->{name} is found out") or diag join "\n", $run->findings;
    like($run->{library}, qr{^\Q$path\E/}, 'and it was that library which ran');
}
done_testing();
