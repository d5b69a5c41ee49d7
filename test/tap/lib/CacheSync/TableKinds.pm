# The same table as an ordinary, a partitioned (two levels) and an inherited one, each in a schema of the kind's name, with
# keys of every sort, for tests that run on each of them.
package CacheSync::TableKinds;
use strict;
use warnings;
use Exporter qw(import);
our @EXPORT_OK = qw(kinds make_common make_kind fill_kind source_map absent_keys);

sub kinds { return qw(plain partitioned inherited) }

my $columns = <<'SQL';
id int, region text DEFAULT 'us', tenant text DEFAULT 'new one', code uuid DEFAULT '00000000-0000-0000-0000-000000000001',
at timestamptz DEFAULT '2024-06-01 12:00+00', mood common.mood DEFAULT 'so so', amount common.amount DEFAULT 1, opt int, n int DEFAULT 1,
note text DEFAULT '', owner_id int, deputy_id int, slug text GENERATED ALWAYS AS (lower(tenant) || '#') STORED, PRIMARY KEY (id, region)
SQL

# Types and roles that the kinds share.
sub make_common {
    return <<'SQL';
CREATE SCHEMA common;
CREATE TYPE common.mood AS ENUM ('sad', 'so so', 'glad');
CREATE DOMAIN common.amount AS numeric(10, 2) CHECK (VALUE >= 0);
CREATE FUNCTION common.encoded(text) RETURNS text LANGUAGE sql IMMUTABLE
    RETURN replace(replace(replace(replace(replace($1, '%', '%25'), ':', '%3A'), ' ', '%20'), '{', '%7B'), '}', '%7D');
CREATE FUNCTION common.adjust() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE NEW.note WHEN 'bump' THEN NEW.n := NEW.n + 100;
                  WHEN 'move' THEN NEW.id := NEW.id + 30;
                  WHEN 'skip' THEN RETURN NULL;
                  ELSE NULL; END CASE;
    RETURN NEW;
END $$;
CREATE FUNCTION common.on_boss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.name LIKE 'promote %' THEN
        UPDATE t SET n = n + 50 WHERE owner_id = NEW.id;
    END IF;
    RETURN NULL;
END $$;
CREATE ROLE app LOGIN;
CREATE ROLE nobody LOGIN;
GRANT USAGE ON SCHEMA common TO PUBLIC;
SQL
}

my %members = (
    plain => sub { "CREATE TABLE t ($columns);" },
    partitioned => sub { <<"SQL" },
CREATE TABLE t ($columns) PARTITION BY LIST (region);
CREATE TABLE t_eu PARTITION OF t FOR VALUES IN ('eu') PARTITION BY RANGE (id);
CREATE TABLE t_eu_low PARTITION OF t_eu FOR VALUES FROM (0) TO (6);
CREATE TABLE t_eu_high PARTITION OF t_eu FOR VALUES FROM (6) TO (1000);
CREATE TABLE t_us (gone int, LIKE t INCLUDING ALL);
ALTER TABLE t_us DROP COLUMN gone;
ALTER TABLE t ATTACH PARTITION t_us FOR VALUES IN ('us');
CREATE TABLE t_as PARTITION OF t FOR VALUES IN ('as') PARTITION BY HASH (id);
CREATE TABLE t_as_0 PARTITION OF t_as FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t_as_1 PARTITION OF t_as FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SQL
    inherited => sub { <<"SQL" },
CREATE TABLE t ($columns);
CREATE TABLE t_eu (PRIMARY KEY (id, region)) INHERITS (t);
CREATE TABLE t_us (PRIMARY KEY (id, region)) INHERITS (t);
CREATE TABLE t_us_more (more int) INHERITS (t_us);
SQL
);

# Statements that make the kind anew, with its rules.
sub make_kind {
    my ($kind) = @_;
    my @tables = $kind eq 'inherited' ? qw(t t_eu t_us t_us_more) : ('t');
    my $each = join '', map { <<"SQL" } @tables;
ALTER TABLE $_ ADD FOREIGN KEY (owner_id) REFERENCES boss ON DELETE CASCADE ON UPDATE CASCADE,
               ADD FOREIGN KEY (deputy_id) REFERENCES boss ON DELETE SET NULL ON UPDATE CASCADE;
CREATE TRIGGER adjust BEFORE INSERT OR UPDATE ON $_ FOR EACH ROW EXECUTE FUNCTION common.adjust();
GRANT ALL ON $_ TO app;
SQL
    return ("DROP SCHEMA IF EXISTS $kind CASCADE", "CREATE SCHEMA $kind", "SET search_path = $kind", <<"SQL");
GRANT ALL ON SCHEMA $kind TO app;
CREATE TABLE boss (id int PRIMARY KEY, name text);
CREATE TABLE side (id int PRIMARY KEY, v int);
CREATE CONSTRAINT TRIGGER later AFTER UPDATE ON boss DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION common.on_boss();
@{[ $members{$kind}->() ]}
$each
SELECT cache_sync.register_table('t', '$kind:{id}'),
       cache_sync.register_table('t', '$kind-c:{tenant}:{code}:{at}:{mood}:{amount}:{slug}'),
       cache_sync.register_table('t', '$kind-o:{opt}'),
       cache_sync.register_table('t', '$kind-n:{id}', columns => '{n}'),
       cache_sync.register_table('t', '$kind-p:{id}', condition => 'n > 10'),
       cache_sync.register_table('t', '$kind-w:{id}', columns => '{note}', condition => 'n > 10'),
       cache_sync.register_table('side', '$kind-side:{id}');
SQL
}

# Statements that put the rows back to the ones that every case starts from.
sub fill_kind {
    my ($kind) = @_;
    my $rows = <<'SQL';
SELECT g, CASE WHEN g > 8 THEN 'as' WHEN g % 2 = 1 THEN 'eu' ELSE 'us' END, 'Ten:ant {%} ' || g, md5(g::text)::uuid,
       timestamptz '2024-01-01 00:00+00' + g * interval '1 hour', (enum_range(NULL::common.mood))[1 + g % 3], g * 1.5,
       CASE WHEN g % 3 > 0 THEN 1 + g / 4 END, g * 2, '', 1 + g % 3, 4 + g % 2 FROM generate_series(1, 12) g
SQL
    my $names = '(id, region, tenant, code, at, mood, amount, opt, n, note, owner_id, deputy_id)';
    my @into = $kind ne 'inherited' ? "INSERT INTO t $names $rows"
      : map { "INSERT INTO $_->[0] $names SELECT * FROM ($rows) r (id, region) WHERE $_->[1]" }
      ([ 't', q{region = 'as'} ], [ 't_eu', q{region = 'eu'} ], [ 't_us', q{region = 'us' AND id < 7} ], [ 't_us_more', q{region = 'us' AND id > 7} ]);
    return ("SET search_path = $kind", 'TRUNCATE t, boss, side',
        "INSERT INTO boss SELECT g, 'boss' FROM generate_series(1, 9) g; INSERT INTO side SELECT g, g FROM generate_series(1, 3) g", @into);
}

# Every key of the kind and what is cached under it.
sub source_map {
    my ($kind) = @_;
    return <<"SQL";
SELECT '$kind:' || id, t::text FROM $kind.t
UNION ALL
SELECT '$kind-c:' || concat_ws(':', common.encoded(tenant), code, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS+00'),
       common.encoded(mood::text), amount, common.encoded(slug)), string_agg(t::text, ' ' ORDER BY id)
FROM $kind.t WHERE num_nulls(tenant, code, at, mood, amount, slug) = 0 GROUP BY 1
UNION ALL
SELECT '$kind-o:' || opt, string_agg(t::text, ' ' ORDER BY id) FROM $kind.t WHERE opt IS NOT NULL GROUP BY opt
UNION ALL
SELECT '$kind-n:' || id, 'n ' || coalesce(n::text, '') FROM $kind.t
UNION ALL
SELECT '$kind-p:' || id, t::text FROM $kind.t WHERE n > 10
UNION ALL
SELECT '$kind-w:' || id, 'note ' || note FROM $kind.t WHERE n > 10
UNION ALL
SELECT '$kind-side:' || id, v::text FROM $kind.side
SQL
}

# Keys of rows that may come to be.
sub absent_keys {
    my ($kind) = @_;
    return [ map { ("$kind:$_", "$kind-n:$_", "$kind-p:$_", "$kind-w:$_", $_ < 30 ? ("$kind-o:$_", "$kind-side:$_") : ()) } 1 .. 60 ];
}

1;
