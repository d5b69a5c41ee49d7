# Writers, each a process with its own sessions, that change rows at random and leave a marker in the targets under the
# key of each row before they change it. What they did is in their logs, which CacheSync::Oracle judges.
#
#   my $load = CacheSync::Load->start($node, targets => { main => $redis }, writers => 4, seed => $seed);
#   ... break something ...
#   $load->wait_for_commits(500); $load->stop;
package CacheSync::Load;
use strict;
use warnings;
use Carp qw(croak);
use POSIX ();
use Time::HiRes qw(usleep clock_gettime CLOCK_MONOTONIC);
use PostgreSQL::Test::Utils;
use CacheSync::RespClient;
use CacheSync::Sql;

my $loads = 0;
my %alive;

# The table, its rule, and the journal by which a transaction is known to have committed.
sub prepare {
    my ($class, $node, $database) = @_;
    $node->safe_psql($database // 'postgres', <<'SQL');
CREATE TABLE item (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0, padding text);
CREATE TABLE journal (writer int, seq int);
SELECT cache_sync.register_table('item', 'item:{id}');
SQL
    return;
}

# targets: name -> CacheSync::Redis; prefixes: name -> prefix; writers; seed; keys: how many rows are fought for;
# prepared => 1: some transactions are prepared first; pause: microseconds between transactions; first: number of the
# first writer, for a second load of the same test
sub start {
    my ($class, $node, %option) = @_;
    my $self = bless {
        node => $node, targets => {}, prefixes => {}, writers => 3, keys => 300, seed => 1, pause => 2000, first => 0,
        dir => PostgreSQL::Test::Utils::tempdir('load' . ++$loads), database => 'postgres', %option, pids => [] }, $class;
    $self->spawn($_) for $self->{first} .. $self->{first} + $self->{writers} - 1;
    return $self;
}

sub spawn {
    my ($self, $writer) = @_;
    my $pid = fork // croak "fork: $!";
    if ($pid == 0) {
        # Nothing of the test's own may run at the end of a child.
        my $fine = eval { $self->write_until_stopped($writer); 1 };
        print STDERR "writer $writer: $@" unless $fine;
        POSIX::_exit($fine ? 0 : 1);
    }
    push @{ $self->{pids} }, $pid;
    $alive{$pid} = $$;
    return;
}

# Ends the writers, each after its transaction; dies if one of them failed.
sub stop {
    my ($self) = @_;
    open my $file, '>', "$self->{dir}/stop" or croak "stop: $!";
    my $failed = 0;
    for my $pid (splice @{ $self->{pids} }) {
        waitpid $pid, 0;
        delete $alive{$pid};
        $failed++ if $?;
    }
    croak "$failed writers failed" if $failed;
    return $self;
}

# Waits until so many transactions more were confirmed.
sub wait_for_commits {
    my ($self, $more, $seconds) = @_;
    my $goal = $self->commits + $more;
    my $deadline = now() + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
    while ($self->commits < $goal) {
        croak "fewer than $more transactions were committed in time" if now() > $deadline;
        usleep(20_000);
    }
    return;
}

sub commits {
    my ($self) = @_;
    my $sum = 0;
    $sum += -s $_ for glob "$self->{dir}/count.*";
    return $sum;
}

sub logs { my ($self) = @_; return glob "$self->{dir}/log.*" }

sub now { return clock_gettime(CLOCK_MONOTONIC) }

# ---- in the writer's process ----

sub write_until_stopped {
    my ($self, $writer) = @_;
    srand($self->{seed} + $writer);
    open $self->{log}, '>', "$self->{dir}/log.$writer" or croak "log: $!";
    open $self->{count}, '>', "$self->{dir}/count.$writer" or croak "count: $!";
    $self->{log}->autoflush(1);
    $self->{count}->autoflush(1);
    @$self{qw(writer seq)} = ($writer, 0);
    until (-e "$self->{dir}/stop") {
        my $fresh = !$self->{sql};
        $self->{sql} //= eval { CacheSync::Sql->new($self->{node}, database => $self->{database}) };
        if (!$self->{sql}) {
            usleep(20_000);
            next;
        }
        if ($fresh && $self->{prepared} && !eval { $self->roll_back_leftovers; 1 }) {
            $self->{sql}->close;
            $self->{sql} = undef;
            next;
        }
        $self->transaction;
        usleep(rand 2 * $self->{pause}) if $self->{pause};
    }
    return;
}

# What this writer prepared before its session was lost holds locks that the other writers wait for.
sub roll_back_leftovers {
    my ($self) = @_;
    my $names = "SELECT gid FROM pg_prepared_xacts WHERE gid LIKE 'w$self->{writer}\\_%'";
    $self->{sql}->run("ROLLBACK PREPARED '$_->[0]'") for $self->{sql}->rows($names);
    return;
}

# E error: a statement failed though the server was there. T: what a transaction touched; judged by the journal.
sub transaction {
    my ($self) = @_;
    my $seq = ++$self->{seq};
    my $way = rand;
    $self->{touched} = {};
    $self->{doomed} = $way < 0.15;
    $self->{commit_sent} = 'never';
    my $began = now();
    my $fine = eval { $self->steps($seq); $self->finish($way, $seq); 1 };
    my $took = now() - $began;
    print { $self->{log} } join("\t", 'T', $self->{writer}, $seq, $self->{commit_sent}, $took, sort keys %{ $self->{touched} }), "\n";
    return if $fine;
    my $problem = $@ =~ s/\s+/ /gr;
    # The server going away or coming back is what the tests are about; the next transaction has a new session.
    print { $self->{log} } "E\t$problem\n" unless $problem =~ /connection to PostgreSQL lost|terminating connection|^FATAL/;
    $self->{sql}->close;
    $self->{sql} = undef;
    return;
}

sub steps {
    my ($self, $seq) = @_;
    my $sql = $self->{sql};
    $sql->run('BEGIN');
    $sql->run("INSERT INTO journal VALUES ($self->{writer}, $seq)");
    # In order, so that writers do not deadlock.
    my %chosen = map { (1 + int rand $self->{keys}) => 1 } 1 .. 1 + int rand 4;
    my $step = 0;
    for my $id (sort { $a <=> $b } keys %chosen) {
        $step++;
        $self->abandoned_savepoint($seq, $step) if rand() < 0.15;
        if ($self->{doomed}) {
            $self->change($self->ghost($seq, $step));
        } elsif (rand() < 0.15) {
            $sql->run('SAVEPOINT kept');
            $self->change($id);
            $sql->run('RELEASE kept');
        } else {
            $self->change($id);
        }
    }
    return;
}

# What only this touched must stay in the cache.
sub abandoned_savepoint {
    my ($self, $seq, $step) = @_;
    my %before = %{ $self->{touched} };
    $self->{sql}->run('SAVEPOINT given_up');
    $self->change($self->ghost($seq, 4 + $step));
    $self->{sql}->run('ROLLBACK TO given_up; RELEASE given_up');
    $self->{touched} = \%before;
    return;
}

# The id of a row that no transaction ever commits.
sub ghost { my ($self, $seq, $step) = @_; return 1_000_000_000 + $self->{writer} * 10_000_000 + $seq * 10 + $step }

sub change {
    my ($self, $id) = @_;
    $self->mark("item:$id", $id >= 1_000_000_000);
    my $statement =
      rand() < 0.2
      ? "DELETE FROM item WHERE id = $id"
      : "INSERT INTO item VALUES ($id) ON CONFLICT (id) DO UPDATE SET n = item.n + 1";
    my $tag = $self->{sql}->run($statement);
    $self->{touched}{"item:$id"} = 1 if $tag =~ / 1$/;
    return;
}

sub finish {
    my ($self, $way, $seq) = @_;
    my $sql = $self->{sql};
    if ($self->{doomed}) {
        $sql->run('ROLLBACK');
        return;
    }
    if ($self->{prepared} && $way > 0.9) {
        my $name = "w$self->{writer}_$seq";
        $sql->run("PREPARE TRANSACTION '$name'");
        if ($way > 0.97) {
            $sql->run("ROLLBACK PREPARED '$name'");
            return;
        }
        $self->{commit_sent} = now();
        $sql->run("COMMIT PREPARED '$name'");
    } else {
        $self->{commit_sent} = now();
        $sql->run('COMMIT');
    }
    print { $self->{count} } '.';
    return;
}

# M: this marker was there at that time. U: it may appear at any time, because no reply came.
sub mark {
    my ($self, $key, $ghost) = @_;
    my $marker = sprintf '%d.%d.%d', $self->{writer}, $self->{seq}, ++$self->{marks};
    for my $name (sort keys %{ $self->{targets} }) {
        my $client = $self->target($name) or next;
        my $full = ($self->{prefixes}{$name} // '') . $key;
        my $set = eval { $client->command('SET', $full, $marker); 1 };
        print { $self->{log} } join("\t", $set ? 'M' : 'U', $name, $key, $marker, now(), $ghost ? 1 : 0), "\n";
        next if $set;
        $client->close;
        $self->{client}{$name} = undef;
    }
    return;
}

# A target that is away is left alone for a while: it would slow down the load.
sub target {
    my ($self, $name) = @_;
    return $self->{client}{$name} if $self->{client}{$name};
    return if now() < ($self->{again}{$name} // 0);
    $self->{client}{$name} = eval { $self->{targets}{$name}->client(timeout => 0.3) };
    $self->{again}{$name} = now() + 0.2;
    return $self->{client}{$name};
}

END {
    my $code = $?;
    for my $pid (grep { $alive{$_} == $$ } keys %alive) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    $? = $code;
}

1;
