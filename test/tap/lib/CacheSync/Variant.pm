# Variants of the extension's library with a bug planted into them, for tests of the tests. What is installed stays as it is:
# a variant has an installation of PostgreSQL of its own, made of links and of a few copied programs.
#
#   my $variants = CacheSync::Variant->prepare($source_directory);
#   my $path = $variants->make('forgets', 'capture/row_change_pg.h', qr/.../, '...', 'capture/row_trigger_pg.cpp');
#   local $ENV{PATH} = "$path/bin:$ENV{PATH}";
package CacheSync::Variant;
use strict;
use warnings;
use Carp qw(croak);
use File::Basename qw(basename dirname);
use File::Path qw(make_path);
use File::Spec;
use POSIX ();
use PostgreSQL::Test::Utils;

# Compiles everything once, quickly and without optimising; a variant then needs a file or two.
sub prepare {
    my ($class, $source) = @_;
    my $dir = PostgreSQL::Test::Utils::tempdir('variants');
    my $self = bless { dir => $dir, source => File::Spec->rel2abs($source), objects => {} }, $class;
    make_path("$dir/common");
    $self->write_library_header;
    my @files = sort map { s{^\Q$self->{source}/\E}{}r } glob("$self->{source}/*.cpp"), glob("$self->{source}/*/*.cpp");
    croak "no sources in $self->{source}" unless @files > 20;
    $self->precompile_headers;
    $self->compile("$dir/common", [], @files);
    return $self;
}

sub output_of { my (@command) = @_; open my $in, '-|', @command or croak "$command[0]: $!"; local $/; return (<$in> // "") =~ s{\s+\z}{}r }
sub slurp { my ($file) = @_; return PostgreSQL::Test::Utils::slurp_file($file) }

sub spew {
    my ($file, $text) = @_;
    make_path(dirname($file));
    open my $out, '>', $file or croak "$file: $!";
    print {$out} $text;
    close $out or croak "$file: $!";
    return $file;
}

# The Redis library as the build embeds it: as parts, because a literal has a limit.
sub write_library_header {
    my ($self) = @_;
    my $text = slurp("$self->{source}/publish/cache_sync.lua");
    my $parts = join "\n", map { qq{R"EMBED($_)EMBED"} } unpack '(a8000)*', $text;
    spew("$self->{dir}/common/cache_sync_lua.h", "#pragma once\nnamespace cache_sync {\ninline constexpr char kCacheSyncLua[] = $parts;\n}\n");
    return;
}

# Most of the time would go into the standard library's headers.
sub precompile_headers {
    my ($self) = @_;
    my %include;
    for my $file (glob("$self->{source}/*.h $self->{source}/*/*.h $self->{source}/*/*.cpp")) {
        $include{$_} = 1 for slurp($file) =~ /^(#include <[a-z_]+>)$/mg;
    }
    my $all = spew("$self->{dir}/common/all.h", join '', map { "$_\n" } sort keys %include);
    run('g++', $self->flags, '-x', 'c++-header', $all, '-o', "$all.gch");
    return;
}

sub flags {
    my ($self) = @_;
    my ($version) = slurp(output_of('pg_config', '--sharedir') . '/extension/cache_sync.control') =~ /^default_version *= *'(.*)'/m;
    return ('-std=c++20', '-O0', '-fPIC', '-fvisibility=hidden', '-fvisibility-inlines-hidden', "-I$self->{source}", "-I$self->{dir}/common",
        '-isystem', output_of('pg_config', '--includedir-server'), split(' ', output_of(qw(pkg-config --cflags hiredis))),
        '-D_GNU_SOURCE', "-DCACHE_SYNC_VERSION=\"$version\"");
}

# Compiles the files into $to, as many at a time as there are processors; the directories in $before come first.
sub compile {
    my ($self, $to, $before, @files) = @_;
    my @command = ('g++', (map { "-I$_" } @$before), $self->flags, '-include', "$self->{dir}/common/all.h", '-c');
    my (%running, @objects);
    my $wait = sub { my $pid = wait; croak "cannot compile $running{$pid}" if $?; delete $running{$pid} };
    for my $file (@files) {
        $wait->() if keys %running >= (output_of('nproc') || 1);
        my ($source) = grep { -f } map { "$_/$file" } @$before, $self->{source};
        my $object = "$to/" . ($file =~ s{/}{.}gr) . '.o';
        push @objects, $self->{objects}{$file} && @$before ? $object : ($self->{objects}{$file} = $object);
        my $pid = fork // croak "fork: $!";
        if ($pid == 0) { exec(@command, '-o', $object, $source) or POSIX::_exit(127) }
        $running{$pid} = $file;
    }
    $wait->() while %running;
    return @objects;
}

# Replaces what the pattern finds in $file (a source or header), compiles @compile again, links, and returns the path of an
# installation with that library.
sub make {
    my ($self, $name, $file, $pattern, $replacement, @compile) = @_;
    my $dir = "$self->{dir}/$name";
    my $text = slurp("$self->{source}/$file");
    my $found = () = $text =~ /$pattern/g;
    croak "$file has changed: the bug \"$name\" has $found places to be planted at" unless $found == 1;
    $text =~ s/$pattern/$replacement/;
    spew("$dir/src/$file", $text);
    my %object = %{ $self->{objects} };
    @object{@compile} = $self->compile($dir, ["$dir/src"], @compile);
    my $installation = $self->installation($dir);
    my $library = output_of("$installation/bin/pg_config", '--pkglibdir') . '/cache_sync.so';
    unlink $library;
    run('g++', '-shared', '-o', $library, (map { $object{$_} } sort keys %object), split ' ', output_of(qw(pkg-config --libs hiredis)));
    return $installation;
}

# PostgreSQL finds its directories from where its program is; a link would lead it back.
sub installation {
    my ($self, $dir) = @_;
    my %original = map { $_ => output_of('pg_config', "--$_") } qw(bindir pkglibdir sharedir);
    my $bin = "$dir/installation/bin";
    make_path($bin);
    for my $program (glob "$original{bindir}/*") {
        my $copied = basename($program) =~ /^(postgres|pg_ctl|pg_config|initdb)$/;
        if ($copied) { run('cp', $program, $bin) }
        else { symlink $program, "$bin/" . basename($program) }
    }
    for my $kind (qw(pkglibdir sharedir)) {
        my $moved = output_of("$bin/pg_config", "--$kind");
        next if $moved eq $original{$kind};
        make_path($moved);
        symlink $_, "$moved/" . basename($_) for glob "$original{$kind}/*";
    }
    croak 'PostgreSQL cannot be moved here' if output_of("$bin/pg_config", '--pkglibdir') eq $original{pkglibdir};
    return "$dir/installation";
}

sub run { my (@command) = @_; system(@command) == 0 or croak "failed: @command"; return }

1;
