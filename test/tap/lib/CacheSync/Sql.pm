# A connection to PostgreSQL that shows what a test of crashes and waiting must see: whether COMMIT was sent, whether it was
# answered, how long that took. Simple query protocol over the unix socket, trust authentication; core Perl only.
#
#   my $sql = CacheSync::Sql->new($node, database => 'postgres');
#   my @rows = $sql->rows('SELECT 1, 2');            # arrays; dies on an error, whose SQLSTATE is then in $sql->state
#   my $tag = $sql->run('UPDATE ...');               # UPDATE 3
#   $sql->send('SELECT slow()'); ... $sql->ready(0.1) ... $sql->finish;
package CacheSync::Sql;
use strict;
use warnings;
use Carp qw(croak);
use Errno;
use IO::Select;
use IO::Socket::UNIX;
use Time::HiRes qw(time);

# database, user, options (as in PGOPTIONS), timeout: seconds that an answer may take
sub new {
    my ($class, $node, %option) = @_;
    my $path = $node->host . '/.s.PGSQL.' . $node->port;
    my $self = bless { buffer => '', timeout => $option{timeout} // 60, notices => [] }, $class;
    $self->{socket} = IO::Socket::UNIX->new(Peer => $path) or croak "cannot connect to $path: $!";
    binmode $self->{socket};
    my %setting = (
        user => $option{user} // (getpwuid $<)[0],
        database => $option{database} // 'postgres',
        application_name => $option{name} // 'test',
        client_encoding => 'UTF8');
    $setting{options} = $option{options} if defined $option{options};
    my $body = pack('N', 196608) . join('', map { "$_\0$setting{$_}\0" } sort keys %setting) . "\0";
    $self->write(pack('N', 4 + length $body) . $body);
    $self->finish;
    return $self;
}

sub pid { return $_[0]{pid} }
sub state { return $_[0]{state} }
sub notices { my ($self) = @_; return @{ $self->{notices} } }

sub rows { my ($self, $text) = @_; $self->send($text); $self->finish; return @{ $self->{rows} } }
sub value { my ($self, $text) = @_; my ($row) = $self->rows($text); return $row ? $row->[0] : undef }
sub run { my ($self, $text) = @_; $self->send($text); return $self->finish }

# Sends statements without waiting for the answer.
sub send {
    my ($self, $text) = @_;
    @$self{qw(rows tag error state notices)} = ([], '', undef, '', []);
    $self->write('Q' . pack('N', 5 + length $text) . "$text\0");
    return $self;
}

# Whether an answer comes within these seconds; it is taken by finish.
sub ready {
    my ($self, $seconds) = @_;
    return 1 if length $self->{buffer};
    return scalar IO::Select->new($self->{socket})->can_read($seconds);
}

# Reads up to the end of the answer: the last command's tag. Dies on an error, with the session still usable.
sub finish {
    my ($self) = @_;
    my $deadline = time + $self->{timeout};
    my $error;
    while (1) {
        my ($type, $body) = $self->message($deadline);
        if ($type eq 'D') { push @{ $self->{rows} }, row($body) }
        elsif ($type eq 'T') { $self->{rows} = [] }
        elsif ($type eq 'C') { ($self->{tag}) = unpack 'Z*', $body }
        elsif ($type eq 'K') { $self->{pid} = unpack 'N', $body }
        elsif ($type eq 'N') { push @{ $self->{notices} }, fields($body)->{M} }
        elsif ($type eq 'R') { croak 'only trust authentication is known here' if unpack 'N', $body }
        elsif ($type eq 'E') {
            my $field = fields($body);
            $error //= "$field->{S}: $field->{M}";
            $self->{state} = $field->{C};
            croak $error if $field->{S} eq 'FATAL' || $field->{S} eq 'PANIC';
        } elsif ($type eq 'Z') {
            croak $error if defined $error;
            return $self->{tag};
        }
    }
}

sub close { my ($self) = @_; CORE::close(delete $self->{socket}) if $self->{socket}; return }

sub row {
    my ($body) = @_;
    my $count = unpack 'n', substr $body, 0, 2, '';
    my @values;
    for (1 .. $count) {
        my $length = unpack 'l>', substr $body, 0, 4, '';
        push @values, $length < 0 ? undef : substr $body, 0, $length, '';
    }
    return \@values;
}

sub fields { my ($body) = @_; return { map { /^(.)(.*)$/s ? ($1, $2) : () } split /\0/, $body } }

sub message {
    my ($self, $deadline) = @_;
    while (1) {
        if (length $self->{buffer} >= 5) {
            my ($type, $length) = unpack 'aN', $self->{buffer};
            if (length $self->{buffer} > $length) {
                my $message = substr $self->{buffer}, 0, $length + 1, '';
                return ($type, substr $message, 5);
            }
        }
        $self->fill($deadline);
    }
}

sub fill {
    my ($self, $deadline) = @_;
    my $select = IO::Select->new($self->{socket});
    until ($select->can_read($deadline - time)) { croak "no answer within $self->{timeout} s" if time >= $deadline }
    my $got;
    do { $got = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer} } while !defined $got && $!{EINTR};
    croak 'connection to PostgreSQL lost' unless $got;
    return;
}

sub write {
    my ($self, $bytes) = @_;
    croak 'connection to PostgreSQL lost' unless $self->{socket};
    local $SIG{PIPE} = 'IGNORE';
    my $offset = 0;
    while ($offset < length $bytes) {
        my $sent = syswrite $self->{socket}, $bytes, length($bytes) - $offset, $offset;
        croak 'connection to PostgreSQL lost' unless defined $sent || $!{EINTR};
        $offset += $sent // 0;
    }
    return;
}

1;
