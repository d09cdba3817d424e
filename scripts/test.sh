#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, unit, property and integration tests.
#
# The integration tests run on SQLite and on PostgreSQL: the server at K6SYNC_TEST_POSTGRES_URL, or one that this script
# starts in a temporary folder (installing Debian's postgresql when there is none). With KUBEBUILDER_ASSETS naming a
# folder with etcd and kube-apiserver they run against a real API server, else against the stand-in alone.
# Arguments go to `cargo test`, such as: scripts/test.sh --test it recording
set -euo pipefail
cd "$(dirname "$0")/.."

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
fail() { echo "test.sh: $*" >&2; exit 1; }

for tool in cargo cc; do
    command -v "$tool" > /dev/null || fail "$tool is missing; install Rust from https://rustup.rs and a C compiler (apt-get install build-essential)"
done
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for program in etcd kube-apiserver; do
        [ -x "$KUBEBUILDER_ASSETS/$program" ] || fail "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, but has no $program"
    done
fi

folder=
postgres_bin=
log=
figures=
cleanup() {
    rm -f "$log" "$figures"
    if [ -n "$folder" ]; then
        as_server_user "$postgres_bin/pg_ctl" -D "$folder/data" -m immediate -w stop > /dev/null 2>&1 || true
        rm -rf "$folder"
    fi
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# PostgreSQL refuses to run as root.
as_server_user() {
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid="$server_user" --regid="$(id -g "$server_user")" --clear-groups "$@"
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

start_postgres() {
    find_postgres || { install_postgres; find_postgres || fail "PostgreSQL was installed, but initdb is not to be found"; }
    server_user=postgres
    id "$server_user" > /dev/null 2>&1 || server_user=nobody
    folder=$(mktemp -d)
    chmod 711 "$folder"
    echo s3cret > "$folder/password"
    if [ "$(id -u)" = 0 ]; then
        chown -R "$server_user" "$folder"
    fi
    # Real passwords, so that a wrong one is refused; no fsync, since nothing here is to be kept.
    as_server_user "$postgres_bin/initdb" -D "$folder/data" -U postgres -E UTF8 --no-locale \
        -A scram-sha-256 --pwfile "$folder/password" > "$folder/initdb.log" 2>&1 || { cat "$folder/initdb.log" >&2; fail "initdb failed"; }
    local port attempt
    for attempt in $(seq 10); do
        port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
        if as_server_user "$postgres_bin/pg_ctl" -D "$folder/data" -l "$folder/server.log" -w -o \
            "-p $port -k $folder -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=300" start > /dev/null 2>&1; then
            export K6SYNC_TEST_POSTGRES_URL=postgres://postgres:s3cret@127.0.0.1:$port/postgres
            return
        fi
    done
    cat "$folder/server.log" >&2
    fail "PostgreSQL did not start"
}

say "Format"
cargo fmt --all --check
say "Lints"
cargo clippy --quiet --workspace --all-targets --locked -- -D warnings

if [ -z "${K6SYNC_TEST_POSTGRES_URL:-}" ]; then
    start_postgres
    say "Tests, on SQLite and on $("$postgres_bin/postgres" --version)"
else
    say "Tests, on SQLite and on the PostgreSQL at K6SYNC_TEST_POSTGRES_URL"
fi
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    say "against $("$KUBEBUILDER_ASSETS/kube-apiserver" --version) with the stand-in as kubelet"
else
    say "against the stand-in cluster (set KUBEBUILDER_ASSETS for a real API server)"
fi
log=$(mktemp)
figures=$(mktemp)
export K6SYNC_TEST_FIGURES=$figures
# A failing test is told after the sum.
status=0
cargo test --workspace --locked "$@" 2>&1 | tee "$log" || status=$?
# Fields of $figures: scenario, database, kills, faults, lines, lost, doubled, gaps expected, gaps found.
if [ -s "$figures" ]; then
    say "The record under faults (README: What is promised)"
    sort "$figures" | awk -F '\t' '
        function row(name, database) {
            printf "  %-20s %-10s %7s %7s %9s %6s %8s %9s %6s\n", name, database, k, f, l, lost, doubled, expected, found
        }
        BEGIN {
            k = "kills"; f = "faults"; l = "lines"; lost = "lost"; doubled = "doubled"; expected = "gaps exp."; found = "found"
            row("scenario", "database")
        }
        {
            k = $3; f = $4; l = $5; lost = $6; doubled = $7; expected = $8; found = $9
            row($1, $2)
            for (i = 3; i <= 9; i++) sum[i] += $i
        }
        END {
            k = sum[3]; f = sum[4]; l = sum[5]; lost = sum[6]; doubled = sum[7]; expected = sum[8]; found = sum[9]
            row(NR " scenarios", "")
        }'
fi
say "All of them"
sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log" |
    awk '{passed += $1; failed += $2} END {printf "%d passed, %d failed\n", passed, failed}'
exit "$status"
