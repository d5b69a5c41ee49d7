# A PostgreSQL cluster with cache_sync in it: PostgreSQL::Test::Cluster, already initialised, started and registered.
#
#   my $redis = CacheSync::Redis->new;
#   my $node = CacheSync::Cluster->new('main', redis => $redis, conf => "cache_sync.batch_keys = 100\n");
#   $node->safe_psql('postgres', 'INSERT ...'); $node->drain;
#   wait_for('the key is gone', sub { !$redis->command('EXISTS', 'k') });
package CacheSync::Cluster;
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use POSIX ();
use Time::HiRes qw(time usleep);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More ();
our @ISA = ('PostgreSQL::Test::Cluster');
our @EXPORT_OK = qw(wait_for);

# redis: a CacheSync::Redis that becomes the target "main", or a hash of target name -> CacheSync::Redis;
# conf: more lines of postgresql.conf; options: server options of every target; streaming => 1: can have standbys and
# logical replication; extension => 0: neither extension nor target is made; start => 0: only initialised;
# bare => 1: not even that, for init_from_backup
sub new {
    my ($class, $name, %option) = @_;
    my $self = $class->SUPER::new($name);
    return $self if $option{bare};
    $self->init(allows_streaming => $option{streaming} ? 'logical' : 0);
    $self->append_conf('postgresql.conf', base_conf() . ($option{conf} // ''));
    return $self unless $option{start} // 1;
    $self->start;
    return $self unless $option{extension} // 1;
    $self->safe_psql('postgres', 'CREATE EXTENSION cache_sync');
    my $redis = $option{redis} // {};
    my %target = ref $redis eq 'HASH' ? %$redis : (main => $redis);
    $self->add_target($_, $target{$_}, %{ $option{options} // {} }) for sort keys %target;
    return $self;
}

# After a crash of one process the server must come back, as it does in real life; script/test fails on a crash that no
# test asked for. Streaming clusters are set up too small by PostgreSQL::Test::Cluster.
sub base_conf {
    return <<'CONF';
shared_preload_libraries = 'cache_sync'
max_prepared_transactions = 10
max_connections = 40
max_worker_processes = 32
shared_buffers = 32MB
restart_after_crash = on
log_min_messages = info
log_statement = mod
CONF
}

# Makes a target; further options as in CREATE SERVER. add_target('main', $redis, prefix => 'a:')
sub add_target {
    my ($self, $name, $redis, %option) = @_;
    $option{url} //= $redis->url;
    my $options = join ', ', map { "$_ " . quoted($option{$_}) } sort keys %option;
    $self->safe_psql('postgres', "CREATE SERVER \"$name\" FOREIGN DATA WRAPPER cache_sync OPTIONS ($options)");
    if (defined $redis && defined $redis->{password}) {
        my $password = quoted($redis->{password});
        $self->safe_psql('postgres', "CREATE USER MAPPING FOR PUBLIC SERVER \"$name\" OPTIONS (password $password)");
    }
    return;
}

sub quoted { my ($text) = @_; return "'" . $text =~ s/'/''/gr . "'" }

# Waits until every committed change is published; dies if that takes too long.
sub drain {
    my ($self, $database, $seconds) = @_;
    $seconds //= 60;
    my $done = $self->safe_psql($database // 'postgres', "SELECT cache_sync.drain('$seconds seconds')");
    return if $done eq 't';
    croak "not everything was published within $seconds s; targets:\n"
      . $self->safe_psql($database // 'postgres', 'SELECT * FROM cache_sync.targets');
}

# The pid of the database's publisher; waits until there is one, and one that is not the given pid.
sub publisher_pid {
    my ($self, $database, %option) = @_;
    $database //= 'postgres';
    my $pid;
    $self->poll_until(
        "a publisher of $database",
        sub {
            $pid = $self->safe_psql($database,
                "SELECT pid FROM cache_sync.workers WHERE role = 'publisher' AND datname = current_database()");
            return $pid =~ /^\d+$/ && $pid != ($option{not} // 0);
        });
    return $pid;
}

# Kills one process of the cluster as the kernel would, and waits until it is gone; without a pid the postmaster.
sub kill9 {
    my ($self, $pid) = @_;
    return $self->kill_postmaster unless defined $pid;
    kill 'KILL', $pid or croak "kill $pid: $!";
    $self->poll_until("the end of process $pid", sub { !kill 0, $pid });
    return;
}

# Where init is slow to collect the dead, a killed postmaster keeps its pid, and no new one would start beside it. So the pid
# file gets one that nobody has; what else is in the file still holds off a start while old processes use the memory.
sub kill_postmaster {
    my ($self) = @_;
    my $pid = $self->{_pid};
    $self->SUPER::kill9;
    $self->poll_until("the end of postmaster $pid", sub { !kill(0, $pid) || is_zombie($pid) });
    return unless kill 0, $pid;
    my $nobody = fork // croak "fork: $!";
    POSIX::_exit(0) if $nobody == 0;
    waitpid $nobody, 0;
    my $file = $self->data_dir . '/postmaster.pid';
    my $text = PostgreSQL::Test::Utils::slurp_file($file) =~ s/^\d+/$nobody/r;
    open my $out, '>', $file or croak "$file: $!";
    print {$out} $text;
    close $out or croak "$file: $!";
    return;
}

sub is_zombie {
    my ($pid) = @_;
    open my $in, '<', "/proc/$pid/stat" or return 1;
    return (<$in> // '') =~ /^\d+ \(.*\) [ZX]/s;
}

# Waits until the target has the given state (of cache_sync.targets).
sub wait_for_target {
    my ($self, $name, $state, $database) = @_;
    return $self->poll_until(
        "target $name is $state",
        sub {
            $self->safe_psql($database // 'postgres', "SELECT state FROM cache_sync.targets WHERE name = '$name'") eq
              $state;
        });
}

# Runs the check (a sub, or SQL that must yield t) until it is true; dies with the text when it never is.
sub poll_until {
    my ($self, $what, $check, $seconds) = @_;
    my $sql = ref $check ? undef : $check;
    $check = sub { ($self->psql('postgres', $sql))[1] eq 't' }
      if defined $sql;
    my $deadline = time + ($seconds // $PostgreSQL::Test::Utils::timeout_default);
    while (1) {
        # While the server restarts a query may fail: that is "not yet".
        my $yes = eval { $check->() };
        return 1 if $yes;
        if (time >= $deadline) {
            Test::More::diag("last error: $@") if $@;
            croak "timed out waiting for: $what";
        }
        usleep(20_000);
    }
}

# The same as a function, for what concerns no cluster: wait_for('text', sub { ... }, seconds)
sub wait_for { my ($what, $check, $seconds) = @_; return poll_until(undef, $what, $check, $seconds) }

1;
