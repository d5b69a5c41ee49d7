# A session that runs random transactions: isolation levels, nested savepoints, PL/pgSQL with exception blocks, prepared
# transactions, other settings, other roles, replication's mode. Each transaction also leaves numbers in the table "beat",
# some of them in savepoints that are rolled back: whoever hears of a number must be able to see its row.
#
#   CacheSync::RandomTransactions->new($node, $schema, writer => 1, round => 2, seed => 3, log => $handle)->run(20);
package CacheSync::RandomTransactions;
use strict;
use warnings;
use Time::HiRes qw(time usleep);
use CacheSync::RandomStatements;
use CacheSync::Sql;

# Errors that random writes may run into, and a test of faults.
my $expected = qr/^(23...|40...|55P03|21000|27000|0A000|57014|42710)$/;

# gentle: nothing that a crash may take back after it was visible; log: where unexpected errors go; count: one byte a transaction
sub new {
    my ($class, $node, $schema, %option) = @_;
    my $self = bless { node => $node, statements => CacheSync::RandomStatements->new($schema), %option, done => 0, beats => 0 }, $class;
    srand(($option{seed} * 1000 + $option{round}) * 100 + $option{writer});
    return $self;
}

sub pick { return $_[ rand @_ ] }

sub run {
    my ($self, $transactions) = @_;
    for (1 .. $transactions) {
        $self->{done}++;
        my $fine = eval { $self->connect; $self->transaction; 1 };
        $self->failed($@) unless $fine;
        print { $self->{count} } '.' if $self->{count};
    }
    $self->{sql}->close if $self->{sql};
    print { $self->{log} } map { "did\t$_\t$self->{did}{$_}\n" } sort keys %{ $self->{did} };
    return;
}

sub connect {
    my ($self) = @_;
    if ($self->{sql} && rand() < 0.1) { $self->{sql}->close; $self->{sql} = undef }
    return if $self->{sql};
    my $deadline = time + 60;
    $self->{plain_user} = rand() < 0.3;
    my @user = $self->{plain_user} ? (user => 'writer') : ();
    until ($self->{sql}) {
        $self->{sql} = eval { CacheSync::Sql->new($self->{node}, name => 'random', @user) };
        next if $self->{sql};
        die "no connection: $@" if time > $deadline;
        usleep(20_000);
    }
    $self->{sql}->run(q{SET deadlock_timeout = '50ms'}) unless $self->{plain_user};
    $self->{sql}->run(q{SET lock_timeout = '200ms'; SET statement_timeout = '20s'});
    $self->random_setting for 1 .. 4;
    return;
}

# After an error the transaction is over; a lost connection is a matter of the test's faults.
sub failed {
    my ($self, $error) = @_;
    my $sql = $self->{sql};
    my $state = $sql ? $sql->state // '' : '';
    my $lost = $error =~ /connection to PostgreSQL lost|^FATAL|terminating connection/;
    if (!$lost && $state !~ $expected) {
        my $line = "$state $error in: $self->{last}" =~ s/\s+/ /gr;
        print { $self->{log} } "error\t$line\n";
    }
    return if !$lost && eval { $sql->run('ROLLBACK'); 1 };
    $sql->close if $sql;
    $self->{sql} = undef;
    return;
}

# ---- settings ----

my @settings = (
    [ DateStyle => 'German', 'SQL, DMY', 'Postgres, MDY', 'ISO, YMD' ], [ TimeZone => 'Asia/Kathmandu', 'America/St_Johns', 'UTC' ],
    [ IntervalStyle => 'sql_standard', 'iso_8601', 'postgres_verbose' ], [ extra_float_digits => 0, -15, 3 ], [ bytea_output => 'escape', 'hex' ],
    [ search_path => 'pg_catalog', '', '"S 2", public', 'nowhere' ], [ quote_all_identifiers => 'on', 'off' ],
    [ default_transaction_isolation => 'read committed', 'repeatable read', 'serializable' ], [ plan_cache_mode => 'force_generic_plan', 'auto' ],
    [ enable_seqscan => 'off', 'on' ], [ work_mem => '64kB', '4MB' ], [ jit => 'off', 'on' ], [ row_security => 'off', 'on' ],
    [ xmloption => 'document', 'content' ], [ client_min_messages => 'error', 'debug1' ], [ lc_numeric => 'C', 'C.UTF-8' ],
    [ default_transaction_deferrable => 'on', 'off' ], [ array_nulls => 'off', 'on' ], [ check_function_bodies => 'off', 'on' ],
    [ synchronous_commit => 'off', 'on', 'local' ]);
my @rights_needed = ([ session_replication_role => 'replica', 'origin', 'local' ], [ commit_delay => 30000, 0 ], [ lc_messages => 'C', 'C.UTF-8' ]);

sub random_setting {
    my ($self) = @_;
    return $self->{sql}->run('RESET ALL; SET lock_timeout = 200') if rand() < 0.1;
    my ($name, @values) = @{ pick(@settings, $self->{plain_user} ? () : (@rights_needed) x 3) };
    my $value = pick(@values);
    # What is visible before it is on disk may be gone after a crash, though it was published.
    return if $self->{gentle} && $name eq 'synchronous_commit' && $value eq 'off';
    $value = $value =~ /^("|$)/ ? ($value eq '' ? "''" : $value) : "'$value'" if $name eq 'search_path';
    $value = "'$value'" unless $name eq 'search_path';
    return $self->{sql}->run("SET $name = $value");
}

# ---- transactions ----

sub transaction {
    my ($self) = @_;
    $self->random_setting if rand() < 0.2;
    my $way = rand;
    return $self->send($self->{statements}->any) if $way < 0.25;
    return $self->send($self->block_of_code) if $way < 0.35;
    return $self->send(join '; ', $self->beat, map { $self->{statements}->any_sql } 1 .. 2) if $way < 0.4;
    $self->send('BEGIN' . pick('', '', '', ' ISOLATION LEVEL REPEATABLE READ', ' ISOLATION LEVEL SERIALIZABLE'));
    $self->send('SET LOCAL ROLE writer') if !$self->{plain_user} && rand() < 0.15;
    $self->send('SET CONSTRAINTS ALL DEFERRED') if rand() < 0.1;
    $self->send($self->beat) if rand() < 0.7;
    $self->steps(0);
    $self->send('RESET ROLE') if rand() < 0.1;
    return $self->end;
}

sub end {
    my ($self) = @_;
    my $way = rand;
    return $self->send('ROLLBACK') if $way < 0.15;
    return $self->send('COMMIT' . pick('', ' AND CHAIN; ROLLBACK')) if $way < 0.88;
    my $name = "p$self->{writer}_$self->{round}_$self->{done}";
    $self->send("PREPARE TRANSACTION '$name'");
    # Some are left for the end of the round.
    return if $way > 0.985;
    return $self->send(($way < 0.95 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$name'");
}

sub steps {
    my ($self, $depth) = @_;
    for (1 .. 1 + int rand($depth ? 2 : 4)) {
        if ($depth < 4 && rand() < 0.25) { $self->savepoint($depth + 1) }
        else { $self->send(rand() < 0.1 ? $self->block_of_code : $self->{statements}->any) }
    }
    return;
}

# An error inside is rolled back with it, and the transaction goes on.
sub savepoint {
    my ($self, $depth) = @_;
    $self->send("SAVEPOINT s$depth");
    my $fine = eval {
        $self->send($self->beat) if rand() < 0.5;
        $self->steps($depth);
        1;
    };
    if (!$fine) {
        die $@ if ($self->{sql}->state // '') !~ $expected;
        $self->send("ROLLBACK TO s$depth");
        return;
    }
    my $way = rand;
    return $self->send("RELEASE s$depth") if $way < 0.5;
    return $self->send("ROLLBACK TO s$depth" . pick('', "; RELEASE s$depth")) if $way < 0.85;
    return;
}

# PL/pgSQL with exception blocks, nested now and then, in which what came before the error is undone.
sub block_of_code {
    my ($self) = @_;
    return "DO \$block\$ BEGIN " . $self->code(0) . " END \$block\$";
}

sub code {
    my ($self, $depth) = @_;
    my $text = '';
    for (1 .. 1 + int rand 2) {
        my $perform = $self->plain_statement;
        my $way = rand;
        if ($way < 0.5 || $depth > 2) { $text .= "$perform; " }
        elsif ($way < 0.9) {
            my $raise = rand() < 0.6 ? q{RAISE EXCEPTION 'undo'; } : '';
            my $after = rand() < 0.3 ? $self->plain_statement . '; ' : 'NULL; ';
            $text .= "BEGIN " . $self->beat . "; $perform; " . $self->code($depth + 1) . "$raise EXCEPTION WHEN OTHERS THEN $after END; ";
        } else {
            $text .= "FOR i IN 1..3 LOOP $perform; END LOOP; ";
        }
    }
    return $text;
}

# What PL/pgSQL takes as a statement: nothing that returns rows.
sub plain_statement {
    my ($self) = @_;
    while (1) {
        my $text = $self->{statements}->any_sql;
        return $text unless $text =~ /RETURNING \*$|SELECT count/;
    }
}

sub beat {
    my ($self) = @_;
    my $number = $self->{writer} * 1_000_000_000 + $self->{round} * 100_000 + ++$self->{beats};
    return "INSERT INTO public.beat VALUES ($number)";
}

# What succeeds is counted by its kind.
sub send {
    my ($self, $statement) = @_;
    my $sql = $self->{sql};
    $self->{last} = ref $statement ? $statement->{copy} : $statement;
    my $tag;
    if (ref $statement) {
        # The data may follow at once: if COPY is refused, the server skips it.
        $sql->send($statement->{copy});
        $sql->write('d' . pack('N', 4 + length $statement->{data}) . $statement->{data} . 'c' . pack('N', 4));
        $tag = $sql->finish;
    } else {
        $tag = $sql->run($statement);
    }
    $self->{did}{$1}++ if $self->{last} =~ /^((?:COMMIT|ROLLBACK) PREPARED|PREPARE TRANSACTION|ROLLBACK TO|\w+)/;
    $self->{did}{'ON CONFLICT'}++ if $self->{last} =~ /ON CONFLICT .* DO UPDATE/;
    return $tag;
}

1;
