# Private servers for the scripts: a PostgreSQL cluster and Redis or Valkey servers that live in one directory and are
# stopped by process id. Source this file from bash; every function is named cs_* and returns non-zero on failure.
#
#   dir=$(cs_work_dir demo)
#   cs_start_postgres "$dir" "max_prepared_transactions = 10"
#   cs_psql "$dir" -c 'SELECT 1'
#   port=$(cs_free_port); cs_start_redis "$dir" valkey "$port"
#   cs_stop_redis "$dir"; cs_stop_postgres "$dir"

# The caller's PGHOST, PGPORT, PGOPTIONS ... would steer psql away from the private cluster.
for cs_name in ${!PG*}; do
  case $cs_name in PG_CONFIG) ;; *_*) ;; *) unset "$cs_name" ;; esac
done
unset cs_name

cs_error() { printf 'error: %s\n' "$*" >&2; }

# Prints the path of PostgreSQL 17's pg_config: $PG_CONFIG, the place where Debian puts it, or the one in PATH.
cs_pg_config() {
  local candidate
  for candidate in "${PG_CONFIG:-}" /usr/lib/postgresql/17/bin/pg_config /usr/pgsql-17/bin/pg_config \
    "$(command -v pg_config || true)"; do
    [ -n "$candidate" ] && [ -x "$candidate" ] || continue
    case $("$candidate" --version) in
      "PostgreSQL 17"*) printf '%s\n' "$candidate"; return 0 ;;
    esac
  done
  cs_error "no pg_config of PostgreSQL 17 found; run script/bootstrap or set PG_CONFIG"
  return 1
}

# Prints the directory of PostgreSQL 17's programs.
cs_bindir() {
  local config
  config=$(cs_pg_config) || return 1
  "$config" --bindir
}

# Prints the name of the user who runs the private servers. PostgreSQL refuses root.
cs_server_user() {
  if [ "$(id -u)" -eq 0 ]; then printf 'postgres\n'; else id -un; fi
}

# Runs a command as the servers' user, from / because that user may not be able to enter the current directory.
cs_as_server() {
  if [ "$(id -u)" -eq 0 ]; then
    (cd / && exec runuser -u postgres -- env HOME="$(getent passwd postgres | cut -d: -f6)" USER=postgres \
      LOGNAME=postgres "$@")
  else
    (cd / && exec "$@")
  fi
}

# Makes a directory that only the servers' user (and root) can enter and prints its path. cs_work_dir NAME
cs_work_dir() {
  local base=${TMPDIR:-/tmp} dir
  # A socket path may have 107 bytes, and another user's TMPDIR is often closed to the server.
  if [ ${#base} -gt 60 ] || ! cs_as_server test -w "$base"; then base=/tmp; fi
  dir=$(mktemp -d "$base/cache_sync_$1.XXXXXX") || return 1
  chmod 700 "$dir" && chown "$(cs_server_user)" "$dir" && printf '%s\n' "$dir"
}

# Prints a TCP port of 127.0.0.1 that is free now.
cs_free_port() {
  perl -MIO::Socket::INET -e '
    my $s = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 0, Listen => 1) or die "no free port: $!\n";
    print $s->sockport, "\n";'
}

# Starts a new private cluster with cache_sync preloaded: superuser postgres, no password, socket in DIR, no TCP.
# cs_start_postgres DIR [CONF-LINE...]   a CONF-LINE of - takes more lines from standard input
# Data is in DIR/pgdata, the log in DIR/postgres.log. A cluster that is already there is started again as it is.
cs_start_postgres() {
  local dir=$1 bindir
  shift
  bindir=$(cs_bindir) || return 1
  if ! cs_as_server test -f "$dir/pgdata/PG_VERSION"; then
    cs_as_server "$bindir/initdb" -D "$dir/pgdata" -A trust --no-sync -U postgres --no-locale --encoding=UTF8 \
      > "$dir/initdb.log" 2>&1 || { cat "$dir/initdb.log" >&2; return 1; }
    cs_postgres_conf "$dir" "$@" | cs_as_server tee -a "$dir/pgdata/postgresql.conf" > /dev/null || return 1
  fi
  # pg_ctl's child keeps its descriptors: none may be a pipe that the caller reads to its end.
  if ! cs_as_server "$bindir/pg_ctl" start -w -t 60 -D "$dir/pgdata" -l "$dir/postgres.log" \
    < /dev/null > "$dir/pg_ctl.log" 2>&1; then
    cs_error "the private PostgreSQL in $dir did not start:"
    cs_as_server cat "$dir/pg_ctl.log" "$dir/postgres.log" >&2
    return 1
  fi
}

# Prints the settings of a private cluster; later lines win. cs_postgres_conf DIR [CONF-LINE...]
cs_postgres_conf() {
  local dir=$1 line
  shift
  cat << CONF
listen_addresses = ''
port = 5432
unix_socket_directories = '$dir'
shared_preload_libraries = 'cache_sync'
max_connections = 50
max_prepared_transactions = 10
shared_buffers = 64MB
log_line_prefix = '%m [%p] %b %q%a '
CONF
  for line in "$@"; do
    if [ "$line" = - ]; then cat; else printf '%s\n' "$line"; fi
  done
}

# Stops the private cluster in DIR; no error if it does not run. cs_stop_postgres DIR [fast|immediate]
cs_stop_postgres() {
  local dir=$1 mode=${2:-fast} bindir
  bindir=$(cs_bindir) || return 1
  cs_as_server test -f "$dir/pgdata/postmaster.pid" || return 0
  cs_as_server "$bindir/pg_ctl" stop -w -t 60 -m "$mode" -D "$dir/pgdata" > /dev/null
}

# Runs psql in the private cluster as its superuser, stopping at the first error. cs_psql DIR [PSQL-ARGUMENT...]
cs_psql() {
  local dir=$1 bindir
  shift
  bindir=$(cs_bindir) || return 1
  cs_as_server "$bindir/psql" -X -q -v ON_ERROR_STOP=1 -h "$dir" -p 5432 -U postgres "$@"
}

# Starts a private server on 127.0.0.1:PORT that writes nothing to disk, and waits until it answers.
# cs_start_redis DIR redis|valkey PORT [OPTION...]   its pid is in DIR/redis-PORT.pid, its log in DIR/redis-PORT.log
cs_start_redis() {
  local dir=$1 flavour=$2 port=$3 pid tries
  shift 3
  command -v "$flavour-server" > /dev/null || { cs_error "$flavour-server is not installed; run script/bootstrap"; return 1; }
  [ -z "$(cs_redis_pid "$dir" "$port")" ] || { cs_error "port $port: already started in $dir"; return 1; }
  cs_as_server "$flavour-server" --bind 127.0.0.1 --port "$port" --dir "$dir" --save "" --appendonly no \
    --daemonize yes --pidfile "$dir/redis-$port.pid" --logfile "$dir/redis-$port.log" "$@" < /dev/null > /dev/null
  for ((tries = 0; tries < 500; tries++)); do
    pid=$(cs_redis_pid "$dir" "$port")
    # Another server may hold the port: it is ours only if it names the pid of our file.
    if [ -n "$pid" ] && "$flavour-cli" -h 127.0.0.1 -p "$port" info server 2> /dev/null | tr -d '\r' |
      grep -qx "process_id:$pid"; then
      return 0
    fi
    sleep 0.02
  done
  cs_error "$flavour-server did not start on port $port:"
  cs_as_server cat "$dir/redis-$port.log" >&2
  return 1
}

# Prints the pid of the server started in DIR on PORT if it lives. cs_redis_pid DIR PORT
cs_redis_pid() {
  local pid
  pid=$(cs_as_server cat "$1/redis-$2.pid" 2> /dev/null) || return 0
  # A pid file may outlive its process, and the pid may belong to somebody else by then.
  if [ -n "$pid" ] && tr '\0' ' ' 2> /dev/null < "/proc/$pid/cmdline" | grep -q -- "-server .*:$2\b"; then
    printf '%s\n' "$pid"
  fi
}

# Stops the servers that cs_start_redis started in DIR, or only the one on PORT. cs_stop_redis DIR [PORT]
cs_stop_redis() {
  local dir=$1 file port pid tries
  for file in "$dir"/redis-${2:-*}.pid; do
    port=${file##*/redis-}
    port=${port%.pid}
    pid=$(cs_redis_pid "$dir" "$port")
    [ -n "$pid" ] || continue
    cs_as_server kill "$pid" 2> /dev/null || true
    for ((tries = 0; tries < 500; tries++)); do
      [ -n "$(cs_redis_pid "$dir" "$port")" ] || continue 2
      sleep 0.02
    done
    cs_as_server kill -9 "$pid" 2> /dev/null || true
  done
}
