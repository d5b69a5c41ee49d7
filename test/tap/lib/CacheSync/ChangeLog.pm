# What committed, as the server's own logical decoding tells it: an account of all changed rows that owes nothing to triggers.
# Needs wal_level = logical and REPLICA IDENTITY FULL.
#
#   my $log = CacheSync::ChangeLog->new($node);
#   for my $change ($log->read) { print "$change->{table} $change->{kind} $change->{new}{id}" }   # I, U, D; T: TRUNCATE
package CacheSync::ChangeLog;
use strict;
use warnings;
use CacheSync::Sql;

# Rows are printed under these settings, here and where tables are read.
our $settings = '-c DateStyle=ISO -c TimeZone=UTC -c IntervalStyle=postgres -c extra_float_digits=1 -c bytea_output=hex -c search_path=pg_catalog';

sub new {
    my ($class, $node) = @_;
    my $self = bless { node => $node, upto => '0' }, $class;
    $self->session->run(q{SELECT pg_create_logical_replication_slot('change_log', 'test_decoding')});
    return $self;
}

sub session { my ($self) = @_; return CacheSync::Sql->new($self->{node}, options => $settings) }

# Changes of the transactions that committed since the last call, in the order of the commits.
sub read {
    my ($self) = @_;
    my $sql = $self->session;
    # Decoding ends where the log was flushed to, and not every commit has waited for that.
    $sql->run(q{SELECT pg_logical_emit_message(false, 'change_log', '', true)});
    my @rows = $sql->rows(q{SELECT lsn - '0/0', xid, data FROM pg_logical_slot_get_changes('change_log', NULL, NULL, 'skip-empty-xacts', '1')});
    $sql->close;
    my (@changes, @transaction);
    for my $row (@rows) {
        my ($lsn, $xid, $text) = @$row;
        if ($text =~ /^BEGIN/) { @transaction = () }
        elsif ($text =~ /^COMMIT/) {
            # After a crash the slot may go back to where it was saved last.
            next if $lsn <= $self->{upto};
            $self->{upto} = $lsn;
            push @changes, @transaction;
        } else {
            push @transaction, changes_of($text, $xid);
        }
    }
    return @changes;
}

my $name = qr/(?:"(?:[^"]|"")+"|[^\s".:,]+)/;

sub changes_of {
    my ($text, $xid) = @_;
    return if $text =~ /^(?:table cache_sync\.|message:)/;
    $text =~ /\Gtable /gc or die "not a change: $text";
    my @tables;
    do { $text =~ /\G($name\.$name)/gc or die "no table: $text"; push @tables, $1 } while $text =~ /\G, /gc;
    $text =~ /\G: (INSERT|UPDATE|DELETE|TRUNCATE):/gc or die "no kind of change: $text";
    my $kind = substr $1, 0, 1;
    return map { { table => $_, kind => 'T', xid => $xid } } @tables if $kind eq 'T';
    my %change = (table => $tables[0], kind => $kind, xid => $xid);
    if ($kind eq 'U') {
        $text =~ /\G old-key:/gc or die "no old row: $text";
        $change{old} = row(\$text);
        $text =~ /\G new-tuple:/gc or die "no new row: $text";
        $change{new} = row(\$text);
    } else {
        $change{ $kind eq 'I' ? 'new' : 'old' } = row(\$text);
    }
    $text =~ /\G\z/ or die "cannot read on: " . substr $text, pos($text) // 0;
    return \%change;
}

sub row {
    my ($text) = @_;
    my %row;
    while ($$text =~ /\G ($name)\[((?:[^\]"]|"[^"]*")+)\]:/gc) {
        my ($column, $type) = ($1, $2);
        $column = $1 =~ s/""/"/gr if $column =~ /^"(.*)"$/s;
        if ($$text =~ /\Gnull/gc) { $row{$column} = undef }
        elsif ($$text =~ /\G'((?:[^']|'')*)'/gc) { $row{$column} = $1 =~ s/''/'/gr }
        elsif ($$text =~ /\G([^ ']+)/gc) { $row{$column} = $1 }
        else { die "no value of $column: $$text" }
        $row{$column} = substr $row{$column}, 0, 1 if $type eq 'boolean' && defined $row{$column};
    }
    return \%row;
}

1;
