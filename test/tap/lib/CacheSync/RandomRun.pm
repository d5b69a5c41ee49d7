# A random walk over the fill protocol against an oracle: a small database with a lagging standby lives in this process, the
# cache is a real server. In each step one logical client does its next piece of work, so every order of reads, commits,
# publications, fills and faults comes up. What a read returns is compared with what was confirmed before it was sent.
#
#   my $run = CacheSync::RandomRun->new($node, seed => 7, arm => 'protocol');
#   $run->step for 1 .. 20_000;
#   $run->{seen}      counters by what happened; stale_hits and stale_fills must stay 0
#
# arm: protocol; naive (read then SET, DEL on commit); unfenced (standby reads filled as if from the primary).
package CacheSync::RandomRun;
use strict;
use warnings;
use List::Util qw(max min);

my ($keys, $groups, $readers) = (12, 3, 8);

sub new {
    my ($class, $node, %option) = @_;
    srand $option{seed};
    my $self = bless {
        node => $node,
        arm => $option{arm},
        seen => { map { $_ => 0 } qw(hits stale_hits fills stale_fills absences labelled lost fenced unarmed late restarts) },
        # Versions that a transaction may have written, that are visible on the primary, replayed by the standby, confirmed.
        written => {}, visible => {}, replayed => {}, confirmed => {},
        transactions => [], running => {}, log => [], outbox => [],
        xid => 100, lsn => 5000, replay => 0, epoch => 1, late => [], incarnations => 0,
        readers => [ map { { standby => $_ % 2 } } 1 .. $readers ],
    }, $class;
    $self->connect;
    $self->rearm(1);
    return $self;
}

# Every reader has a connection; the publisher opens one for each epoch.
sub connect {
    my ($self) = @_;
    $_->{client} = $self->{node}->server->client for @{ $self->{readers} };
    $self->{publisher} = $self->{node}->server->client;
    $self->{late} = [];
    return;
}

sub step {
    my ($self) = @_;
    my $dice = rand;
    return $self->read_on($self->{readers}[ rand @{ $self->{readers} } ]) if $dice < 0.84;
    return $self->begin if $dice < 0.87;
    return $self->become_visible if $dice < 0.91;
    return $self->replay_some if $dice < 0.94;
    return $self->publish if $dice < 0.98;
    return $self->fault;
}

# The database ------------------------------------------------------------------------------------

# A transaction writes its commit record: replay may see it from now on, the primary not yet.
sub begin {
    my ($self) = @_;
    my %taken = map { $_ => 1 } map { keys %{ $_->{writes} } } values %{ $self->{running} };
    my @free = grep { !$taken{$_} } (map { "k$_" } 1 .. $keys), (map { "g$_" } 1 .. $groups);
    my %writes;
    for (1 .. 1 + rand 3) {
        my $name = $free[ rand @free ] // next;
        $writes{$name} //= ++$self->{written}{$name};
    }
    return unless %writes;
    my $transaction = { xid => $self->{xid}++, lsn => $self->{lsn} += 1 + int rand 50, writes => \%writes };
    $self->{running}{ $transaction->{xid} } = $transaction;
    push @{ $self->{log} }, $transaction;
    return;
}

# Transactions become visible in any order.
sub become_visible {
    my ($self) = @_;
    my @running = sort keys %{ $self->{running} };
    return unless @running;
    my $transaction = delete $self->{running}{ $running[ rand @running ] };
    $self->raise($self->{visible}, $transaction->{writes});
    push @{ $self->{outbox} }, $transaction;
    push @{ $self->{transactions} }, $transaction;
    return;
}

sub replay_some {
    my ($self) = @_;
    for (1 .. rand 8) {
        my $transaction = shift @{ $self->{log} } // return;
        $self->raise($self->{replayed}, $transaction->{writes});
        $self->{replay} = $transaction->{lsn};
    }
    return;
}

sub raise {
    my ($self, $versions, $writes) = @_;
    $versions->{$_} = max($versions->{$_} // 0, $writes->{$_}) for keys %$writes;
    return;
}

sub group_of { my ($key) = @_; return 'g' . (1 + substr($key, 1) % $groups) }

# What a read of the key gives: the versions of its row and of the row that its group shares; every fifth is an absence.
sub row {
    my ($versions, $key) = @_;
    my ($own, $shared) = map { $versions->{$_} // 0 } $key, group_of($key);
    return $own % 5 == 4 ? '' : "$own $shared";
}

sub snapshot {
    my ($self) = @_;
    my @running = sort { $a <=> $b } keys %{ $self->{running} };
    return join ':', $running[0] // $self->{xid}, $self->{xid}, join ',', @running;
}

# The publisher -----------------------------------------------------------------------------------

sub publish {
    my ($self) = @_;
    my @batch = @{ $self->{outbox} };
    return $self->rearm(0) unless @batch;
    my %visible = %{ $self->{visible} };
    my $done = $self->snapshot;
    my @commands = $self->commands(\%visible, map { keys %{ $_->{writes} } } @batch);
    # A connection may die with the batch on its way: it arrives later, or never, and the batch goes out again.
    if (rand() < 0.15) {
        push @{ $self->{late} }, [ $self->{publisher}, @commands ];
        $self->new_epoch;
        return;
    }
    my @replies = $self->{publisher}->pipeline(@commands);
    if (my ($error) = grep { CacheSync::RespClient::is_error($_) } @replies) {
        die "the publisher got: $error" unless $error =~ /^UNARMED /;
        return $self->rearm(0);
    }
    $self->{outbox} = [];
    $self->raise($self->{confirmed}, $_->{writes}) for @batch;
    $self->rearm(0, $done) if $self->{arm} ne 'naive' && rand() < 0.5;
    return;
}

sub commands {
    my ($self, $visible, @names) = @_;
    my %names = map { $_ => 1 } @names;
    my @changed = sort grep { /^k/ } keys %names;
    my @shared = sort grep { /^g/ } keys %names;
    if ($self->{arm} eq 'naive') {
        for my $group (@shared) { push @changed, grep { group_of($_) eq $group } map { "k$_" } 1 .. $keys }
        return [ 'DEL', @changed ];
    }
    my @head = ('shop', $self->{epoch}, $self->{lsn});
    my @put = grep { row($visible, $_) ne '' && rand() < 0.15 } @changed;
    my %put = map { $_ => 1 } @put;
    my @rest = grep { !$put{$_} } @changed;
    my @commands;
    push @commands, [ 'FCALL', 'cs_tag', 0, @head, @shared ] if @shared;
    push @commands, [ 'FCALL', 'cs_inval', scalar @rest, @rest, @head, rand() < 0.2 ? 60_000 : 0, rand() < 0.5 ? 60_000 : 0 ] if @rest;
    push @commands, [ 'FCALL', 'cs_put', 1, $_, @head, row($visible, $_), int rand 50, 60_000, int rand 20, 0, 0, group_of($_) ] for @put;
    return @commands;
}

sub rearm {
    my ($self, $flush, $done) = @_;
    return if $self->{arm} eq 'naive';
    # Later than all that is confirmed; a node that forgot everything starts from here.
    my $reply = $self->{publisher}->command('FCALL', 'cs_arm', 0, 'shop', $self->{epoch}, CacheSync::Protocol::new_id(),
        $self->{lsn}, '', 0, $done // '', $flush);
    $self->{incarnations}++ if $reply->[0] eq 'NEW';
    return;
}

sub new_epoch {
    my ($self) = @_;
    $self->{epoch}++;
    $self->{publisher} = $self->{node}->server->client;
    return $self->rearm(0);
}

# Faults ------------------------------------------------------------------------------------------

sub fault {
    my ($self) = @_;
    my $server = $self->{node}->server;
    my $dice = rand;
    if ($dice < 0.50) { return $server->command(rand() < 0.5 ? 'DEL' : 'UNLINK', 'k' . (1 + int rand $keys)) }
    if ($dice < 0.85) { return $self->late_batch }
    return if $self->{arm} eq 'naive';
    if ($dice < 0.90) { $self->{saved} = 1; return $server->command('SAVE') }
    if ($dice < 0.94) { $server->command('FUNCTION', 'FLUSH') if rand() < 0.5; return $self->{node}->load }
    if ($dice < 0.96) { return $server->command('FLUSHALL') }
    if ($dice < 0.98) { return $self->rearm(1) }
    return $self->restart;
}

sub late_batch {
    my ($self) = @_;
    my $late = shift @{ $self->{late} } // return;
    my ($client, @commands) = @$late;
    for my $reply ($client->pipeline(@commands)) {
        $self->{seen}{late}++;
        next if $self->{arm} eq 'naive' || (CacheSync::RespClient::is_error($reply) && $reply =~ /^(ESTALE|UNARMED) /);
        $self->{seen}{late_accepted}++;
    }
    return;
}

# Comes back with the image of some time ago, library included.
sub restart {
    my ($self) = @_;
    return unless $self->{saved};
    my $server = $self->{node}->server;
    $server->kill9;
    $server->start;
    $self->{seen}{restarts}++;
    $_->{work} = undef for grep { rand() < 0.3 } @{ $self->{readers} };
    return $self->connect;
}

# The readers -------------------------------------------------------------------------------------

# work: what the reader does next, and what it holds so far
sub read_on {
    my ($self, $reader) = @_;
    my $work = $reader->{work} // { next => 'ask', key => 'k' . (1 + int rand $keys) };
    $reader->{work} = undef;
    my $next = $work->{next};
    return $self->$next($reader, $work);
}

sub ask {
    my ($self, $reader, $work) = @_;
    return $self->ask_plain($reader, $work) if $self->{arm} eq 'naive';
    my @known = @{ $self->{transactions} };
    my $own = @known && rand() < 0.1 ? $known[ -1 - rand min(20, scalar @known) ] : undef;
    my $stale = rand() < 0.3 ? 5000 : 0;
    my $got = CacheSync::Protocol::decoded($reader->{client}->reply('FCALL', 'cs_get', 1, $work->{key}, 'shop',
        rand() < 0.05 ? 1 : 3000, $stale, CacheSync::Protocol::nonce(), $own ? $own->{xid} : '', 1));
    if ($got->{state} eq 'error') {
        die "cs_get: $got->{error}" unless $got->{error} =~ /Function not found/;
        return $self->{node}->load;
    }
    $self->check_answer($work->{key}, $got, $stale, $own);
    return if $got->{token} eq '';
    @$work{qw(token need)} = @$got{qw(token need)};
    $work->{next} = $reader->{standby} ? 'read_position' : 'read_primary';
    $reader->{work} = $work;
    return;
}

sub check_answer {
    my ($self, $key, $got, $stale, $own) = @_;
    my ($state, $seen) = ($got->{state}, $self->{seen});
    if ($state eq 'hit' || $state eq 'H') {
        $seen->{hits}++;
        $seen->{stale_hits}++ unless $self->current($key, $got->{value}, $self->{confirmed});
        $seen->{own_missed}++ if $own && !$self->current($key, $got->{value}, $own->{writes});
    } elsif ($state eq 'N') {
        $seen->{absences}++;
        my $oldest = max($self->{confirmed}{$key} // 0, $own ? $own->{writes}{$key} // 0 : 0);
        $seen->{stale_hits}++ unless grep { $_ % 5 == 4 } $oldest .. ($self->{written}{$key} // 0);
    } elsif ($state eq 'S') {
        $seen->{labelled}++;
        die 'a stale value that nobody asked for' unless $stale && $got->{ms} <= $stale;
    } else {
        $seen->{$state}++;
    }
    return;
}

# Has the value everything of the versions that it must have?
sub current {
    my ($self, $key, $value, $versions) = @_;
    my ($own, $shared) = split ' ', $value;
    return $own >= ($versions->{$key} // 0) && $shared >= ($versions->{ group_of($key) } // 0);
}

# Each statement of a reader is a step of its own: everything may happen in between.
sub read_position {
    my ($self, $reader, $work) = @_;
    @$work{qw(next fence)} = ('read_standby', "R$self->{replay}");
    $reader->{work} = $work;
    return;
}

sub read_standby {
    my ($self, $reader, $work) = @_;
    $work->{fence} = 'P' if $self->{arm} eq 'unfenced';
    @$work{qw(next value)} = ('fill', row($self->{replayed}, $work->{key}));
    $reader->{work} = $work;
    return;
}

sub read_primary {
    my ($self, $reader, $work) = @_;
    @$work{qw(next value fence)} = ('fill', row($self->{visible}, $work->{key}), 'P');
    $reader->{work} = $work;
    return;
}

sub fill {
    my ($self, $reader, $work) = @_;
    my ($key, $value, $seen) = (@$work{qw(key value)}, $self->{seen});
    if ($self->{arm} eq 'naive') { $reader->{client}->command('SET', $key, $value); $seen->{fills}++; return }
    return $reader->{client}->reply('FCALL', 'cs_drop', 1, $key, 'shop', $work->{token}) if rand() < 0.03;
    my $reply = $reader->{client}->reply('FCALL', 'cs_fill', 1, $key, 'shop', $work->{token}, $value, int rand 50,
        rand() < 0.1 ? 2 : 60_000, int rand 20, $work->{fence}, $value eq '' ? 1 : 0, group_of($key));
    return if CacheSync::RespClient::is_error($reply);
    my $reason = $reply->[1];
    if ($reason eq 'OK') {
        $seen->{fills}++;
        $seen->{stale_fills}++ unless $value eq '' || $self->current($key, $value, $self->{confirmed});
    } elsif ($reason eq 'FENCE') {
        $seen->{fenced}++;
        $work->{next} = 'read_primary';
        $reader->{work} = $work;
    } else {
        $seen->{ lc $reason }++;
    }
    return;
}

sub ask_plain {
    my ($self, $reader, $work) = @_;
    my $value = $reader->{client}->command('GET', $work->{key});
    if (defined $value) {
        my $state = $value eq '' ? 'N' : 'hit';
        return $self->check_answer($work->{key}, { state => $state, value => $value }, 0, undef);
    }
    $work->{next} = $reader->{standby} ? 'read_standby' : 'read_primary';
    $reader->{work} = $work;
    return;
}

1;
