# The fill protocol as a test sees it: one server with the library, spoken to as a reader and as a publisher.
#
#   my $node = CacheSync::Protocol->new(flavour => 'redis');
#   $node->arm;
#   my $got = $node->get('k');                      # state, value, token, ms, need; a bulk reply has the state "hit"
#   $node->fill('k', $got->{token}, 'value');       # OK, LOST, FENCE or UNARMED
package CacheSync::Protocol;
use strict;
use warnings;
use Carp qw(croak);
use File::Basename qw(dirname);
use File::Spec;
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use CacheSync::Redis;

# flavour; src; conf: lines for the server's configuration
sub new {
    my ($class, %option) = @_;
    my $self = bless {
        server => CacheSync::Redis->new(flavour => $option{flavour}, conf => $option{conf} // []),
        src => $option{src} // 'shop',
        epoch => 1,
        lsn => 1000,
    }, $class;
    $self->load;
    return $self;
}

sub server { return $_[0]{server} }
sub epoch { return $_[0]{epoch} }
sub lsn { return $_[0]{lsn} }

# A file of the library: in the directory $CACHE_SYNC_LIBRARY, beside this module, or in the source tree.
sub beside_library {
    my ($name) = @_;
    my $here = File::Spec->rel2abs(dirname(__FILE__));
    for my $directory (grep { defined } $ENV{CACHE_SYNC_LIBRARY}, $here, "$here/../../../../src/publish") {
        return "$directory/$name" if -r "$directory/$name";
    }
    croak "$name was not found: set CACHE_SYNC_LIBRARY to its directory";
}

sub library { return PostgreSQL::Test::Utils::slurp_file(beside_library('cache_sync.lua')) }

sub load { my ($self) = @_; return $self->{server}->command('FUNCTION', 'LOAD', 'REPLACE', library()) }

# A new id for each proposal, as the protocol demands.
sub new_id { return join '', map { sprintf '%08x', int rand 2**32 } 1 .. 3 }
sub nonce { return sprintf '%06x%06x', int rand 2**24, int rand 2**24 }

# Calls a function with its keys; an error reply is returned, not raised.
sub call {
    my ($self, $name, $keys, @arguments) = @_;
    return $self->{server}->reply($name =~ /^cs_(peek|stat)$/ ? 'FCALL_RO' : 'FCALL', $name, scalar @$keys, @$keys, @arguments);
}

# lease, stale, xid, beta
sub get {
    my ($self, $key, %option) = @_;
    my @more = exists $option{beta} ? ($option{xid} // '', $option{beta}) : exists $option{xid} ? ($option{xid}) : ();
    return decoded($self->call('cs_get', [$key], $self->{src}, $option{lease} // 3000, $option{stale} // 0,
        $option{nonce} // nonce(), @more));
}

sub decoded {
    my ($reply) = @_;
    return { state => 'error', error => "$reply" } if CacheSync::RespClient::is_error($reply);
    return { state => 'hit', value => $reply, token => '', ms => 0, need => '' } unless ref $reply;
    my %got;
    @got{qw(state value token ms need)} = @$reply;
    return \%got;
}

# soft, hard, delta, fence, neg, tags: OK, LOST, FENCE, UNARMED, or the error
sub fill {
    my ($self, $key, $token, $value, %option) = @_;
    my $reply = $self->call('cs_fill', [$key], $self->{src}, $token, $value, $option{soft} // 300_000,
        $option{hard} // 600_000, $option{delta} // 0, $option{fence} // 'P', $option{neg} // 0, $option{tags} // '');
    return ref $reply eq 'ARRAY' ? $reply->[1] : "$reply";
}

# Misses, fills, and says whether that went well.
sub cache {
    my ($self, $key, $value, %option) = @_;
    my $got = $self->get($key);
    return "no token: $got->{state}" if $got->{token} eq '';
    return $self->fill($key, $got->{token}, $value, %option);
}

# epoch, id, lsn, floor, ttl, done, flush
sub arm {
    my ($self, %option) = @_;
    $self->{epoch} = $option{epoch} if ($option{epoch} // 0) > $self->{epoch};
    $self->{lsn} = $option{lsn} if defined $option{lsn} && ($option{flush} || $option{lsn} > $self->{lsn});
    return $self->call('cs_arm', [], $self->{src}, $option{epoch} // $self->{epoch}, $option{id} // new_id(),
        $option{lsn} // $self->{lsn}, $option{floor} // '', $option{ttl} // 0, $option{done} // '', $option{flush} // 0);
}

# Every batch is later than the one before, unless lsn says otherwise. epoch, lsn, tomb, keep
sub inval {
    my ($self, $keys, %option) = @_;
    return $self->call('cs_inval', ref $keys ? $keys : [$keys], $self->publishing(%option), $option{tomb} // 0, $option{keep} // 0);
}

sub tag { my ($self, @tags) = @_; return $self->call('cs_tag', [], $self->publishing, @tags) }

# epoch, lsn, soft, hard, delta, neg, ver, tags: OK, OLD, or the error
sub put {
    my ($self, $key, $value, %option) = @_;
    my $reply = $self->call('cs_put', [$key], $self->publishing(%option), $value, $option{soft} // 300_000,
        $option{hard} // 600_000, $option{delta} // 0, $option{neg} // 0, $option{ver} // 0, $option{tags} // '');
    return ref $reply eq 'ARRAY' ? $reply->[1] : "$reply";
}

sub publishing {
    my ($self, %option) = @_;
    return ($self->{src}, $option{epoch} // $self->{epoch}, $option{lsn} // ++$self->{lsn});
}

sub stat {
    my ($self) = @_;
    my %stat;
    @stat{qw(id epoch n cur floor tags tfloor beat till)} = @{ $self->call('cs_stat', [], $self->{src}) };
    return \%stat;
}

sub peek {
    my ($self, $key) = @_;
    my %peek;
    @peek{qw(valid meta lease tomb length pttl)} = @{ $self->call('cs_peek', [$key], $self->{src}) };
    return \%peek;
}

# Asks again until the reply has the state; the last reply either way.
sub wait_for {
    my ($self, $state, $ask) = @_;
    my $deadline = time + 10;
    my $got = $ask->();
    while ($got->{state} ne $state && time < $deadline) {
        usleep(2000);
        $got = $ask->();
    }
    return $got;
}

1;
