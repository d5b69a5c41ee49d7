#!/usr/bin/perl
# Prints an APT source of Debian 13 (trixie) derived from this machine's own Debian 12 source: same place, same key, same
# options, other suite. Reads both source formats below the directory given (default /etc/apt). Exit 1: nothing found.
# Uses no module: a minimal Debian has only perl-base.
use strict;
use warnings;

my $root = shift // '/etc/apt';
my %known_suite = map { $_ => 1 } qw(bookworm oldstable stable);

# Where APT itself says that a source is Debian's, its word counts: others also name their suites "bookworm".
my %is_debian;
if (open my $pipe, '-|', "apt-get indextargets --format '\$(ORIGIN)|\$(CODENAME)|\$(REPO_URI)' 2>/dev/null") {
    while (<$pipe>) {
        chomp;
        my ($origin, $codename, $uri) = split /\|/;
        $is_debian{ with_slash($uri) } = 1 if ($origin // '') eq 'Debian' && $codename eq 'bookworm';
    }
    close $pipe;
}

my @found;
for my $file (glob("$root/sources.list $root/sources.list.d/*.list $root/sources.list.d/*.sources")) {
    next unless -f $file;
    open my $in, '<', $file or die "$file: $!\n";
    my $text = do { local $/; <$in> };
    push @found, grep { suits($_) } $file =~ /\.sources$/ ? stanzas($text) : lines($text);
}
my ($best) = sort { score($b) <=> score($a) } @found;
exit 1 unless $best;

print "# Written by cache_sync's script/bootstrap: Debian 13 for what Debian 12 lacks, pinned low in preferences.d.\n";
print "Types: deb\nURIs:", $best->{uris}, "\nSuites: trixie\nComponents: main\n";
print "$_->[0]:$_->[1]\n" for @{ $best->{rest} };

sub with_slash { my ($uri) = @_; $uri =~ s{/*$}{/}; return $uri }

sub words { my ($text) = @_; return split ' ', $text // '' }

# An entry that may be Debian's main archive.
sub suits {
    my ($entry) = @_;
    return (grep { $known_suite{$_} } words($entry->{suites}))
      && (grep { $_ eq 'main' } words($entry->{components}))
      && $entry->{uris} !~ /cdrom:/;
}

sub score {
    my ($entry) = @_;
    my @uris = words($entry->{uris});
    return 2 if grep { $is_debian{ with_slash($_) } } @uris;
    return 1 if grep { m{/debian/?$} } @uris;
    return 0;
}

# Entries of a .sources file; a continued line (an inline key) stays as it is.
sub stanzas {
    my ($text) = @_;
    my @entries;
    for my $stanza (split /\n[ \t]*\n/, $text) {
        my (%field, @rest);
        $stanza =~ s/^#.*\n?//mg;
        while ($stanza =~ /^([\w-]+):((?:.*)(?:\n[ \t].*)*)/mg) {
            my ($name, $value) = (lc $1, $2);
            $field{$name} = $value;
            push @rest, [ $1, $2 ] unless $name =~ /^(types|uris|suites|components|enabled|languages|targets)$/;
        }
        next if ($field{enabled} // 'yes') =~ /^\s*(no|false|0|off|without|disable)\s*$/i;
        next unless grep { $_ eq 'deb' } words($field{types});
        push @entries,
          { uris => $field{uris} // '', suites => $field{suites}, components => $field{components}, rest => \@rest };
    }
    return @entries;
}

# Entries of a one-line file: deb [option=value ...] URI suite component ...
sub lines {
    my ($text) = @_;
    my @entries;
    for my $line (split /\n/, $text) {
        next unless $line =~ /^\s*deb\s+(?:\[([^]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)/;
        my ($options, $uri, $suite, $components) = ($1, $2, $3, $4);
        my %name_of = ('signed-by' => 'Signed-By', arch => 'Architectures', trusted => 'Trusted',
            'check-valid-until' => 'Check-Valid-Until', 'allow-insecure' => 'Allow-Insecure');
        my @rest;
        for (words($options)) {
            my ($name, $value) = split /=/, $_, 2;
            $value =~ tr/,/ /;
            push @rest, [ $name_of{ lc $name }, " $value" ] if $name_of{ lc $name };
        }
        push @entries, { uris => " $uri", suites => $suite, components => $components, rest => \@rest };
    }
    return @entries;
}
