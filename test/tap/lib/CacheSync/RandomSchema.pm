# Random tables, partitions, inheritance children and rules, and what of them an oracle must know: which keys and tags a row
# has, computed here and nowhere else, from the documented grammar.
#
#   my $schema = CacheSync::RandomSchema->new;         # from Perl's generator: srand before
#   $node->safe_psql('postgres', $schema->sql);
#   my $table = $schema->by_name('public.t_list');     # as test_decoding names it
#   for my $rule ($schema->rules_of($table)) { my $key = $schema->render($rule->{key}, $row, 0) }
#
# A row is a hash of column name -> text as PostgreSQL prints it under ISO, UTC, hex; undef is NULL. Text is bytes, in UTF-8.
package CacheSync::RandomSchema;
use strict;
use warnings;
use List::Util qw(shuffle first uniq);

our $ids = 70;

# Texts that an encoder, a glob, a JSON writer or a parser of the change log could stumble over.
my @texts = (
    'plain', 'a b', 'a:b', 'a', ':', '100%', '%20', 'a%3Ab', '{x}', '}{', "it's", '"q"', 'back\\slash', "tab\there", "two\nlines",
    "\x01", "\x7f", "\xc3\xbcn\xc3\xaf", "\xe9\x9b\xaa", '', ' ', 'a,b', '*', '?', '[a]', 'NULL', 'null', '\\N', '$1', 'A', "\xe2\x80\xa8",
    'a|raw', '\\x41', "\xf0\x9f\x90\x98", 'x' x 300);
my @labels = ('low', 'mid:dle', 'high one', '50%', '{');

# sql: the type's name; text: its text is percent-encoded; values: texts to choose from, or a sub
my %types = (
    int => { sql => 'integer', values => sub { int(rand 9) - 2 } },
    bigint => { sql => 'bigint', values => [ 0, 1, -1, 9223372036854775807, '-9223372036854775808', 42 ] },
    uuid => { sql => 'uuid', values => sub { sprintf '%08x-0000-4000-8000-00000000000%d', rand 3, rand 4 } },
    text => { sql => 'text', text => 1, values => \@texts },
    varchar => { sql => 'varchar(400)', text => 1, values => \@texts },
    char => { sql => 'char(4)', text => 1, values => [ 'ab', 'a:b', '', 'abcd', ' x' ] },
    stamp => {
        sql => 'timestamptz',
        values => [ '2024-02-29 23:59:59.5+00', '1999-12-31 12:00:00-07', 'infinity', '0044-03-15 00:00:00+00 BC', '2024-10-27 02:30:00+02' ] },
    date => { sql => 'date', values => [ '2024-02-03', '1970-01-01', '-infinity', '0044-03-15 BC' ] },
    enum => { sql => 'public.mood', text => 1, values => \@labels },
    word => { sql => 'public.word', text => 1, values => \@texts },
    small => { sql => 'public.small', values => [ 0, 7, -7, 99999 ] },
    numeric => { sql => 'numeric', values => [ '1.5', '1.50', '0', 'NaN', '-12345678901234567890.001', 'Infinity' ] },
    bytea => { sql => 'bytea', values => [ '\\x', '\\x00ff', '\\x3a7b' ] },
    float => { sql => 'float8', values => [ '0.1', '1e300', '-0', 'NaN', '0.30000000000000004', '100000' ] },
    interval => { sql => 'interval', values => [ '1 day 02:00:00', '1 year 2 mons', '00:00:00.000001' ] },
    inet => { sql => 'inet', values => [ '10.0.0.1', '10.0.0.0/8', '::1' ] },
    bool => { sql => 'boolean', values => [ 't', 'f' ] },
);
my @odd_names = ('Mixed Case', "gr\xc3\xb6\xc3\x9fe", 'order', 'k.ey', 'user', 'a"b', '1st');

# Conditions with the same said in Perl.
my @conditions = (
    { sql => 'n > 3', columns => ['n'], holds => sub { defined $_[0]{n} && $_[0]{n} > 3 } },
    { sql => 'flag', columns => ['flag'], holds => sub { ($_[0]{flag} // '') eq 't' } },
    { sql => 'NOT flag OR id % 2 = 0', columns => [ 'flag', 'id' ], holds => sub { ($_[0]{flag} // '') eq 'f' || $_[0]{id} % 2 == 0 } },
    { sql => 'name IS NOT NULL', columns => ['name'], holds => sub { defined $_[0]{name} } },
    { sql => "name LIKE 'a%'", columns => ['name'], holds => sub { ($_[0]{name} // '') =~ /^a/ } },
    { sql => 'id % 3 <> 1', columns => ['id'], holds => sub { $_[0]{id} % 3 != 1 } },
    { sql => "coalesce(length(name), 0) + coalesce(n, 0) > 2", columns => [ 'name', 'n' ],
        holds => sub { characters($_[0]{name} // '') + ($_[0]{n} // 0) > 2 } },
);

sub characters { my ($bytes) = @_; return scalar(() = $bytes =~ /[^\x80-\xbf]/g) }

sub new {
    my ($class) = @_;
    my $self = bless { tables => [], sql => [], by_name => {}, rules => [] }, $class;
    push @{ $self->{sql} }, "CREATE TYPE public.mood AS ENUM (" . join(', ', map { quoted($_) } @labels) . ')',
      'CREATE DOMAIN public.word AS text CHECK (length(VALUE) < 1000)', 'CREATE DOMAIN public.small AS int CHECK (VALUE > -1000000)',
      'CREATE SCHEMA "S 2"', 'CREATE TABLE public.beat (n bigint PRIMARY KEY)', 'CREATE ROLE writer LOGIN';
    $self->make_plain("public.plain$_") for 1 .. 2;
    $self->make_fk_child('"S 2"."De:tail"', $self->by_name('public.plain1'));
    $self->make_self_reference('public.tree');
    $self->make_list('public.by_list');
    $self->make_range('public.by_range');
    $self->make_hash('"S 2".by_hash');
    $self->make_two_levels('public.two_levels');
    $self->make_inherited('public.inherited');
    $self->make_partition_child('public.of_range', $self->by_name('public.by_range'));
    $self->make_rules($_) for $self->roots;
    $self->finish_sql;
    return $self;
}

sub sql { my ($self) = @_; return join '', map { "$_;\n" } @{ $self->{sql} } }
sub by_name { my ($self, $name) = @_; return $self->{by_name}{$name} }
sub roots { my ($self) = @_; return grep { !$_->{parent} } @{ $self->{tables} } }
sub tables { my ($self) = @_; return @{ $self->{tables} } }
sub rules { my ($self) = @_; return @{ $self->{rules} } }

# Those of the table and of everything it inherits from.
sub rules_of {
    my ($self, $table) = @_;
    my @found;
    for (my $at = $table; $at; $at = $at->{parent}) { push @found, @{ $at->{rules} } }
    return @found;
}

sub root_of { my ($self, $table) = @_; $table = $table->{parent} while $table->{parent}; return $table }

sub is_under { my ($table, $above) = @_; for (; $table; $table = $table->{parent}) { return 1 if $table == $above } return 0 }

# ---- values ----

sub pick { return $_[ rand @_ ] }
sub quoted { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'" }
sub identifier { my ($name) = @_; return '"' . $name =~ s/"/""/gr . '"' }

# A value of the column as text, or undef.
sub value {
    my ($self, $column) = @_;
    return 1 + int rand $ids if $column->{role} eq 'id';
    return undef if !$column->{not_null} && rand() < ($column->{role} eq 'up' ? 0.5 : 0.15);
    return 1 + int rand $ids if $column->{role} eq 'up';
    my $values = $column->{values} // $types{ $column->{type} }{values};
    return ref $values eq 'CODE' ? $values->() : pick(@$values);
}

sub literal {
    my ($self, $column, $value) = @_;
    return (defined $value ? quoted($value) : 'NULL') . '::' . $types{ $column->{type} }{sql};
}

sub writable { my ($self, $table) = @_; return grep { !$_->{generated} } @{ $table->{columns} } }

# A row that the table (be it a leaf) will probably take: column name -> text.
sub random_row {
    my ($self, $table) = @_;
    my %row = map { $_->{name} => $self->value($_) } $self->writable($table);
    for (my $at = $table; $at; $at = $at->{parent}) {
        $row{$_} = pick(@{ $at->{fits}{$_} }) for keys %{ $at->{fits} // {} };
    }
    return \%row;
}

# ---- tables ----

sub column { my ($name, $type, %more) = @_; return { name => $name, type => $type, role => '', %more } }

sub common_columns {
    my @names = shuffle @odd_names;
    my @kinds = shuffle grep { $_ ne 'bool' } sort keys %types;
    my @columns = (
        column('id', 'int', role => 'id', not_null => 1), column('n', 'int'), column('flag', 'bool'), column('name', 'text'),
        map { column(shift @names, shift @kinds) } 1 .. 2 + int rand 3);
    return @columns if rand() < 0.4;
    return (@columns, column('made', 'text', generated => "lower(coalesce(name, '-')) || ':' || id"));
}

sub definition {
    my ($column) = @_;
    my $text = identifier($column->{name}) . " $types{ $column->{type} }{sql}";
    $text .= ' NOT NULL' if $column->{not_null};
    $text .= " GENERATED ALWAYS AS ($column->{generated}) STORED" if $column->{generated};
    return $text;
}

sub definitions { my (@columns) = @_; return join ', ', map { definition($_) } @columns }

sub add {
    my ($self, $name, %table) = @_;
    my $table = { name => $name, rules => [], children => [], kind => 'plain', %table };
    push @{ $self->{tables} }, $table;
    push @{ $table->{parent}{children} }, $table if $table->{parent};
    return $self->{by_name}{$name} = $table;
}

sub say { my ($self, @sql) = @_; push @{ $self->{sql} }, @sql; return }

sub make_plain {
    my ($self, $name) = @_;
    my @columns = (column('id', 'int', role => 'id', not_null => 1), shuffle grep { $_->{name} ne 'id' } common_columns());
    my $table = $self->add($name, columns => \@columns, pk => ['id']);
    $self->say("CREATE TABLE $name (" . definitions(@columns) . ', PRIMARY KEY (id))');
    $table->{view} = "${name}_view";
    $self->say("CREATE VIEW $table->{view} AS SELECT * FROM $name");
    $self->add_before_trigger($table) if $name =~ /2$/;
    return $table;
}

# A trigger that changes and skips rows before they are written.
sub add_before_trigger {
    my ($self, $table) = @_;
    $self->say(<<'SQL' =~ s/;\s*$//r, "CREATE TRIGGER meddle BEFORE INSERT OR UPDATE ON $table->{name} FOR EACH ROW EXECUTE FUNCTION public.meddle()");
CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.id % 13 = 5 THEN RETURN NULL; END IF;
    IF NEW.n = 6 THEN NEW.n := 5; NEW.name := 'meddled'; END IF;
    RETURN NEW;
END $$;
SQL
    return;
}

sub make_fk_child {
    my ($self, $name, $parent) = @_;
    my @columns = (common_columns(), column('up', 'int', role => 'up'));
    my $action = pick('CASCADE', 'SET NULL');
    $self->add($name, columns => \@columns, pk => ['id'], fk => 1);
    $self->say("CREATE TABLE $name (" . definitions(@columns)
          . ", PRIMARY KEY (id), FOREIGN KEY (up) REFERENCES $parent->{name} ON DELETE $action ON UPDATE CASCADE DEFERRABLE)");
    return;
}

sub make_self_reference {
    my ($self, $name) = @_;
    my @columns = (common_columns(), column('up', 'int', role => 'up'));
    $self->add($name, columns => \@columns, pk => ['id'], fk => 1);
    $self->say("CREATE TABLE $name (" . definitions(@columns)
          . ", PRIMARY KEY (id), FOREIGN KEY (up) REFERENCES $name ON DELETE CASCADE ON UPDATE CASCADE)");
    return;
}

# Its rows follow those of a partitioned table, through moves between partitions as well.
sub make_partition_child {
    my ($self, $name, $parent) = @_;
    my @columns = (common_columns(), column('up', 'int', role => 'up'), column('part', 'int', values => [ 0 .. 29 ]));
    $self->add($name, columns => \@columns, pk => ['id'], fk => 1);
    $self->say("CREATE TABLE $name (" . definitions(@columns)
          . ", PRIMARY KEY (id), FOREIGN KEY (up, part) REFERENCES $parent->{name} (id, part) ON DELETE CASCADE ON UPDATE CASCADE)");
    return;
}

sub make_partitioned {
    my ($self, $name, $by, $pk, @more) = @_;
    my @columns = shuffle common_columns(), @more;
    my $table = $self->add($name, columns => \@columns, pk => $pk, kind => 'partitioned');
    $self->say("CREATE TABLE $name (" . definitions(@columns) . ", PRIMARY KEY (" . join(', ', @$pk) . ")) PARTITION BY $by");
    return $table;
}

# A partition with another order of columns, perhaps with one that was dropped, perhaps partitioned itself.
sub make_partition {
    my ($self, $parent, $name, $bound, %more) = @_;
    my @columns = shuffle @{ $parent->{columns} };
    my $by = delete $more{by};
    my $table = $self->add($name, columns => \@columns, pk => $parent->{pk}, parent => $parent, kind => $by ? 'partitioned' : 'leaf', %more);
    my $gone = rand() < 0.5;
    $self->say("CREATE TABLE $name (" . ($gone ? 'gone text, ' : '') . definitions(@columns) . ')' . ($by ? " PARTITION BY $by" : ''));
    $self->say("ALTER TABLE $name DROP COLUMN gone") if $gone;
    $self->say("ALTER TABLE $parent->{name} ATTACH PARTITION $name $bound");
    return $table;
}

my @regions = ('eu', 'us', 'a:b', "it's");
sub region { return column('region', 'text', not_null => 1, values => \@regions) }
sub part { return column('part', 'int', not_null => 1, values => [ 0 .. 29 ]) }

sub make_list {
    my ($self, $name) = @_;
    my $table = $self->make_partitioned($name, 'LIST (region)', [ 'id', 'region' ], region());
    $self->make_partition($table, "${name}_eu", "FOR VALUES IN ('eu')", fits => { region => ['eu'] });
    $self->make_partition($table, "${name}_us", "FOR VALUES IN ('us', 'a:b')", fits => { region => [ 'us', 'a:b' ] });
    $self->make_partition($table, "${name}_rest", 'DEFAULT', fits => { region => ["it's"] });
    return;
}

sub make_range {
    my ($self, $name) = @_;
    my $table = $self->make_partitioned($name, 'RANGE (part)', [ 'id', 'part' ], part());
    for my $n (0 .. 2) {
        my ($from, $to) = ($n * 10, $n * 10 + 10);
        $self->make_partition($table, "${name}_$n", "FOR VALUES FROM ($from) TO ($to)", fits => { part => [ $from .. $to - 1 ] });
    }
    return;
}

sub make_hash {
    my ($self, $name) = @_;
    my $table = $self->make_partitioned($name, 'HASH (id)', ['id']);
    $self->make_partition($table, "${name}_$_", "FOR VALUES WITH (MODULUS 3, REMAINDER $_)") for 0 .. 2;
    return;
}

sub make_two_levels {
    my ($self, $name) = @_;
    my $table = $self->make_partitioned($name, 'LIST (region)', [ 'id', 'region', 'part' ], region(), part());
    my $ranged = $self->make_partition($table, "${name}_eu", "FOR VALUES IN ('eu', 'us')", by => 'RANGE (part)', fits => { region => [ 'eu', 'us' ] });
    $self->make_partition($ranged, "${name}_eu_low", 'FOR VALUES FROM (MINVALUE) TO (15)', fits => { part => [ 0 .. 14 ] });
    $self->make_partition($ranged, "${name}_eu_high", 'FOR VALUES FROM (15) TO (MAXVALUE)', fits => { part => [ 15 .. 29 ] });
    my $hashed = $self->make_partition($table, "${name}_rest", 'DEFAULT', by => 'HASH (id)', fits => { region => [ 'a:b', "it's" ] });
    $self->make_partition($hashed, "${name}_rest_$_", "FOR VALUES WITH (MODULUS 2, REMAINDER $_)") for 0 .. 1;
    return;
}

sub make_inherited {
    my ($self, $name) = @_;
    my @columns = common_columns();
    my $table = $self->add($name, columns => \@columns, pk => ['id']);
    $self->say("CREATE TABLE $name (" . definitions(@columns) . ', PRIMARY KEY (id))');
    for my $n (1 .. 2) {
        my $extra = column('extra', pick(qw(text numeric date)));
        $self->add("${name}_$n", columns => [ @columns, $extra ], pk => ['id'], parent => $table, kind => 'child');
        $self->say("CREATE TABLE ${name}_$n (" . definitions($extra) . ", PRIMARY KEY (id)) INHERITS ($name)");
    }
    return;
}

sub finish_sql {
    my ($self) = @_;
    for my $table ($self->tables) {
        $self->say("ALTER TABLE $table->{name} REPLICA IDENTITY FULL");
        $table->{rel} = $table->{name};
    }
    $self->say("GRANT USAGE ON SCHEMA public, \"S 2\" TO writer", 'GRANT ALL ON ALL TABLES IN SCHEMA public, "S 2" TO writer',
        q{SELECT cache_sync.register_table('public.beat', 'beat:{n}')});
    $self->say($_->{sql}) for $self->rules;
    return;
}

# ---- rules ----

sub make_rules {
    my ($self, $root) = @_;
    $self->make_rule($root) for 1 .. 1 + int rand 3;
    # On a part of a tree only.
    my @below = grep { $_ != $root && is_under($_, $root) } $self->tables;
    $self->make_rule(pick(@below)) if @below && rand() < 0.5;
    return;
}

sub make_rule {
    my ($self, $table) = @_;
    my $number = 1 + $self->rules;
    my @columns = @{ $table->{columns} };
    my ($id) = grep { $_->{name} eq 'id' } @columns;
    my $rule = { number => $number, table => $table, tags => [], columns => undef, condition => undef };
    # The first of a relation has the id in its key, so that there are many keys.
    my @chosen = (shuffle @columns)[ 0 .. int rand 3 ];
    @chosen = uniq($id, @chosen) if rand() < 0.8;
    $rule->{key} = make_template("k$number", @chosen) if @{ $table->{rules} } || rand() < 0.9;
    # A key that no truncation of a tagged table can spoil every time: only some rules have tags with columns.
    push @{ $rule->{tags} }, make_template("g$number", pick(@columns)) if !$rule->{key} || rand() < 0.3;
    push @{ $rule->{tags} }, make_template("all$number") if rand() < 0.3;
    $rule->{columns} = [ map { $_->{name} } (shuffle @columns)[ 0 .. 1 + int rand 3 ] ] if rand() < 0.3;
    $rule->{condition} = pick(@conditions) if rand() < 0.35;
    # What an UPDATE must change to count, unless it changes what the condition says: these, and what gives the row its names.
    my @templates = grep { defined } $rule->{key}, @{ $rule->{tags} };
    my @named = map { $_->{column}{name} } grep { ref } map { @{ $_->{parts} } } @templates;
    $rule->{watched} = [ sort(uniq($rule->{columns} ? (@{ $rule->{columns} }, @named) : map { $_->{name} } @columns)) ];
    $rule->{sql} = registration($rule);
    push @{ $table->{rules} }, $rule;
    push @{ $self->{rules} }, $rule;
    return;
}

sub registration {
    my ($rule) = @_;
    my $array = sub { 'ARRAY[' . join(', ', map { quoted($_) } @_) . ']' };
    my @arguments = (quoted($rule->{table}{name}));
    push @arguments, 'key => ' . quoted($rule->{key}{text}) if $rule->{key};
    push @arguments, 'tags => ' . $array->(map { $_->{text} } @{ $rule->{tags} }) . '::text[]' if @{ $rule->{tags} };
    push @arguments, 'columns => ' . $array->(@{ $rule->{columns} }) . '::name[]' if $rule->{columns};
    push @arguments, 'condition => ' . quoted($rule->{condition}{sql}) if $rule->{condition};
    return 'SELECT cache_sync.register_table(' . join(', ', @arguments) . ')';
}

# Literal texts and columns in turn; the text of the template and its parts. Literals have glob characters too.
sub make_template {
    my ($start, @columns) = @_;
    my (@parts, $text);
    my $literal = sub { my ($part) = @_; push @parts, $part; $text .= $part =~ s/([{}])/$1$1/gr };
    $text = '';
    $literal->($start . pick('', '', '*', "\xc3\xa4", '[x]', '\\'));
    for my $column (@columns) {
        $literal->(pick(':', ':', '/', ':{', '}:', '%'));
        my $raw = rand() < 0.25;
        push @parts, { column => $column, raw => $raw };
        $text .= "{$column->{name}" . ($raw ? '|raw' : '') . '}';
    }
    $literal->(pick(':end', '?')) if rand() < 0.3;
    my $pattern = join '', map { ref ? '.*' : quotemeta } @parts;
    return { text => $text, parts => \@parts, pattern => qr/^$pattern\z/s, has_columns => scalar @columns };
}

# ---- what a row is called ----

# The key or tag of the row, or undef where a column is NULL.
sub render {
    my ($self, $template, $row, $is_tag) = @_;
    my $text = '';
    for my $part (@{ $template->{parts} }) {
        if (!ref $part) {
            $text .= $part;
            next;
        }
        my $value = $row->{ $part->{column}{name} } // return;
        $value =~ s/([\x00-\x20\x7f%:{}])/sprintf '%%%02X', ord $1/ge if $types{ $part->{column}{type} }{text} && !$part->{raw};
        $value =~ s/,/%2C/g if $is_tag;
        $text .= $value;
    }
    return $text;
}

1;
