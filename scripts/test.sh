#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, what we build with, unit, property and integration tests.
#
# The integration tests run on SQLite and on PostgreSQL: the server at K6SYNC_TEST_POSTGRES_URL, or one that this script
# starts in a temporary folder (installing Debian's postgresql when there is none). With KUBEBUILDER_ASSETS naming a
# folder with etcd and kube-apiserver they run against a real API server, else against the stand-in alone.
# Arguments go to `cargo test`, such as: scripts/test.sh --test it recording. What we build with is checked without them only:
# where there is no cargo-deny, the first run builds one in target/tools.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
fail() { echo "test.sh: $*" >&2; exit 1; }
. scripts/postgres.sh

for tool in cargo cc; do
    command -v "$tool" > /dev/null || fail "$tool is missing; install Rust from https://rustup.rs and a C compiler (apt-get install build-essential)"
done
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for program in etcd kube-apiserver; do
        [ -x "$KUBEBUILDER_ASSETS/$program" ] || fail "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, but has no $program"
    done
fi

log=
figures=
supply_chain=
cleanup() {
    rm -f "$log" "$figures" "$supply_chain"
    stop_postgres
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say "Format"
cargo fmt --all --check
say "Lints"
cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
supply_chain=$(mktemp)
if [ $# = 0 ]; then
    say "Licences, sources and known problems of what we build with"
    scripts/supply-chain.sh --install 2>&1 | tee "$supply_chain"
fi

if [ -z "${K6SYNC_TEST_POSTGRES_URL:-}" ]; then
    # The password `s3cret`, hashed once instead of 4096 times as servers store it: the latter takes a program that is not
    # optimized longer than most of what the tests do with a connection.
    postgres_secret='SCRAM-SHA-256$1:azZzeW5jIHRlc3RzIDAxNg==$JS//nn/bDz52rXNlOOU7uVhilHlKYuB6GT/QwVad23s=:Gpv/dX+7n5YXGy0jbuNi3bzZCJcKEYWzTW3PHDZGedE='
    # No fsync, since nothing here is to be kept.
    start_postgres fsync=off max_connections=300
    say "Tests, on SQLite and on $("$postgres_bin/postgres" --version)"
else
    say "Tests, on SQLite and on the PostgreSQL at K6SYNC_TEST_POSTGRES_URL"
fi
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    say "against $("$KUBEBUILDER_ASSETS/kube-apiserver" --version) with the stand-in as kubelet"
else
    say "against the stand-in cluster (set KUBEBUILDER_ASSETS for a real API server)"
fi
install_pgbouncer
log=$(mktemp)
figures=$(mktemp)
export K6SYNC_TEST_FIGURES=$figures
# Most of the integration tests wait most of the time, for what happens every few seconds.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}
# A failing test is told after the sum.
status=0
cargo test --workspace --locked "$@" 2>&1 | tee "$log" || status=$?
# Fields of $figures: scenario, database, kills, faults, lines, lost, doubled, gaps expected, gaps found.
if [ -s "$figures" ]; then
    say "The record under faults (docs/guarantees.md)"
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
# Not an error, and not to be overlooked.
grep 'NOT CHECKED' "$supply_chain" || true
exit "$status"
