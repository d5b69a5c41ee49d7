# Random statements on the tables of a CacheSync::RandomSchema: every way in which SQL changes rows.
#
#   my $statements = CacheSync::RandomStatements->new($schema);
#   my $statement = $statements->any;      # SQL, or { copy => SQL, data => bytes }
package CacheSync::RandomStatements;
use strict;
use warnings;
use List::Util qw(shuffle first);
use CacheSync::RandomSchema;

sub new { my ($class, $schema) = @_; return bless { schema => $schema }, $class }

sub pick { return $_[ rand @_ ] }
sub id { my ($name) = @_; return CacheSync::RandomSchema::identifier($name) }

my @weighted = (
    (\&insert) x 4, (\&upsert) x 5, (\&update) x 7, (\&remove) x 3, (\&copy) x 2, (\&merge) x 3, (\&writable_cte) x 2,
    \&insert_many, \&update_all, \&swap_ids, \&move);

sub any {
    my ($self) = @_;
    return $self->truncate if rand() < 0.003;
    return pick(@weighted)->($self, $self->target);
}

# As any, but no COPY, which needs a conversation with the client.
sub any_sql {
    my ($self) = @_;
    while (1) {
        my $statement = $self->any;
        return $statement unless ref $statement;
    }
}

# A table, a partition, a child or a view, with the name to use.
sub target {
    my ($self) = @_;
    my $root = pick($self->{schema}->roots);
    my $table = $root;
    $table = pick(@{ $table->{children} }) while @{ $table->{children} } && rand() < 0.35;
    my $name = $table->{view} && rand() < 0.2 ? $table->{view} : $table->{name};
    return { table => $table, name => $name };
}

sub literals {
    my ($self, $target, $row) = @_;
    my %column = map { $_->{name} => $_ } @{ $target->{table}{columns} };
    return map { $self->{schema}->literal($column{$_}, $row->{$_}) } sort keys %$row;
}

sub names { my ($row) = @_; return join ', ', map { id($_) } sort keys %$row }

# rows: (names, "(..), (..)") of so many rows with different ids
sub rows {
    my ($self, $target, $count) = @_;
    my %seen;
    my @rows = grep { !$seen{ $_->{id} }++ } map { $self->{schema}->random_row($target->{table}) } 1 .. $count;
    return (names($rows[0]), join(', ', map { '(' . join(', ', $self->literals($target, $_)) . ')' } @rows));
}

sub returning { return rand() < 0.2 ? ' RETURNING *' : '' }

sub insert {
    my ($self, $target) = @_;
    my ($names, $rows) = $self->rows($target, 1 + int rand 3);
    return "INSERT INTO $target->{name} ($names) VALUES $rows" . returning();
}

# Ids beyond the usual ones, so that they do not collide, and many.
sub insert_many {
    my ($self, $target) = @_;
    my $row = $self->{schema}->random_row($target->{table});
    my $first = 100 + int rand 2000;
    my %value;
    @value{ sort keys %$row } = $self->literals($target, $row);
    $value{id} = 'g';
    my $last = $first + 5 + int rand 40;
    return "INSERT INTO $target->{name} (" . names($row) . ') SELECT ' . join(', ', map { $value{$_} } sort keys %value)
      . " FROM generate_series($first, $last) g" . (rand() < 0.7 ? ' ON CONFLICT DO NOTHING' : '');
}

sub conflict_columns { my ($target) = @_; return join ', ', map { id($_) } @{ $target->{table}{pk} } }

sub upsert {
    my ($self, $target) = @_;
    my ($names, $rows) = $self->rows($target, 1 + int rand 5);
    my $text = "INSERT INTO $target->{name} AS old ($names) VALUES $rows ON CONFLICT";
    return "$text DO NOTHING" if rand() < 0.2;
    my @set = map { rand() < 0.5 ? id($_->{name}) . ' = excluded.' . id($_->{name}) : $self->assignment($_, 'old.') } $self->some_columns($target, 1);
    $text .= ' (' . conflict_columns($target) . ') DO UPDATE SET ' . join ', ', @set;
    $text .= ' WHERE old.id % 3 <> 0' if rand() < 0.3;
    return $text . returning();
}

# Columns to set; keep_keys: none that a unique index or a partition is made by.
sub some_columns {
    my ($self, $target, $keep_keys) = @_;
    my %key = map { $_ => 1 } @{ $target->{table}{pk} };
    my @columns = shuffle grep { !$key{ $_->{name} } } $self->{schema}->writable($target->{table});
    @columns = @columns[ 0 .. int rand 3 ] if @columns > 3;
    push @columns, first { $key{ $_->{name} } && $_->{name} ne 'id' } @{ $target->{table}{columns} } if !$keep_keys && rand() < 0.4;
    return grep { defined } @columns;
}

sub assignment {
    my ($self, $column, $prefix) = @_;
    $prefix //= '';
    my $name = id($column->{name});
    return "$name = $prefix$name" if rand() < 0.12;
    return "n = coalesce(${prefix}n, 0) + 1" if $column->{name} eq 'n' && rand() < 0.6;
    return "name = coalesce(${prefix}name, '') || 'a'" if $column->{name} eq 'name' && rand() < 0.2;
    return "$name = " . $self->{schema}->literal($column, $self->{schema}->value($column));
}

sub assignments { my ($self, $target, @more) = @_; return join ', ', (map { $self->assignment($_) } $self->some_columns($target)), @more }

sub some_id { return 1 + int rand $CacheSync::RandomSchema::ids }

sub condition {
    my ($self, $target, $prefix) = @_;
    $prefix //= '';
    my $from = some_id();
    my $until = $from + int rand 8;
    return pick(
        "${prefix}id = $from", "${prefix}id = $from", "${prefix}id IN ($from, " . some_id() . ', ' . some_id() . ')', "${prefix}id BETWEEN $from AND $until",
        "${prefix}id % 11 = " . int(rand 11), "${prefix}n = " . (int(rand 9) - 2) . " AND ${prefix}id % 4 = " . int rand 4);
}

sub update {
    my ($self, $target) = @_;
    my $only = rand() < 0.1 && @{ $target->{table}{children} } && $target->{table}{kind} ne 'partitioned' ? 'ONLY ' : '';
    return "UPDATE $only$target->{name} SET " . $self->assignments($target) . ' WHERE ' . $self->condition($target) . returning();
}

sub update_all {
    my ($self, $target) = @_;
    my ($flag) = grep { $_->{name} eq 'flag' } @{ $target->{table}{columns} };
    return "UPDATE $target->{name} SET " . pick('n = n', 'n = coalesce(n, 0) + 1', 'flag = NOT flag', "name = name", $self->assignment($flag));
}

# Changes of the id: to a free one, or of several by a step that keeps them apart.
sub swap_ids {
    my ($self, $target) = @_;
    return "UPDATE $target->{name} SET id = " . some_id() . ' WHERE id = ' . some_id() if rand() < 0.6;
    my $step = pick(300, 700, 1000, -1000);
    my $where = $step > 0 ? "id < $step AND id % 9 = " . int rand 9 : 'id > 1000';
    return "UPDATE $target->{name} SET id = id + $step WHERE $where";
}

# From one partition to another, or as a plain table knows it: another value everywhere.
sub move {
    my ($self, $target) = @_;
    my ($column) = shuffle grep { $_->{name} =~ /^(region|part)$/ } @{ $target->{table}{columns} };
    return $self->update($target) unless $column;
    return "UPDATE $target->{name} SET " . id($column->{name}) . ' = ' . $self->{schema}->literal($column, $self->{schema}->value($column))
      . ' WHERE ' . $self->condition($target);
}

sub remove {
    my ($self, $target) = @_;
    return "DELETE FROM $target->{name} WHERE " . pick("id > 400 AND id % 3 = 1", "id > 1500") if rand() < 0.25;
    return "DELETE FROM $target->{name} WHERE " . $self->condition($target) . returning();
}

sub copy {
    my ($self, $target) = @_;
    my %seen;
    my $start = rand() < 0.6 ? 100 + int rand 5000 : 0;
    my @rows = grep { !$seen{ $_->{id} }++ } map { $self->{schema}->random_row($target->{table}) } 1 .. 1 + int rand($start ? 30 : 2);
    $_->{id} += $start for @rows;
    my $line = sub { my ($row) = @_; return join("\t", map { copy_text($row->{$_}) } sort keys %$row) . "\n" };
    return { copy => "COPY $target->{table}{name} (" . names($rows[0]) . ') FROM STDIN', data => join '', map { $line->($_) } @rows };
}

sub copy_text {
    my ($text) = @_;
    return '\\N' unless defined $text;
    return $text =~ s/([\\\t\n\r])/'\\' . ($1 eq "\t" ? 't' : $1 eq "\n" ? 'n' : $1 eq "\r" ? 'r' : '\\')/ger;
}

sub merge {
    my ($self, $target) = @_;
    my ($names, $rows) = $self->rows($target, 1 + int rand 6);
    my @on = map { "t.$_ = s.$_" } map { id($_) } @{ $target->{table}{pk} };
    my @arms;
    push @arms, 'WHEN MATCHED AND t.id % 5 = 0 THEN DELETE' if rand() < 0.6;
    push @arms, 'WHEN MATCHED AND t.id % 7 = 0 THEN DO NOTHING' if rand() < 0.3;
    push @arms, 'WHEN MATCHED THEN UPDATE SET ' . join ', ', map { $self->merge_assignment($_) } $self->some_columns($target, rand() < 0.7);
    push @arms, "WHEN NOT MATCHED THEN INSERT ($names) VALUES (" . join(', ', map { "s.$_" } split /, /, $names) . ')' if rand() < 0.8;
    push @arms, 'WHEN NOT MATCHED BY SOURCE AND ' . $self->condition($target, 't.') . ' THEN ' . pick('DELETE', 'UPDATE SET n = coalesce(t.n, 0) + 1')
      if rand() < 0.4;
    return "MERGE INTO $target->{name} AS t USING (VALUES $rows) AS s ($names) ON " . join(' AND ', @on) . ' ' . join ' ', @arms;
}

sub merge_assignment {
    my ($self, $column) = @_;
    my $name = id($column->{name});
    return rand() < 0.6 ? "$name = s.$name" : $self->assignment($column, 't.');
}

# Rows that leave one table and come back changed, into the same or another one, in one statement.
sub writable_cte {
    my ($self, $target) = @_;
    my ($names, $rows) = $self->rows($target, 2);
    my $other = $self->target;
    my $way = rand;
    return "WITH gone AS (DELETE FROM $target->{name} WHERE " . $self->condition($target) . ' RETURNING id) UPDATE ' . $other->{name} . ' AS o SET '
      . join(', ', map { $self->assignment($_, 'o.') } $self->some_columns($other, 1)) . ' FROM gone WHERE o.id = gone.id'
      if $way < 0.4;
    return "WITH made AS (INSERT INTO $target->{name} ($names) VALUES $rows ON CONFLICT DO NOTHING RETURNING id), changed AS ("
      . $self->update_text($other) . ' RETURNING id) SELECT count(*) FROM made, changed'
      if $way < 0.7;
    my @kept = grep { $_ ne '"id"' } split /, /, $names;
    return "WITH moved AS (DELETE FROM $target->{name} WHERE " . $self->condition($target) . " RETURNING *) INSERT INTO $target->{name} ("
      . join(', ', '"id"', @kept) . ') SELECT id + 3000, ' . join(', ', @kept) . ' FROM moved';
}

sub update_text { my ($self, $target) = @_; return "UPDATE $target->{name} SET " . $self->assignments($target) . ' WHERE ' . $self->condition($target) }

# Of small parts more often than of whole tables, which what refers to them would follow.
sub truncate {
    my ($self) = @_;
    my $table = pick($self->{schema}->tables);
    my $text = "TRUNCATE $table->{name}" . pick('', '', ' CASCADE', ' RESTART IDENTITY CASCADE');
    return $text if rand() < 0.4;
    my ($names, $rows) = $self->rows({ table => $table, name => $table->{name} }, 3);
    return "$text; INSERT INTO $table->{name} ($names) VALUES $rows";
}

1;
