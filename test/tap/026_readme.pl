# The five-minute tour of README.md does what it says: each command of it is run, and prints what stands below it.
# <name> in the README stands for a word that differs from run to run; it must be the same word wherever it comes again.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::RealBin/lib";
use CacheSync::Cluster;
use CacheSync::Redis;
use PostgreSQL::Test::Utils;
use Test::More;

# script/test copies README.md beside the tests.
my ($file) = grep { -r } "$FindBin::RealBin/README.md", "$FindBin::RealBin/../../README.md";
my $readme = slurp_file($file);
my ($tour) = $readme =~ /<!-- tour:.*?-->(.*)<!-- end of the tour -->/s or die 'README.md has no tour';

my $redis = CacheSync::Redis->new;
my $node = CacheSync::Cluster->new('tour', extension => 0);
my $port = $redis->port;
$ENV{PGHOST} = $node->host;
$ENV{PGPORT} = $node->port;
$ENV{PGDATABASE} = 'postgres';
$ENV{PGOPTIONS} = '--client-min-messages=warning';

my %placeholder;
my $commands = 0;
for my $block ($tour =~ /^```console\n(.*?)^```/msg) {
    for my $step (split /^(?=\$ )/m, $block) {
        my ($command, $expected) = $step =~ /\A\$ (.*?)\n(.*)\z/s;
        ++$commands;
        is_printed(run_shell($command), $expected, $command);
    }
}
cmp_ok($commands, '>', 20, "ran the tour's $commands commands");
done_testing();

sub run_shell {
    my ($command) = @_;
    $command =~ s/127\.0\.0\.1:6379/127.0.0.1:$port/g;
    $command =~ s/\bredis-cli /redis-cli -p $port /g;
    $command =~ s/\bpsql /psql -X /g;
    $command =~ s/<(\w+)>/$placeholder{$1} \/\/ die "<$1> is not known yet"/ge;
    my $output = qx($command 2>&1);
    return $output;
}

# Compares line by line; a placeholder takes the word that it is seen with first.
sub is_printed {
    my ($printed, $expected, $command) = @_;
    my @words;
    my $pattern = join '', map { /^<(\w+)>$/ ? pattern_of($1, \@words) : quotemeta } split /(<\w+>)/, $expected;
    my @found = $printed =~ /\A$pattern\z/;
    if (!@found) {
        is($printed, $expected, $command);
        return;
    }
    @placeholder{@words} = @found if @words;
    pass($command);
    return;
}

sub pattern_of {
    my ($name, $words) = @_;
    return quotemeta $placeholder{$name} if defined $placeholder{$name};
    push @$words, $name;
    return '(\S+)';
}
