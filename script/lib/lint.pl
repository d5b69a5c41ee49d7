#!/usr/bin/perl
# The rules that a reviewer would otherwise have to watch over. Prints one line per breach; exit code 1 if there is any.
use strict;
use warnings;

my ($line_limit, $block_limit) = (500, 60);
my $breaches = 0;

my @sources = files(qw(src/*.h src/*.cpp src/*/*.h src/*/*.cpp));
my @others = files(qw(test/unit/*.h test/unit/*.cpp demo/*.h demo/*.cpp bench/*.h bench/*.cpp));

for my $file (@sources) {
    my $text = without_comments(read_file($file));
    check_boundary($file, $text) unless $file eq 'src/boundary.h';
    check_pure($file, $text) unless $file =~ m{(_pg\.(cpp|h)|/pg\.h)$} || $file eq 'src/boundary.h';
}
check_blocks($_) for @sources, @others;
check_lines($_)
  for @sources, @others,
  files(qw(src/*/*.lua sql/*.sql sql/install/*.sql demo/*.sql script/* script/lib/* test/tap/*.pl test/tap/lib/*/*.pm Makefile));
check_tests();
check_format();
exit($breaches ? 1 : 0);

sub files { return grep { -f } map { glob } @_ }

sub read_file {
    my ($file) = @_;
    open my $in, '<', $file or die "$file: $!\n";
    local $/;
    return scalar <$in> // '';
}

sub breach {
    my ($file, $line, $text) = @_;
    print "$file:$line: $text\n";
    $breaches++;
}

sub line_of { my ($text, $offset) = @_; return 1 + (substr($text, 0, $offset) =~ tr/\n//) }

# Comments become blanks of the same length, so line numbers stay right; what looks like one in a string is left.
sub without_comments {
    my ($text) = @_;
    $text =~ s{(//[^\n]*|/\*.*?\*/)|("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])')}
              {defined $1 ? $1 =~ s/[^\n]/ /gr : $2}gse;
    return $text;
}

# A PostgreSQL error and a C++ exception meet in boundary.h only.
sub check_boundary {
    my ($file, $text) = @_;
    while ($text =~ /\b(PG_(?:END_)?TRY|PG_CATCH|PG_FINALLY|PG_RE_THROW|(?:sig)?(?:setjmp|longjmp)|PG_exception_stack)\b/g) {
        breach($file, line_of($text, $-[0]), "$1 belongs in src/boundary.h");
    }
    while ($text =~ /\b(e(?:log|report)(?:_domain)?\s*\(\s*(?:ERROR|PANIC))\b/g) {
        breach($file, line_of($text, $-[0]), "$1 belongs in src/boundary.h: throw Failure instead");
    }
}

# What does not end in _pg must build without PostgreSQL.
sub check_pure {
    my ($file, $text) = @_;
    our $server //= do {
        my $config = $ENV{PG_CONFIG} || '/usr/lib/postgresql/17/bin/pg_config';
        chomp(my $dir = qx('$config' --includedir-server));
        $dir;
    };
    while ($text =~ /^\s*#\s*include\s*[<"]([^>"]+)[>"]/mg) {
        my ($name, $line) = ($1, line_of($text, $-[0]));
        breach($file, $line, "includes $name of PostgreSQL, but its name does not end in _pg") if -f "$server/$name";
        breach($file, $line, "includes $name, but its own name does not end in _pg")
          if $name =~ /(_|^)pg\.h$/ || $name eq 'boundary.h';
    }
}

sub check_lines {
    my ($file) = @_;
    my $lines = () = read_file($file) =~ /\n/g;
    breach($file, $lines, "$lines lines; the limit is $line_limit") if $lines > $line_limit;
}

# A block that is no namespace or type is a function or part of one. The layout is clang-format's, so a block ends where a
# closing brace has the indent of the line that opened it.
sub check_blocks {
    my ($file) = @_;
    my @open;
    my $number = 0;
    my $start = 0;
    for my $line (split /\n/, without_comments(read_file($file))) {
        $number++;
        my ($indent) = $line =~ /^(\s*)/;
        if (@open && $line =~ /^\s*\}/ && $indent eq $open[-1]{indent}) {
            my $block = pop @open;
            my $size = $number - $block->{line} + 1;
            breach($file, $block->{line}, "a function of $size lines; the limit is $block_limit")
              if $size > $block_limit && $block->{code} && !grep { $_->{code} } @open;
        }
        next unless $line =~ /\{\s*$/;
        # A signature may take several lines; the indent that counts is that of its first.
        push @open, { indent => $indent, line => $number,
            code => $line !~ /^\s*(?:\}?\s*)?(?:inline\s+)?(?:namespace|class|struct|union|enum|extern "C"|template|typedef)\b/
              && $line !~ /=\s*\{\s*$/ };
    }
}

# Tests are found by their names: one with another name would never run.
sub check_tests {
    for my $file (files('test/unit/*.cpp')) {
        breach($file, 1, 'would not run: name it *_test.cpp') unless $file =~ /_test\.cpp$/;
    }
    for my $file (files('test/tap/*')) {
        breach($file, 1, 'would not run: name it *.pl') unless $file =~ /\.(pl|md)$/;
    }
    for my $file (files('test/isolation/*')) {
        breach($file, 1, 'would not run: put it into test/isolation/specs') if $file =~ /\.spec$/;
    }
    for my $pair ([ 'sql/*.sql', 'sql', 'expected' ],
        [ 'test/isolation/specs/*.spec', 'test/isolation/specs', 'test/isolation/expected' ]) {
        my ($pattern, undef, $expected) = @$pair;
        my %test;
        for my $file (files($pattern)) {
            my ($name) = $file =~ m{([^/]+)\.\w+$};
            $test{$name} = 1;
            breach($file, 1, "has no $expected/$name.out") unless -f "$expected/$name.out";
        }
        for my $file (files("$expected/*.out")) {
            my ($name) = $file =~ m{([^/]+?)(?:_\d+)?\.out$};
            breach($file, 1, 'belongs to no test') unless $test{$name} || $test{ $name =~ s/_\d+$//r };
        }
    }
}

# Other versions of clang-format lay out differently, so only the one that .clang-format was written for may judge.
sub check_format {
    my ($tool) = grep { (qx($_ --version 2>/dev/null) // '') =~ /version 14\./ } qw(clang-format-14 clang-format);
    if (!$tool) {
        print "note: no clang-format 14 here, so the layout was not checked\n";
        return;
    }
    my @files = (@sources, @others) or return;
    my %bad;
    for (qx($tool --dry-run @files 2>&1)) { $bad{$1} //= $2 if /^(\S+?):(\d+):\d+: (?:warning|error): code should be/ }
    breach($_, $bad{$_}, 'not in the layout of .clang-format: run make format') for sort keys %bad;
}
