# Judges what a CacheSync::Load left behind, after everything was published.
#
#   no marker that was there before the COMMIT of a transaction which touched its key was sent may be there still (lost)
#   every marker whose key only rolled-back work touched must be there still (surplus)
package CacheSync::Oracle;
use strict;
use warnings;
use Carp qw(croak);
use Test::More ();
use CacheSync::Sql;

# Reads the logs and the journal. extra: logs of more loads
sub new {
    my ($class, $load, @more) = @_;
    my $self = bless {
        load => $load, last_commit => {}, committed => {}, markers => {}, ghosts => {}, errors => [], slowest => 0, commits => 0,
        keys => {} }, $class;
    my $sql = CacheSync::Sql->new($load->{node}, database => $load->{database});
    $self->{committed}{"$_->[0].$_->[1]"} = 1 for $sql->rows('SELECT writer, seq FROM journal');
    $self->read_log($_) for map { $_->logs } $load, @more;
    return $self;
}

sub read_log {
    my ($self, $name) = @_;
    open my $in, '<', $name or croak "$name: $!";
    while (my $line = <$in>) {
        chomp $line;
        my ($kind, @field) = split /\t/, $line;
        if ($kind eq 'T') { $self->read_transaction(@field) }
        elsif ($kind eq 'E') { push @{ $self->{errors} }, $field[0] }
        elsif ($kind eq 'M' || $kind eq 'U') { $self->read_mark($kind, @field) }
    }
    return;
}

sub read_transaction {
    my ($self, $writer, $seq, $sent, $took, @keys) = @_;
    $self->{slowest} = $took if $took > $self->{slowest};
    return unless $self->{committed}{"$writer.$seq"};
    croak "transaction $writer.$seq is in the journal, but no COMMIT was sent" if $sent eq 'never';
    $self->{commits}++;
    for my $key (@keys) {
        $self->{last_commit}{$key} = $sent if $sent > ($self->{last_commit}{$key} // 0);
    }
    return;
}

sub read_mark {
    my ($self, $kind, $target, $key, $marker, $when, $ghost) = @_;
    $self->{keys}{$key} = 1;
    $self->{markers}{$target}{$marker} = $kind eq 'M' ? $when : undef;
    $self->{ghosts}{$target}{$key} = $marker if $ghost && $kind eq 'M';
    return;
}

sub commits { return $_[0]{commits} }
sub slowest { return $_[0]{slowest} }
sub errors { my ($self) = @_; return @{ $self->{errors} } }
sub touched { my ($self) = @_; return scalar keys %{ $self->{last_commit} } }
sub ghosts { my ($self, $target) = @_; return scalar keys %{ $self->{ghosts}{$target} // {} } }

# Keys that still hold what was there before a commit that touched them.
sub lost {
    my ($self, $name) = @_;
    my @keys = sort keys %{ $self->{last_commit} };
    my %now = $self->values_of($name, @keys);
    my @lost;
    for my $key (@keys) {
        next unless defined $now{$key};
        my $when = $self->{markers}{$name}{ $now{$key} } // next;
        next if $when >= $self->{last_commit}{$key};
        push @lost, sprintf '%s = %s, set %.3f s before the COMMIT', $key, $now{$key}, $self->{last_commit}{$key} - $when;
    }
    return @lost;
}

# Keys that were published though nothing that touched them committed. Only where the target neither lost its data nor was flushed.
sub surplus {
    my ($self, $name) = @_;
    my $ghosts = $self->{ghosts}{$name} // {};
    my @keys = grep { !$self->{last_commit}{$_} } sort keys %$ghosts;
    my %now = $self->values_of($name, @keys);
    return grep { !defined $now{$_} } @keys;
}

sub values_of {
    my ($self, $name, @keys) = @_;
    my $prefix = $self->{load}{prefixes}{$name} // '';
    my $client = $self->{load}{targets}{$name}->client;
    my %value;
    while (my @some = splice @keys, 0, 500) {
        @value{@some} = @{ $client->command('MGET', map { "$prefix$_" } @some) };
    }
    return %value;
}

# The usual verdict: nothing lost, nothing failed, and the load was one. surplus => 1: nothing surplus either
sub judge {
    my ($self, $name, %option) = @_;
    my @lost = $self->lost($name);
    Test::More::is(scalar @lost, 0, "$name: none of $self->{commits} commits on " . $self->touched . ' keys is unpublished')
      or Test::More::diag(join "\n", grep { defined } @lost[ 0 .. 9 ]);
    Test::More::is(join("\n", grep { defined } @{ $self->{errors} }[ 0 .. 4 ]), '', "$name: no write failed");
    Test::More::cmp_ok($self->{commits}, '>=', $option{commits} // 100, "$name: there was a load");
    return unless $option{surplus};
    my @surplus = $self->surplus($name);
    Test::More::is(scalar @surplus, 0, "$name: none of " . $self->ghosts($name) . ' keys of rolled-back work was published')
      or Test::More::diag(join "\n", grep { defined } @surplus[ 0 .. 9 ]);
    Test::More::cmp_ok($self->ghosts($name), '>', 10, "$name: there was rolled-back work");
    return;
}

1;
