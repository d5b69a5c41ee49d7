# The cache of an application whose tables are those of a CacheSync::RandomSchema. An entry stands for the rows that have a
# key or a tag; its value is what those rows hold.
#
#   my $fill = CacheSync::CacheFill->new($node, $schema, $redis);
#   my $entries = $fill->universe($fill->contents); $fill->fill_all($entries);
#   my ($valid, $stale) = $fill->compare($entries, $fill->contents);
package CacheSync::CacheFill;
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use List::Util qw(shuffle);
use Time::HiRes qw(usleep);
use CacheSync::ChangeLog;
use CacheSync::Sql;

my ($keys_of_rule, $tags_of_template, $slice) = (110, 25, 400);
my $source = 'postgres';

sub new {
    my ($class, $node, $schema, $redis) = @_;
    my $self = bless { node => $node, schema => $schema, redis => $redis }, $class;
    # By table: a rule says something about the rows of its own table and of what is below.
    push @{ $self->{rules}{ $_->{table}{name} } }, $_ for $schema->rules;
    return $self;
}

sub session { my ($self) = @_; return CacheSync::Sql->new($self->{node}, options => $CacheSync::ChangeLog::settings) }

sub rows {
    my ($self, $sql, $table) = @_;
    my @names = map { $_->{name} } @{ $table->{columns} };
    my $columns = join ', ', map { CacheSync::RandomSchema::identifier($_) } @names;
    return map {
        my %row;
        @row{@names} = @$_;
        \%row
    } $sql->rows("SELECT $columns FROM $table->{name}");
}

# kind -> rule's number -> name -> the rows with that name, as one text. wanted: tables, or all that have rules
sub contents {
    my ($self, $sql, @wanted) = @_;
    my $own = !$sql;
    $sql //= $self->session;
    @wanted = sort keys %{ $self->{rules} } unless @wanted;
    my %lines;
    $sql->run('BEGIN ISOLATION LEVEL REPEATABLE READ');
    for my $name (@wanted) {
        for my $row ($self->rows($sql, $self->{schema}->by_name($name))) { $self->add_row(\%lines, $_, $row) for @{ $self->{rules}{$name} } }
    }
    $sql->run('COMMIT');
    $sql->close if $own;
    my %contents;
    for my $kind (keys %lines) {
        for my $rule (keys %{ $lines{$kind} }) {
            my $of = $lines{$kind}{$rule};
            $contents{$kind}{$rule}{$_} = md5_hex(join "\n", sort @{ $of->{$_} }) for keys %$of;
        }
    }
    return \%contents;
}

sub add_row {
    my ($self, $lines, $rule, $row) = @_;
    return if $rule->{condition} && !$rule->{condition}{holds}->($row);
    my $line = join "\0", map { defined $row->{$_} ? "=$row->{$_}" : '' } @{ $rule->{watched} };
    my $key = $rule->{key} ? $self->{schema}->render($rule->{key}, $row, 0) : undef;
    push @{ $lines->{key}{ $rule->{number} }{$key} }, $line if defined $key;
    for my $template (@{ $rule->{tags} }) {
        my $tag = $self->{schema}->render($template, $row, 1);
        push @{ $lines->{tag}{ $rule->{number} }{$tag} }, $line if defined $tag;
    }
    return;
}

# Names of rows that are there, and of some that are not: an application caches absences too.
sub universe {
    my ($self, $contents) = @_;
    my @entries;
    for my $rule ($self->{schema}->rules) {
        my %key = map { $_ => 1 } first_of($keys_of_rule, keys %{ $contents->{key}{ $rule->{number} } });
        my %tag = map { $_ => 1 } first_of($tags_of_template * @{ $rule->{tags} }, keys %{ $contents->{tag}{ $rule->{number} } });
        for (1 .. 40) {
            my $row = $self->{schema}->random_row($rule->{table});
            my $key = $rule->{key} ? $self->{schema}->render($rule->{key}, $row, 0) : undef;
            $key{$key} = 1 if defined $key;
            next if $_ > 5;
            my @tags = grep { defined } map { $self->{schema}->render($_, $row, 1) } @{ $rule->{tags} };
            @tag{@tags} = (1) x @tags;
        }
        push @entries, map { { kind => 'key', name => $_, rule => $rule, entry => $_, tags => '' } } sort keys %key;
        push @entries, map { { kind => 'tag', name => $_, rule => $rule, entry => "entry of $_", tags => $_ } } sort keys %tag;
    }
    return \@entries;
}

sub first_of { my ($count, @names) = @_; @names = shuffle sort @names; return splice @names, 0, $count }

sub in_slices {
    my ($entries, $work) = @_;
    for (my $from = 0; $from < @$entries; $from += $slice) {
        my $until = $from + $slice - 1;
        $until = $#$entries if $until > $#$entries;
        $work->(@$entries[ $from .. $until ]);
    }
    return;
}

# ---- plain values for keys, entries with a tag for tags ----

sub set_all {
    my ($self, $entries) = @_;
    my $client = $self->{redis}->client;
    in_slices([ grep { $_->{kind} eq 'key' } @$entries ], sub { $client->pipeline(map { [ 'SET', $_->{entry}, 'old' ] } @_) });
    $self->fill_all([ grep { $_->{kind} eq 'tag' } @$entries ]);
    return;
}

# For each entry whether it is there: the key, or for a tag the entry that carries it.
sub which_are_there {
    my ($self, $entries) = @_;
    my $client = $self->{redis}->client;
    my @there;
    in_slices($entries, sub {
        my @replies = $client->pipeline(map { $_->{kind} eq 'key' ? [ 'EXISTS', $_->{entry} ] : peek($_) } @_);
        push @there, map { ref $_ eq 'ARRAY' ? $_->[0] : "$_" } @replies;
    });
    die "not an answer: $_" for grep { !/^[01]$/ } @there;
    return \@there;
}

sub peek { my ($entry) = @_; return [ 'FCALL_RO', 'cs_peek', 1, $entry->{entry}, $source ] }

# ---- the fill protocol ----

sub get { my ($entry) = @_; return [ 'FCALL', 'cs_get', 1, $entry->{entry}, $source, 5000, 0, sprintf('%012x', rand 2**48), '', 0 ] }

# Asks for the entries, reads what misses in a snapshot taken after that, and fills.
sub read_through {
    my ($self, $client, $sql, $linger, @entries) = @_;
    my @replies = $client->pipeline(map { get($_) } @entries);
    my @elected = grep { ref $replies[$_] eq 'ARRAY' && ($replies[$_][2] // '') ne '' } 0 .. $#entries;
    return 0 unless @elected;
    my %tables = map { $entries[$_]{rule}{table}{name} => 1 } @elected;
    my $contents = $self->contents($sql, sort keys %tables);
    usleep($linger) if $linger;
    $client->pipeline(map {
        my $entry = $entries[$_];
        my $value = $contents->{ $entry->{kind} }{ $entry->{rule}{number} }{ $entry->{name} } // 'nothing';
        [ 'FCALL', 'cs_fill', 1, $entry->{entry}, $source, $replies[$_][2], $value, 600_000, 1_200_000, 0, 'P', 0, $entry->{tags} ];
    } @elected);
    return scalar @elected;
}

sub fill_all {
    my ($self, $entries) = @_;
    my ($client, $sql) = ($self->{redis}->client, $self->session);
    in_slices($entries, sub { $self->read_through($client, $sql, 0, @_) });
    $sql->close;
    return;
}

# A reader beside writers. What breaks meanwhile is no business of his: he connects again.
sub fill_until {
    my ($self, $stop, $entries) = @_;
    my ($client, $sql);
    my %of;
    push @{ $of{ $_->{rule}{table}{name} } }, $_ for @$entries;
    my @tables = sort keys %of;
    until ($stop->()) {
        my $fine = eval {
            $client //= $self->{redis}->client(timeout => 5);
            $sql //= $self->session;
            my @some = @{ $of{ $tables[ rand @tables ] } };
            @some = map { $some[ rand @some ] } 1 .. 20;
            my %once = map { $_->{entry} => $_ } @some;
            $self->read_through($client, $sql, rand() < 0.5 ? rand 20_000 : 0, values %once);
            1;
        };
        usleep($fine ? 3000 : 30_000);
        ($client, $sql) = () unless $fine;
    }
    return;
}

# (how many count as fresh, those of them whose value is not the given content)
sub compare {
    my ($self, $entries, $contents) = @_;
    my $client = $self->{redis}->client;
    my ($valid, @stale) = (0);
    in_slices($entries, sub {
        my @peeks = $client->pipeline(map { peek($_) } @_);
        my @values = $client->pipeline(map { [ 'HGET', $_->{entry}, 'v' ] } @_);
        for my $n (0 .. $#_) {
            my $entry = $_[$n];
            die "not an answer: $peeks[$n]" unless ref $peeks[$n] eq 'ARRAY';
            next unless $peeks[$n][0];
            $valid++;
            my $value = $contents->{ $entry->{kind} }{ $entry->{rule}{number} }{ $entry->{name} } // 'nothing';
            push @stale, { entry => $entry, value => $values[$n] } if $values[$n] ne $value;
        }
    });
    return ($valid, \@stale);
}

1;
