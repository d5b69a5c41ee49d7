# Registered views as a test sees them: gates that hold a refresh where the test wants it, and the oracle: once nothing is
# under way, each view holds the rows that its query yields, and each entry of the cache that counts as fresh what the view holds.
#
#   my $views = CacheSync::Views->new($node, redis => $redis);
#   $views->make_gate; $views->shut('a'); ... $views->at_gate('mv'); ... $views->open('a');
#   $views->proves('after a crash');
package CacheSync::Views;
use strict;
use warnings;
use Carp qw(croak);
use Time::HiRes qw(time usleep);
use Test::More ();
use CacheSync::CacheFill;
use CacheSync::ChangeLog;
use CacheSync::Sql;
our @ISA = ('CacheSync::CacheFill');

my $names_of_view = 120;

# redis: a CacheSync::Redis with the fill protocol, whose source is the database's name; database: postgres
sub new {
    my ($class, $node, %option) = @_;
    return bless { database => 'postgres', %option, node => $node, valid => 0, ever => {} }, $class;
}

# ---- a session of its own, made again when it was lost ----

sub session { my ($self) = @_; return CacheSync::Sql->new($self->{node}, database => $self->{database}, options => $CacheSync::ChangeLog::settings) }

sub with_session {
    my ($self, $method, $text) = @_;
    $self->{sql} //= CacheSync::Sql->new($self->{node}, database => $self->{database});
    my @answer = eval { $self->{sql}->$method($text) };
    return wantarray ? @answer : $answer[0] unless $@;
    my $problem = $@;
    $self->{sql} = undef if $problem =~ /connection to PostgreSQL lost|^FATAL|^no answer/;
    croak $problem;
}
sub run { my ($self, $text) = @_; return scalar $self->with_session('run', $text) }
sub rows { my ($self, $text) = @_; return $self->with_session('rows', $text) }
sub value { my ($self, $text) = @_; return scalar $self->with_session('value', $text) }
sub close { my ($self) = @_; my $sql = delete $self->{sql}; $sql->close if $sql; return }

# Runs one statement after the other, each in its own transaction.
sub do_each { my ($self, @statements) = @_; $self->run($_) for @statements; return }

# ---- gates: pass(name) in a view's query holds its refresh while the gate is shut ----

sub make_gate {
    my ($self) = @_;
    $self->run(q{
        CREATE TABLE public.gate (name text);
        CREATE FUNCTION public.pass(gate text) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
        BEGIN
            WHILE EXISTS (SELECT FROM public.gate g WHERE g.name = gate) LOOP
                PERFORM pg_catalog.pg_sleep(0.01);
            END LOOP;
            RETURN gate;
        END $$});
    return;
}
sub shut { my ($self, @gates) = @_; $self->run("INSERT INTO public.gate VALUES ('$_')") for @gates; return }
sub open { my ($self, @gates) = @_; $self->run("DELETE FROM public.gate WHERE name = '$_'") for @gates; return }

# The pid of the view's refresh once it has its snapshot and waits at a gate.
sub at_gate {
    my ($self, $view) = @_;
    my $pid;
    $self->wait("$view waits at a gate", sub {
        $pid = $self->value("SELECT a.pid FROM pg_stat_activity a JOIN cache_sync._refresh_jobs() j USING (pid)
                             WHERE j.view = '$view'::regclass AND j.phase = 'refreshing' AND a.wait_event = 'PgSleep'");
        defined $pid });
    return $pid;
}

# The pid of the view's refresh once it is in the phase, and waits for a lock if wanted.
sub in_phase {
    my ($self, $view, $phase, $waits) = @_;
    my $pid;
    my $and = $waits ? q{ AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = j.pid AND NOT l.granted)} : '';
    $self->wait("$view is $phase", sub {
        $pid = $self->value("SELECT j.pid FROM cache_sync._refresh_jobs() j WHERE j.view = '$view'::regclass AND j.phase = '$phase' AND j.pid <> 0$and");
        defined $pid });
    return $pid;
}

sub wait { my ($self, @what) = @_; return $self->{node}->poll_until(@what) }

# ---- runs ----

# The columns of a run, joined, once it is over.
sub ended {
    my ($self, $run, $columns) = @_;
    $columns = defined $columns ? ", $columns" : '';
    $self->wait("run $run is over", sub { $self->value("SELECT state NOT IN ('queued', 'running') FROM cache_sync.refresh_history WHERE id = $run") eq 't' });
    return $self->value("SELECT concat_ws(' ', state$columns) FROM cache_sync.refresh_history WHERE id = $run");
}
sub ask { my ($self, $view) = @_; return $self->value("SELECT cache_sync.refresh('$view')") }
sub last_run { my ($self) = @_; return $self->value('SELECT coalesce(max(id), 0) FROM cache_sync.refresh_run') }

# Runs since the given one, in the order of their starts, as 'view state'; of this view only if given.
sub since {
    my ($self, $run, $view) = @_;
    my $only = defined $view ? "AND view = '$view'::regclass" : '';
    return join ', ', map { $_->[0] } $self->rows("SELECT concat_ws(' ', view, state) FROM cache_sync.refresh_history WHERE id > $run $only ORDER BY started_at, id");
}

# ---- the oracle ----

# What keeps it from being quiet, or nothing. except: views that do not count
sub unrest {
    my ($self, @except) = @_;
    my $but = join ', ', map { "'$_'::regclass::oid" } @except;
    $but = "ARRAY[$but]::oid[]";
    return scalar $self->value(qq{
        SELECT string_agg(what, ', ') FROM (
            SELECT j.view::regclass || ' ' || j.phase FROM cache_sync._refresh_jobs() j WHERE j.view <> ALL ($but)
            UNION ALL
            SELECT v.view || CASE WHEN s.failures > 0 THEN ' failed' ELSE ' dirty' END
            FROM cache_sync.view v LEFT JOIN cache_sync.view_state s ON s.view = v.view
            WHERE (s.view IS NULL OR s.dirty_since IS NOT NULL) AND v.view <> ALL ($but)
            UNION ALL
            SELECT r.view::regclass || ' ' || r.state FROM cache_sync.refresh_run r WHERE r.state IN ('queued', 'running') AND r.view <> ALL ($but)
        ) u (what)});
}

# Waits until nothing is left to be done: what a run that ends after drain() queued must be looked for again.
sub quiet {
    my ($self, %option) = @_;
    my $seconds = $option{seconds} // 90;
    my @except = @{ $option{except} // [] };
    my $unrest = 'no answer';
    my $fine = eval {
        $self->wait('quiet', sub {
            my $before = $self->last_run;
            $unrest = $self->unrest(@except);
            return 0 if defined $unrest || $self->value(q{SELECT cache_sync.drain('10 seconds')}) ne 't';
            $unrest = $self->unrest(@except);
            return !defined $unrest && $before == $self->last_run;
        }, $seconds);
    };
    return 1 if $fine;
    Test::More::diag('still: ' . ($unrest // 'new runs') . "\n" . ($self->{node}->psql('postgres', 'SELECT * FROM cache_sync.workers'))[1]);
    croak "not quiet within $seconds s";
}

# The views that are not what their query yields: rows that are surplus or missing, as 'view: rows'.
sub wrong {
    my ($self) = @_;
    my $sql = $self->session;
    $sql->run('BEGIN ISOLATION LEVEL REPEATABLE READ');
    my @wrong;
    for my $row ($sql->rows('SELECT view, rtrim(pg_get_viewdef(view), \';\') FROM cache_sync.view ORDER BY view::text')) {
        my ($view, $query) = @$row;
        my $differ = $sql->value(qq{
            WITH stored AS (SELECT (m.*)::text AS image, count(*) AS times FROM $view m GROUP BY 1),
                 wanted AS (SELECT (q.*)::text AS image, count(*) AS times FROM ($query) q GROUP BY 1)
            SELECT string_agg(CASE WHEN stored.times IS NULL THEN 'missing ' ELSE 'surplus ' END || image, ', ')
            FROM stored FULL JOIN wanted USING (image, times) WHERE stored.times IS NULL OR wanted.times IS NULL});
        push @wrong, "$view: " . substr $differ, 0, 200 if defined $differ;
    }
    $sql->run('COMMIT');
    $sql->close;
    return @wrong;
}

# Waits until it is quiet and judges all views and all that is cached, which it caches anew for the next time.
sub proves {
    my ($self, $text, %option) = @_;
    $self->quiet(%option);
    my $good = Test::More::is(join("\n", $self->wrong), '', "$text: each view holds what its query yields");
    my @other = $self->rows(q{SELECT view, state FROM cache_sync.views WHERE state NOT IN ('clean', 'unwatched') ORDER BY view::text});
    $good = Test::More::is(join(', ', map { "@$_" } @other), '', "$text: and says so") && $good unless $option{except};
    return $good unless $self->{redis};
    $good = Test::More::is(join(', ', $self->stale), '', "$text: no entry of the cache is stale") && $good;
    $self->fill;
    return $good;
}

# ---- the cache of an application that reads the views; see CacheSync::CacheFill ----

# The registered views that have a key or tags, as rules.
sub rules {
    my ($self, $sql) = @_;
    return map {
        my ($view, $key, $tags) = @$_;
        +{ number => $view, table => { name => $view }, key => $key, tags => [ grep { length } split /\n/, $tags ] }
    } $sql->rows(q{SELECT r.relation, r.key, array_to_string(r.tags, chr(10)) FROM cache_sync.rule r JOIN cache_sync.view v ON v.view = r.relation
                   JOIN pg_class c ON c.oid = v.view WHERE c.relispopulated ORDER BY 1});
}

# A template over columns whose values need no escape, as SQL.
sub as_sql { my ($template) = @_; return join ' || ', map { /^\{(.*)\}$/ ? qq{m."$1"::text} : "'$_'" } grep { length } split /(\{[^}]*\})/, $template }

# kind -> view -> name -> the rows of that name, as one text
sub contents {
    my ($self, $sql, @wanted) = @_;
    my $own = !$sql;
    $sql //= $self->session;
    my %wanted = map { $_ => 1 } @wanted;
    my %contents;
    $sql->run('BEGIN ISOLATION LEVEL REPEATABLE READ');
    for my $rule (grep { !@wanted || $wanted{ $_->{number} } } $self->rules($sql)) {
        my $view = $rule->{number};
        for my $template ([ 'key', $rule->{key} // () ], map { [ 'tag', $_ ] } @{ $rule->{tags} }) {
            my ($kind, $text) = @$template;
            next unless defined $text;
            my $name = as_sql($text);
            $contents{$kind}{$view}{ $_->[0] } = $_->[1]
              for $sql->rows("SELECT $name, md5(string_agg((m.*)::text, chr(10) ORDER BY (m.*)::text COLLATE \"C\")) FROM $view m WHERE $name IS NOT NULL GROUP BY 1");
        }
    }
    $sql->run('COMMIT');
    $sql->close if $own;
    return \%contents;
}

# Entries for the names that are there now, or were once: an application caches absences too.
sub universe {
    my ($self, $contents) = @_;
    my @entries;
    for my $kind (sort keys %$contents) {
        for my $view (keys %{ $contents->{$kind} }) { $self->{ever}{$kind}{$view}{$_} = 1 for keys %{ $contents->{$kind}{$view} } }
    }
    for my $kind (sort keys %{ $self->{ever} }) {
        for my $view (sort keys %{ $self->{ever}{$kind} }) {
            my $rule = { number => $view, table => { name => $view } };
            for my $name (CacheSync::CacheFill::first_of($names_of_view, keys %{ $self->{ever}{$kind}{$view} })) {
                push @entries, $kind eq 'key' ? { kind => 'key', name => $name, rule => $rule, entry => $name, tags => '' }
                  : { kind => 'tag', name => $name, rule => $rule, entry => "entry of $view $name", tags => $name };
            }
        }
    }
    return \@entries;
}

# Caches entries, by the protocol; and, once, under names that nobody invalidates.
sub fill {
    my ($self) = @_;
    my $contents = $self->contents;
    $self->{entries} = $self->universe($contents);
    $self->fill_all($self->{entries});
    return if $self->{naive};
    my %value = map { ("naive:$_->{entry}" => [ $_, value_of($_, $contents) ]) } @{ $self->{entries} };
    $self->{naive} = \%value;
    my $client = $self->{redis}->client;
    $client->pipeline(map { [ 'SET', $_, $value{$_}[1] ] } sort keys %value) if %value;
    return;
}
sub value_of { my ($entry, $contents) = @_; return $contents->{ $entry->{kind} }{ $entry->{rule}{number} }{ $entry->{name} } // 'nothing' }

# Names of the entries that count as fresh and are not what the views hold.
sub stale {
    my ($self) = @_;
    return unless $self->{entries};
    my $sql = $self->session;
    my %known = map { $_->{number} => 1 } $self->rules($sql);
    # Who unregistered a view is on his own.
    my @entries = grep { $known{ $_->{rule}{number} } } @{ $self->{entries} };
    my ($valid, $stale) = $self->compare(\@entries, $self->contents($sql));
    $sql->close;
    $self->{valid} += $valid;
    return map { $_->{entry}{entry} } @$stale;
}

# How many of the entries that nobody invalidates are stale.
sub naive_stale {
    my ($self) = @_;
    my $contents = $self->contents;
    my $client = $self->{redis}->client;
    return scalar grep { $client->command('GET', $_) ne value_of($self->{naive}{$_}[0], $contents) } sort keys %{ $self->{naive} };
}

# How many fresh entries were judged.
sub valid { my ($self) = @_; return $self->{valid} }

1;
