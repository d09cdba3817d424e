# Sourced by test.sh and bench.sh: a PostgreSQL server of their own, in a temporary folder, where none is given.
#
# start_postgres sets K6SYNC_TEST_POSTGRES_URL, installing Debian's postgresql when there is none; stop_postgres leaves
# nothing of it behind. The caller has `say` and `fail`.

postgres_folder=
postgres_bin=
postgres_user=
# What is stored of the password `s3cret`, if not the password.
postgres_secret=

# PostgreSQL refuses to run as root.
as_postgres_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$postgres_user" --regid="$(id -g "$postgres_user")" --clear-groups "$@"
    else
        "$@"
    fi
}

find_postgres() {
    local bin
    for bin in $(ls -d /usr/lib/postgresql/*/bin 2> /dev/null | sort -Vr) "$(dirname "$(command -v initdb || echo /none/initdb)")"; do
        if [ -x "$bin/initdb" ] && [ -x "$bin/pg_ctl" ]; then
            postgres_bin=$bin
            return 0
        fi
    done
    return 1
}

install_postgres() {
    say "Installing PostgreSQL"
    local sudo=
    if [ "$(id -u)" != 0 ]; then
        sudo=$(command -v sudo) || fail "PostgreSQL is missing and only root can install it: apt-get install postgresql, or set K6SYNC_TEST_POSTGRES_URL"
    fi
    $sudo apt-get update -q > /dev/null || fail "apt-get update failed; install postgresql by hand, or set K6SYNC_TEST_POSTGRES_URL"
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q postgresql > /dev/null ||
        fail "PostgreSQL could not be installed; install it by hand, or set K6SYNC_TEST_POSTGRES_URL"
}

# PgBouncer, for the test that puts it before PostgreSQL; without it that test says that it shows nothing, and fails where CI=true.
install_pgbouncer() {
    [ -x /usr/sbin/pgbouncer ] || [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null && return
    say "Installing PgBouncer"
    apt-get update -q > /dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q pgbouncer > /dev/null 2>&1 || say "PgBouncer could not be installed"
}

# start_postgres [SETTING…]: the server has these settings, such as fsync=off.
start_postgres() {
    find_postgres || { install_postgres; find_postgres || fail "PostgreSQL was installed, but initdb is not to be found"; }
    postgres_user=postgres
    id "$postgres_user" > /dev/null 2>&1 || postgres_user=nobody
    postgres_folder=$(mktemp -d)
    chmod 711 "$postgres_folder"
    echo "${postgres_secret:-s3cret}" > "$postgres_folder/password"
    if [ "$(id -u)" = 0 ]; then
        chown -R "$postgres_user" "$postgres_folder"
    fi
    # Real passwords, so that a wrong one is refused.
    as_postgres_user "$postgres_bin/initdb" -D "$postgres_folder/data" -U postgres -E UTF8 --no-locale \
        -A scram-sha-256 --pwfile "$postgres_folder/password" > "$postgres_folder/initdb.log" 2>&1 ||
        { cat "$postgres_folder/initdb.log" >&2; fail "initdb failed"; }
    local port attempt settings
    settings=$(printf ' -c %s' listen_addresses=127.0.0.1 "$@")
    for attempt in $(seq 10); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if as_postgres_user "$postgres_bin/pg_ctl" -D "$postgres_folder/data" -l "$postgres_folder/server.log" -w -o \
            "-p $port -k $postgres_folder $settings" start > /dev/null 2>&1; then
            export K6SYNC_TEST_POSTGRES_URL=postgres://postgres:s3cret@127.0.0.1:$port/postgres
            return
        fi
    done
    cat "$postgres_folder/server.log" >&2
    fail "PostgreSQL did not start"
}

stop_postgres() {
    if [ -n "$postgres_folder" ]; then
        as_postgres_user "$postgres_bin/pg_ctl" -D "$postgres_folder/data" -m immediate -w stop > /dev/null 2>&1 || true
        rm -rf "$postgres_folder"
    fi
}
