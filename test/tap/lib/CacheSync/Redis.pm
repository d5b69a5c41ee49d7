# A private Redis or Valkey server for one test, on a port that it keeps over restarts. Nothing is written to disk unless
# the configuration asks for it, so a restart comes back empty.
#
#   my $redis = CacheSync::Redis->new(flavour => 'valkey', conf => [ 'maxmemory 10mb' ]);
#   $redis->command('SET', 'k', 'v'); $redis->kill9; $redis->start; $redis->stop;
package CacheSync::Redis;
use strict;
use warnings;
use Carp qw(croak);
use Errno;
use POSIX ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use CacheSync::RespClient;

my %alive;    # pid -> process that started it
my $count = 0;

# flavour: redis or valkey ($CACHE_SYNC_FLAVOUR or valkey); conf: lines of its configuration file; password: requirepass;
# start => 0: do not start yet
sub new {
    my ($class, %option) = @_;
    my $flavour = $option{flavour} // $ENV{CACHE_SYNC_FLAVOUR} // 'valkey';
    croak "unknown flavour $flavour" unless $flavour =~ /^(redis|valkey)$/;
    $count++;
    my $name = $option{name} // "$flavour$count";
    my $self = bless {
        flavour => $flavour,
        name => $name,
        port => PostgreSQL::Test::Cluster::get_free_port(),
        dir => PostgreSQL::Test::Utils::tempdir("redis_$name"),
        log => "$PostgreSQL::Test::Utils::log_path/" . test_name() . "_$name.log",
        password => $option{password},
        conf => $option{conf} // [],
    }, $class;
    $self->start if $option{start} // 1;
    return $self;
}

sub port { return $_[0]{port} }
sub pid { return $_[0]{pid} }
sub flavour { return $_[0]{flavour} }
sub dir { return $_[0]{dir} }
sub log_content { return PostgreSQL::Test::Utils::slurp_file($_[0]{log}) }

# What CREATE SERVER wants; the password belongs in the user mapping.
sub url { my ($self, $database) = @_; return "redis://127.0.0.1:$self->{port}/" . ($database // 0) }

# Adds lines to the configuration; they count from the next start.
sub append_conf { my ($self, @lines) = @_; push @{ $self->{conf} }, @lines; return }

# Starts the server on its port and waits until it answers.
sub start {
    my ($self) = @_;
    croak "$self->{name} runs already" if $self->{pid};
    $self->write_conf;
    my $pid = fork // croak "fork: $!";
    if ($pid == 0) {
        open STDIN, '<', '/dev/null';
        open STDOUT, '>>', $self->{log} or POSIX::_exit(127);
        open STDERR, '>&', \*STDOUT;
        exec { "$self->{flavour}-server" } "$self->{flavour}-server", "$self->{dir}/server.conf" or POSIX::_exit(127);
    }
    $self->{pid} = $pid;
    $alive{$pid} = $$;
    $self->wait_until_up;
    return $self;
}

# Stops it in order: clients see their connection close.
sub stop { my ($self) = @_; return $self->end_with('TERM') }

# Stops it as a crash would.
sub kill9 { my ($self) = @_; return $self->end_with('KILL') }

sub restart { my ($self) = @_; $self->stop; return $self->start }

# Stops answering with all connections open, and goes on again: a hanging server.
sub suspend { my ($self) = @_; kill 'STOP', $self->{pid}; return }
sub resume { my ($self) = @_; kill 'CONT', $self->{pid}; return }

# A new connection, signed in if the server wants a password. client(timeout => seconds, database => number)
sub client {
    my ($self, %option) = @_;
    my $client = CacheSync::RespClient->new(port => $self->{port}, timeout => $option{timeout} // 30);
    $client->command('AUTH', $self->{password}) if defined $self->{password};
    $client->command('SELECT', $option{database}) if $option{database};
    return $client;
}

# These use one connection that is kept for them.
sub command { my ($self, @words) = @_; return $self->own_client->command(@words) }
sub reply { my ($self, @words) = @_; return $self->own_client->reply(@words) }
sub pipeline { my ($self, @commands) = @_; return $self->own_client->pipeline(@commands) }

# A new connection that listens to the channels.
sub subscribe { my ($self, @channels) = @_; return $self->client->subscribe(@channels) }

# A section of INFO as a hash reference.
sub info {
    my ($self, @section) = @_;
    return { map { /^([^#:]+):(.*?)\r?$/ ? ($1, $2) : () } split /\n/, $self->command('INFO', @section) };
}

sub own_client { my ($self) = @_; return $self->{client} //= $self->client }

sub write_conf {
    my ($self) = @_;
    open my $out, '>', "$self->{dir}/server.conf" or croak "server.conf: $!";
    print {$out} "bind 127.0.0.1\nport $self->{port}\ndir $self->{dir}\nsave \"\"\nappendonly no\n";
    print {$out} 'requirepass "' . $self->{password} =~ s/(["\\])/\\$1/gr . "\"\n" if defined $self->{password};
    print {$out} "$_\n" for @{ $self->{conf} };
    close $out or croak "server.conf: $!";
    return;
}

# Another server might hold the port, so the pid that answers must be the one started here.
sub wait_until_up {
    my ($self) = @_;
    my $deadline = time + $PostgreSQL::Test::Utils::timeout_default;
    while (time < $deadline) {
        if (waitpid($self->{pid}, POSIX::WNOHANG()) == $self->{pid}) {
            delete $alive{ delete $self->{pid} };
            croak "$self->{name} did not start:\n" . $self->log_content;
        }
        my $pid = eval { $self->info('server')->{process_id} } // 0;
        return if $pid == $self->{pid};
        delete $self->{client};
        usleep(10_000);
    }
    croak "$self->{name} did not answer in time";
}

sub end_with {
    my ($self, $signal) = @_;
    my $pid = delete $self->{pid} // return $self;
    delete $self->{client};
    kill 'CONT', $pid;
    kill $signal, $pid;
    1 until waitpid($pid, 0) != -1 || !$!{EINTR};
    delete $alive{$pid};
    return $self;
}

sub test_name { my ($name) = $0 =~ m{([^/]+?)(?:\.\w+)?$}; return $name }

END {
    # The exit code of the test must survive the waiting.
    my $code = $?;
    for my $pid (grep { $alive{$_} == $$ } keys %alive) {
        kill 'KILL', $pid;
        waitpid $pid, 0;
    }
    $? = $code;
}

1;
