# A small client of the Redis protocol (RESP2, and RESP3 after HELLO 3): binary safe, nested replies, pipelines,
# subscriptions. Core Perl only.
#
#   my $client = CacheSync::RespClient->new(port => $port);
#   $client->command('SET', 'k', "v\0\r\n");            # dies on an error reply
#   my $reply = $client->reply('GET', 'k', 'x');        # an error reply is a CacheSync::RespClient::Error
#   my @replies = $client->pipeline([ 'GET', 'a' ], [ 'GET', 'b' ]);
#   $client->subscribe('channel'); my ($channel, $payload) = $client->next_message(5);
#
# nil is undef, an array is an array reference, a RESP3 map is a hash reference.
package CacheSync::RespClient::Error;
use strict;
use warnings;
use overload '""' => sub { $_[0]->message }, fallback => 1;

sub new { my ($class, $message) = @_; return bless { message => $message }, $class }
sub message { return $_[0]{message} }

package CacheSync::RespClient;
use strict;
use warnings;
use Carp qw(croak);
use Errno;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use Scalar::Util qw(blessed);
use Time::HiRes qw(time);

# host, port or path (a unix socket); timeout: seconds that a reply may take
sub new {
    my ($class, %option) = @_;
    my $self = bless { timeout => $option{timeout} // 30, buffer => '', messages => [] }, $class;
    my $where = $option{path} // ($option{host} // '127.0.0.1') . ":$option{port}";
    $self->{socket} =
      defined $option{path}
      ? IO::Socket::UNIX->new(Peer => $option{path})
      : IO::Socket::INET->new(PeerAddr => $where, Timeout => $self->{timeout});
    croak "cannot connect to $where: $@$!" unless $self->{socket};
    $self->{socket}->autoflush(1);
    binmode $self->{socket};
    return $self;
}

# Sends one command and returns its reply; dies if that is an error.
sub command {
    my ($self, @words) = @_;
    my $reply = $self->reply(@words);
    croak "$words[0]: $reply" if is_error($reply);
    return $reply;
}

# Sends one command and returns its reply, be it an error.
sub reply {
    my ($self, @words) = @_;
    $self->send_command(@words);
    return $self->read_reply;
}

# Sends all commands, then reads all replies; errors stand at their place.
sub pipeline {
    my ($self, @commands) = @_;
    $self->write(join '', map { encoded(@$_) } @commands);
    return map { $self->read_reply } @commands;
}

sub is_error { my ($reply) = @_; return blessed($reply) && $reply->isa('CacheSync::RespClient::Error') }

sub subscribe { my ($self, @channels) = @_; return $self->start_listening('SUBSCRIBE', @channels) }
sub psubscribe { my ($self, @patterns) = @_; return $self->start_listening('PSUBSCRIBE', @patterns) }

# Waits for a published message: (channel, payload), or nothing when none came in time.
sub next_message {
    my ($self, $seconds) = @_;
    my $deadline = time + ($seconds // $self->{timeout});
    return @{ shift @{ $self->{messages} } } if @{ $self->{messages} };
    while ($self->fill($deadline)) {
        $self->take_pushes;
        return @{ shift @{ $self->{messages} } } if @{ $self->{messages} };
    }
    return;
}

# Every message that came until nothing comes for the given time.
sub messages {
    my ($self, $quiet_seconds) = @_;
    my @all;
    while (my @message = $self->next_message($quiet_seconds // 0.2)) { push @all, \@message }
    return @all;
}

sub close { my ($self) = @_; CORE::close(delete $self->{socket}) if $self->{socket}; return }

# Sends without waiting for the reply: for commands that block, with read_reply later.
sub send_command { my ($self, @words) = @_; return $self->write(encoded(@words)) }

# Reads the next reply; messages that were pushed in between wait for next_message.
sub read_reply {
    my ($self) = @_;
    my $deadline = time + $self->{timeout};
    while (1) {
        my ($found, $reply, $pushed) = $self->parse;
        if (!$found) {
            $self->fill($deadline) or croak "no reply within $self->{timeout} s";
        } elsif ($pushed) {
            $self->keep($reply);
        } else {
            return $reply;
        }
    }
}

sub start_listening {
    my ($self, @words) = @_;
    $self->send_command(@words);
    my $deadline = time + $self->{timeout};
    for (2 .. @words) {
        my ($found) = $self->parse;
        while (!$found) {
            $self->fill($deadline) or croak "$words[0] was not confirmed";
            ($found) = $self->parse;
        }
    }
    $self->{listening} = 1;
    return $self;
}

sub take_pushes {
    my ($self) = @_;
    while (1) {
        my ($found, $reply, $pushed) = $self->parse;
        last unless $found;
        $self->keep($reply);
    }
    return;
}

# message: [message, channel, payload]; pmessage: [pmessage, pattern, channel, payload]; anything else as it came
sub keep {
    my ($self, $push) = @_;
    my $kind = $push->[0];
    if ($kind eq 'message' || $kind eq 'pmessage') {
        push @{ $self->{messages} }, [ @$push[ -2, -1 ] ];
    } elsif ($kind !~ /subscribe$/) {
        push @{ $self->{messages} }, $push;
    }
    return;
}

sub encoded {
    my (@words) = @_;
    my $out = '*' . @words . "\r\n";
    for my $word (@words) {
        my $bytes = "$word";
        utf8::encode($bytes) if utf8::is_utf8($bytes);
        $out .= '$' . length($bytes) . "\r\n$bytes\r\n";
    }
    return $out;
}

sub write {
    my ($self, $bytes) = @_;
    local $SIG{PIPE} = 'IGNORE';
    my $offset = 0;
    while ($offset < length $bytes) {
        my $sent = syswrite $self->{socket}, $bytes, length($bytes) - $offset, $offset;
        croak "write: $!" unless defined $sent || $!{EINTR};
        $offset += $sent // 0;
    }
    return;
}

# Reads what is there into the buffer; false when nothing came before the deadline.
sub fill {
    my ($self, $deadline) = @_;
    my $select = IO::Select->new($self->{socket});
    # A child that stops or goes on sends a signal, which cuts select short.
    while (1) {
        my $left = $deadline - time;
        return 0 if $left <= 0;
        last if $select->can_read($left);
    }
    my $got;
    do { $got = sysread $self->{socket}, $self->{buffer}, 65536, length $self->{buffer} } while !defined $got && $!{EINTR};
    croak 'connection lost: ' . ($! || 'no reason known') unless defined $got;
    croak 'connection closed by the server' if $got == 0;
    return 1;
}

# Takes one whole reply off the buffer: (1, reply, whether it is a push), or () while it is incomplete.
sub parse {
    my ($self) = @_;
    my $position = 0;
    my ($reply, $type) = parse_at(\$self->{buffer}, \$position);
    return unless defined $type;
    substr($self->{buffer}, 0, $position) = '';
    my $pushed = $type eq '>'
      || ($self->{listening} && ref $reply eq 'ARRAY' && ($reply->[0] // '') =~ /^p?(message|(un)?subscribe)$/);
    return (1, $reply, $pushed);
}

# (value, type) of the reply at the position, which moves behind it; () while it is incomplete.
sub parse_at {
    my ($buffer, $position) = @_;
    my $end = index $$buffer, "\r\n", $$position;
    return if $end < 0;
    my $type = substr $$buffer, $$position, 1;
    my $head = substr $$buffer, $$position + 1, $end - $$position - 1;
    $$position = $end + 2;
    return ($head, $type) if $type =~ /[+:,(]/;
    return (CacheSync::RespClient::Error->new($head), $type) if $type eq '-';
    return (undef, $type) if $type eq '_' || $head eq '-1';
    return ($head eq 't' ? 1 : 0, $type) if $type eq '#';
    if ($type =~ /[\$=!]/) {
        return if length($$buffer) < $$position + $head + 2;
        my $text = substr $$buffer, $$position, $head;
        $$position += $head + 2;
        $text = substr $text, 4 if $type eq '=';
        return ($type eq '!' ? CacheSync::RespClient::Error->new($text) : $text, $type);
    }
    croak "not a reply: $type$head" unless $type =~ /[*~>%]/;
    my @items;
    for (1 .. $head * ($type eq '%' ? 2 : 1)) {
        my ($item, $item_type) = parse_at($buffer, $position);
        return unless defined $item_type;
        push @items, $item;
    }
    return ($type eq '%' ? {@items} : \@items, $type);
}

1;
