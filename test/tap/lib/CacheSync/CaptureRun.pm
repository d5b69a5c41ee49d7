# Random transactions on random tables, judged from outside. In each round
#   1. the cache "plain" is filled: a SET for keys, an entry of the fill protocol for tags; so is "filled", by the protocol
#   2. sessions run random transactions, readers fill on, a listener looks up what it hears of; something may break
#   3. once all is published: the change log of the server says what was touched, and the tables, compared with before, what
#      must have been. No such entry may be there still; every other one must be.
#
#   my $run = CacheSync::CaptureRun->new(seed => 7);
#   $run->round for 1 .. 20;
#   $run->finish; print join "\n", $run->findings;     # each begins with its kind: lost, surplus, stale, early, phantom, error
package CacheSync::CaptureRun;
use strict;
use warnings;
use Carp qw(croak);
use JSON::PP ();
use List::Util qw(shuffle sum0);
use POSIX ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Utils;
use Test::More ();
use CacheSync::CacheFill;
use CacheSync::ChangeLog;
use CacheSync::Cluster qw(wait_for);
use CacheSync::RandomSchema;
use CacheSync::RandomTransactions;
use CacheSync::Redis;
use CacheSync::Sql;

my %alive;

# fsync stays on: without it nothing can hold a commit up between its record and its visibility (commit_delay).
my $conf = <<'CONF';
fsync = on
max_prepared_transactions = 30
max_wal_senders = 2
commit_siblings = 0
cache_sync.max_backoff = 300ms
cache_sync.ring_size = 256kB
log_min_error_statement = panic
log_min_messages = warning
log_statement = none
CONF

# seed; name; writers; transactions: of each writer in a round; faults => 0: nothing breaks
sub new {
    my ($class, %option) = @_;
    my $self = bless { writers => 5, transactions => 26, faults => 1, name => 'capture', %option, number => 0, findings => [], seen => {}, ever => new_touched() }, $class;
    $self->{dir} = PostgreSQL::Test::Utils::tempdir("run_$self->{name}");
    srand $self->{seed};
    $self->{schema} = CacheSync::RandomSchema->new;
    my %redis = (plain => CacheSync::Redis->new(flavour => 'redis'), filled => CacheSync::Redis->new(flavour => 'valkey'));
    my $node = $self->{node} = CacheSync::Cluster->new($self->{name}, redis => \%redis, streaming => 1, conf => $conf,
        options => { connect_timeout => '1s', command_timeout => '2s' });
    $self->{redis} = \%redis;
    $self->{library} = $self->library;
    $node->safe_psql('postgres', $self->{schema}->sql);
    $node->wait_for_target($_, 'connected') for sort keys %redis;
    $self->{log} = CacheSync::ChangeLog->new($node);
    $self->{fill}{$_} = CacheSync::CacheFill->new($node, $self->{schema}, $redis{$_}) for sort keys %redis;
    $self->{stream_position} = '-';
    $self->{listener} = $self->in_child('listener', sub { $self->listen(@_) });
    wait_for('the listener', sub { -e "$self->{dir}/listens" });
    return $self;
}

# The file of the library that the server runs.
sub library {
    my ($self) = @_;
    my $maps = PostgreSQL::Test::Utils::slurp_file('/proc/' . $self->{node}->publisher_pid . '/maps');
    return $maps =~ m{ (/\S+/cache_sync\.so)$}m ? $1 : 'none';
}

sub findings { my ($self) = @_; return @{ $self->{findings} } }
sub seen { my ($self, $what) = @_; return $self->{seen}{$what} // 0 }
sub count { my ($self, $what, $more) = @_; $self->{seen}{$what} += $more // 1; return }

sub found {
    my ($self, $kind, $text) = @_;
    $self->{kinds}{$kind}++;
    push @{ $self->{findings} }, "$kind: round $self->{number}: $text" if $self->{kinds}{$kind} <= 8;
    return;
}

# ---- a round ----

sub round {
    my ($self) = @_;
    $self->{number}++;
    srand $self->{seed} * 7919 + $self->{number};
    $self->{fault} = $self->{faults} && rand() < 0.4 ? $self->choose_fault : 'nothing';
    $self->{crashed} = $self->{fault} =~ /^kill/;
    # Whoever was away, or is new, publishes again what the queue still holds.
    $self->{repeats} = $self->{fault} =~ /^(kill|end the publisher|pause plain)/;
    my $before = $self->{fill}{plain}->contents;
    my %entries = map { $_ => $self->{fill}{$_}->universe($before) } sort keys %{ $self->{fill} };
    $self->{fill}{plain}->set_all($entries{plain});
    $self->{fill}{filled}->fill_all($entries{filled});
    $self->work($entries{filled});
    $self->settle;
    my $touched = $self->touched;
    my $after = $self->{fill}{plain}->contents;
    $self->judge_plain($entries{plain}, $touched, $before, $after);
    $self->judge_filled($entries{filled}, $after);
    $self->judge_stream($touched);
    merge_touched($self->{ever}, $touched);
    $self->read_child_logs;
    $self->count($self->{fault});
    return;
}

# Writers and readers beside each other; the fault comes when half of the work is done.
sub work {
    my ($self, $entries) = @_;
    my ($round, $dir) = ($self->{number}, $self->{dir});
    my @writers = map {
        my $writer = $_;
        $self->in_child("writer$writer", sub {
            my ($log) = @_;
            open my $count, '>', "$dir/count.$writer" or die "count: $!";
            $count->autoflush(1);
            CacheSync::RandomTransactions->new($self->{node}, $self->{schema}, writer => $writer, round => $round, seed => $self->{seed},
                log => $log, count => $count, gentle => $self->{crashed})->run($self->{transactions});
        });
    } 1 .. $self->{writers};
    my @readers = map {
        my $reader = $_;
        $self->in_child("reader$reader", sub {
            srand $self->{seed} + 31 * $round + $reader;
            $self->{fill}{filled}->fill_until(sub { -e "$dir/stop.$round" }, $entries);
        });
    } 1 .. 2;
    if ($self->{fault} ne 'nothing') {
        my $goal = $self->{writers} * $self->{transactions} * (0.2 + rand 0.5);
        wait_for('half of the work', sub { sum0(map { -s "$dir/count.$_" // 0 } 1 .. $self->{writers}) >= $goal });
        $self->break;
    }
    $self->reap($_) for @writers;
    open my $stop, '>', "$dir/stop.$round" or croak "stop: $!";
    $self->reap($_) for @readers;
    unlink map { "$dir/count.$_" } 1 .. $self->{writers};
    return;
}

my @faults = (
    'pause plain', 'pause filled', 'end the publisher', 'end sessions', 'restart filled', 'restart plain', 'hang both', 'kill publisher',
    'kill postmaster', 'kill session');
sub choose_fault { return $faults[ rand @faults ] }

sub break {
    my ($self) = @_;
    my ($node, $redis, $fault) = @$self{qw(node redis fault)};
    if ($fault =~ /^pause (.*)/) { $node->safe_psql('postgres', "SELECT cache_sync.pause('$1')") }
    elsif ($fault eq 'end the publisher') { $node->safe_psql('postgres', 'SELECT pg_terminate_backend(' . $node->publisher_pid . ')') }
    elsif ($fault eq 'end sessions') { $node->safe_psql('postgres', q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'random' AND random() < 0.5}) }
    elsif ($fault =~ /^restart (.*)/) { $redis->{$1}->kill9; $redis->{$1}->start }
    elsif ($fault eq 'hang both') { $_->suspend for values %$redis; usleep(300_000); $_->resume for values %$redis }
    elsif ($fault eq 'kill publisher') { $node->kill9($node->publisher_pid) }
    elsif ($fault eq 'kill postmaster') {
        $node->kill9;
        $node->poll_until('a new postmaster', sub { $node->start(fail_ok => 1) or $node->stop('fast', fail_ok => 1), 0 });
    } else {
        my $pid = $node->safe_psql('postgres', q{SELECT pid FROM pg_stat_activity WHERE application_name = 'random' ORDER BY random() LIMIT 1});
        $node->kill9($pid) if $pid;
    }
    return;
}

# Ends what is prepared, most of the time, lets every target follow, and waits until all is published.
sub settle {
    my ($self) = @_;
    my $node = $self->{node};
    $node->poll_until('the server answers', q{SELECT true}, 60);
    for my $name (split /\n/, $node->safe_psql('postgres', 'SELECT gid FROM pg_prepared_xacts ORDER BY gid')) {
        $node->safe_psql('postgres', (rand() < 0.7 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$name'") if rand() < 0.9;
    }
    $node->safe_psql('postgres', 'SELECT cache_sync.resume()') if $self->{fault} =~ /^pause/;
    $node->drain;
    return;
}

# ---- what was touched, by the log ----

sub new_touched { return { key => {}, tag => {}, truncated => {}, flushed => 0 } }

sub merge_touched {
    my ($all, $more) = @_;
    %{ $all->{$_} } = (%{ $all->{$_} }, %{ $more->{$_} }) for qw(key tag truncated);
    $all->{flushed} ||= $more->{flushed};
    return;
}

sub touched {
    my ($self) = @_;
    my $touched = new_touched();
    for my $change ($self->{log}->read) {
        $self->count("changes $change->{kind}");
        if ($change->{table} eq 'public.beat') {
            $touched->{key}{"beat:$change->{new}{n}"} = 1;
            next;
        }
        my $table = $self->{schema}->by_name($change->{table}) or next;
        for my $rule ($self->{schema}->rules_of($table)) {
            if ($change->{kind} eq 'T') { truncated($rule, $touched) }
            else { $self->touch($rule, $change, $touched) }
        }
    }
    return $touched;
}

sub truncated {
    my ($rule, $touched) = @_;
    $touched->{truncated}{ $rule->{number} } = 1 if $rule->{key};
    for my $tag (@{ $rule->{tags} }) {
        if ($tag->{has_columns}) { $touched->{flushed} = 1 }
        else { $touched->{tag}{ $tag->{parts}[0] . ($tag->{parts}[1] // '') } = 1 }
    }
    return;
}

sub differs {
    my ($change, @columns) = @_;
    my ($old, $new) = @$change{qw(old new)};
    return !!grep { (defined $old->{$_} ? "=$old->{$_}" : '') ne (defined $new->{$_} ? "=$new->{$_}" : '') } @columns;
}

sub touch {
    my ($self, $rule, $change, $touched) = @_;
    my @rows = grep { defined } @$change{qw(old new)};
    my $satisfying = $rule->{condition} ? grep { $rule->{condition}{holds}->($_) } @rows : @rows;
    return if !$satisfying;
    # Without a list every column counts, those that only a child has as well.
    my @watched = $rule->{columns} ? @{ $rule->{watched} } : keys %{ $change->{new} // {} };
    return if $change->{kind} eq 'U' && $satisfying == 2 && !differs($change, @watched);
    for my $row (@rows) {
        my $key = $rule->{key} ? $self->{schema}->render($rule->{key}, $row, 0) : undef;
        $touched->{key}{$key} = 1 if defined $key;
        for my $template (@{ $rule->{tags} }) {
            my $tag = $self->{schema}->render($template, $row, 1);
            $touched->{tag}{$tag} = 1 if defined $tag;
        }
    }
    return;
}

# ---- verdicts ----

# May the entry be gone?
sub may_be_gone {
    my ($self, $entry, $touched) = @_;
    for my $what ($touched, $self->{repeats} ? $self->{ever} : ()) {
        return 1 if $what->{flushed} || $what->{ $entry->{kind} }{ $entry->{name} };
        return 1 if $entry->{kind} eq 'key' && $what->{truncated}{ $entry->{rule}{number} };
    }
    return 0;
}

sub judge_plain {
    my ($self, $entries, $touched, $before, $after) = @_;
    return if $self->{fault} eq 'restart plain';
    my $there = $self->{fill}{plain}->which_are_there($entries);
    for my $n (0 .. $#$entries) {
        my $entry = $entries->[$n];
        my $name = $entry->{name};
        my $rule = $entry->{rule};
        my $hit = $touched->{ $entry->{kind} }{$name} || ($entry->{kind} eq 'key' && $touched->{truncated}{ $rule->{number} }) || $touched->{flushed};
        my $contents = sub { $_[0]{ $entry->{kind} }{ $rule->{number} }{$name} // '' };
        my $changed = $contents->($before) ne $contents->($after);
        $self->count($hit ? 'must go' : 'must stay');
        $self->count('content changed') if $changed;
        my $text = "$entry->{kind} $name of rule $rule->{number} ($rule->{sql}), fault: $self->{fault}";
        $self->found('lost', "committed changes touched it: $text") if $there->[$n] && $hit;
        $self->found('lost', "its rows are others now: $text") if $there->[$n] && $changed;
        $self->found('oracle', "rows differ, but the log says nothing of it: $text") if $changed && !$hit;
        $self->found('surplus', "nothing touched it: $text") if !$there->[$n] && !$self->may_be_gone($entry, $touched);
    }
    return;
}

sub judge_filled {
    my ($self, $entries, $after) = @_;
    my ($valid, $stale) = $self->{fill}{filled}->compare($entries, $after);
    $self->count('valid entries', $valid);
    $self->found('stale', "$_->{entry}{kind} $_->{entry}{name} of rule $_->{entry}{rule}{number} ($_->{entry}{rule}{sql}), fault: $self->{fault}") for @$stale;
    return;
}

# What was published, name by name, against what was touched: also names of which there was no entry. What a walk removes
# is announced too.
sub judge_stream {
    my ($self, $touched) = @_;
    my $published = $self->read_stream;
    return if $self->{fault} eq 'restart plain';
    my @allowed = ($touched, $self->{repeats} ? $self->{ever} : ());
    my %walked = map { %{ $_->{truncated} } } @allowed;
    my @patterns = map { $_->{key}{pattern} } grep { $walked{ $_->{number} } } $self->{schema}->rules;
    my $flushed = grep { $_->{flushed} } @allowed;
    for my $kind (qw(key tag)) {
        my @lost = grep { !$published->{$kind}{$_} } sort keys %{ $touched->{$kind} };
        my @surplus = grep { !$flushed && !any_of($kind, $_, @allowed) } sort keys %{ $published->{$kind} };
        @surplus = grep { !matches($_, @patterns) } @surplus if $kind eq 'key';
        $self->count('names touched', scalar keys %{ $touched->{$kind} });
        $self->found('lost', "$kind $_ was never published, fault: $self->{fault}") for @lost;
        $self->found('surplus', "$kind $_ was published, though nothing committed touched it, fault: $self->{fault}") for @surplus;
    }
    return;
}

sub any_of { my ($kind, $name, @touched) = @_; return !!grep { $_->{$kind}{$name} } @touched }
sub matches { my ($name, @patterns) = @_; return !!grep { $name =~ $_ } @patterns }

sub read_stream {
    my ($self) = @_;
    my %published = (key => {}, tag => {});
    my $client = $self->{redis}{plain}->client;
    my $json = JSON::PP->new->utf8;
    my $from = $self->{fault} eq 'restart plain' ? '-' : $self->{stream_position};
    while (my @entries = @{ $client->command('XRANGE', 'cs:log:postgres', $from, '+', 'COUNT', 500) }) {
        for my $entry (@entries) {
            my %field = @{ $entry->[1] };
            for my $pair ([ key => 'k' ], [ tag => 't' ]) {
                for my $name (@{ $json->decode($field{ $pair->[1] }) }) {
                    utf8::encode($name);
                    $published{ $pair->[0] }{$name} = 1;
                }
            }
        }
        $from = "($entries[-1][0]";
    }
    $self->{stream_position} = $from;
    return \%published;
}

# ---- the listener ----

# Whoever hears that a number's key is invalid must see its row in a snapshot taken then.
sub listen {
    my ($self, $log) = @_;
    my ($sql, $client);
    my $json = JSON::PP->new->utf8;
    until (-e "$self->{dir}/stop") {
        if (!$client) {
            $client = eval { $self->{redis}{plain}->client(timeout => 5)->subscribe('cs:inv:postgres') };
            if ($client) { open my $sign, '>', "$self->{dir}/listens" }
            else { usleep(20_000) }
            next;
        }
        my @message;
        if (!eval { @message = $client->next_message(0.2); 1 }) { $client = undef; next }
        next unless @message;
        my @numbers = map { /^beat:(\d+)$/ ? $1 : () } @{ $json->decode($message[1])->{k} };
        $self->look_for(\$sql, $log, @numbers) if @numbers;
    }
    return;
}

sub look_for {
    my ($self, $sql, $log, @numbers) = @_;
    my $query = 'SELECT n FROM beat WHERE n IN (' . join(', ', @numbers) . ')';
    my $visible = sub { my %row = map { $_->[0] => 1 } $$sql->rows($query); return grep { !$row{$_} } @numbers };
    my (@missing, @later);
    # While the server is down nobody can say what was visible.
    my $answered = eval {
        $$sql //= CacheSync::Sql->new($self->{node}, options => $CacheSync::ChangeLog::settings . ' -c search_path=public');
        @missing = $visible->();
        1;
    };
    if (!$answered) { $$sql = undef; return }
    print {$log} "heard\t" . @numbers . "\n";
    return unless @missing;
    my $deadline = time + 2;
    do { usleep(20_000); @later = eval { $visible->() } } while @later && time < $deadline;
    my %never = map { $_ => 1 } @later;
    print {$log} ($never{$_} ? 'phantom' : 'early') . "\tbeat $_ was published " . ($never{$_} ? 'but never committed' : 'before it was visible') . "\n" for @missing;
    return;
}

# ---- children ----

sub in_child {
    my ($self, $name, $work) = @_;
    my $pid = fork // croak "fork: $!";
    if ($pid == 0) {
        open my $log, '>>', "$self->{dir}/log.$name" or POSIX::_exit(1);
        $log->autoflush(1);
        my $fine = eval { $work->($log); 1 };
        print {$log} "error\t$name: " . ($@ =~ s/\s+/ /gr) . "\n" unless $fine;
        POSIX::_exit($fine ? 0 : 1);
    }
    $alive{$pid} = $$;
    return $pid;
}

sub reap { my ($self, $pid) = @_; waitpid $pid, 0; delete $alive{$pid}; return }

sub read_child_logs {
    my ($self) = @_;
    for my $file (glob "$self->{dir}/log.*") {
        open my $in, '<', $file or croak "$file: $!";
        seek $in, $self->{read}{$file} // 0, 0;
        while (my $line = <$in>) {
            chomp $line;
            my ($kind, $text) = split /\t/, $line, 2;
            if ($kind eq 'heard') { $self->count('heard', $text) }
            elsif ($kind eq 'did') { $self->count("did $1", $2) if $text =~ /^(.*)\t(\d+)$/ }
            else { $self->found($kind, $text) }
        }
        $self->{read}{$file} = tell $in;
    }
    return;
}

sub finish {
    my ($self) = @_;
    open my $stop, '>', "$self->{dir}/stop" or croak "stop: $!";
    $self->reap($self->{listener});
    $self->read_child_logs;
    $self->{node}->stop;
    $_->stop for values %{ $self->{redis} };
    return;
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
