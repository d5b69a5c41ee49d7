# Judges caches against their source: fills Redis with the text of every row under its keys, lets something happen, waits
# until it is published, and compares. An entry that is not what the source says is stale; one that is gone though its row
# did not change was invalidated without need.
#
#   my $oracle = CacheSync::RowOracle->new($node, $redis, map => 'SELECT key, value FROM ...', absent => ['t:99']);
#   $oracle->fill; ... $oracle->judge('what happened');
package CacheSync::RowOracle;
use strict;
use warnings;
use Test::More ();
use CacheSync::Sql;

my $none = '(no row)';

# map: query of all keys and what belongs under them; absent: keys that are cached as "no such row" where map has none;
# database
sub new {
    my ($class, $node, $redis, %option) = @_;
    my $database = $option{database} // 'postgres';
    my $self = bless { node => $node, redis => $redis, database => $database, known => {}, %option }, $class;
    return $self->connect;
}

# Also needed after a restart of the server.
sub connect {
    my ($self) = @_;
    $self->{sql} = CacheSync::Sql->new($self->{node}, database => $self->{database});
    $self->{sql}->run(q{SET cache_sync.enabled = off; SET timezone = 'UTC'; SET client_min_messages = error});
    return $self;
}

# A session whose changes are not captured: for making and unmaking what the cases start from.
sub quiet { my ($self, @statements) = @_; $self->{sql}->run($_) for @statements; return }

sub source {
    my ($self) = @_;
    return { (map { $_ => $none } @{ $self->{absent} // [] }), map { $_->[0] => $_->[1] } $self->{sql}->rows($self->{map}) };
}

# Makes the cache what the source is.
sub fill {
    my ($self) = @_;
    $self->drain;
    my $now = $self->source;
    my @old = grep { !exists $now->{$_} } keys %{ $self->{known} };
    my @commands = map { [ 'SET', $_, $now->{$_} ] } sort keys %$now;
    push @commands, [ 'DEL', @old ] if @old;
    $self->{redis}->pipeline(@commands);
    $self->{known}{$_} = 1 for keys %$now;
    $self->{before} = $now;
    return;
}

sub drain {
    my ($self) = @_;
    my $done = $self->{sql}->value(q{SELECT cache_sync.drain('60 seconds')});
    die "not everything was published in time\n" unless $done eq 't';
    return;
}

# unchanged => 1: nothing may have changed, and everything must be there still; wide => regex: such keys may be gone without
# need; early => 1: what was filled is compared with the source as it was then
sub judge {
    my ($self, $what, %option) = @_;
    $self->drain;
    my $before = $self->{before};
    my $after = $option{early} ? $before : $self->source;
    my @keys = sort keys %$before;
    my $cached = $self->{redis}->command('MGET', @keys);
    my ($changed, @problems) = (0);
    for my $n (0 .. $#keys) {
        my ($key, $is) = ($keys[$n], $cached->[$n]);
        my $should = $after->{$key} // $none;
        my $same = $should eq $before->{$key};
        $changed++ unless $same;
        push @problems, "stale: $key is $is, should be $should" if defined $is && $is ne $should;
        push @problems, "gone without need: $key" if !defined $is && $same && $key !~ ($option{wide} // qr/^$/);
    }
    push @problems, 'the case changed nothing, so it shows nothing' if !$changed && !$option{unchanged} && !$option{early};
    push @problems, "$changed entries changed" if $changed && $option{unchanged};
    Test::More::ok(!@problems, $what) or Test::More::diag(join "\n", splice @problems, 0, 15);
    return;
}

1;
