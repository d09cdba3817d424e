#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, what we build with, unit, property and integration tests.
#
# The integration tests run on SQLite and on PostgreSQL: the server at K6SYNC_TEST_POSTGRES_URL, or one that this script
# starts in a temporary folder (installing Debian's postgresql when there is none). With KUBEBUILDER_ASSETS naming a
# folder with etcd and kube-apiserver they run against a real API server, else against the stand-in alone.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
fail() { echo "test.sh: $*" >&2; exit 1; }
. scripts/postgres.sh

usage() {
    cat << 'END'
Usage: scripts/test.sh                     everything that must hold before a change lands
       scripts/test.sh --quick             what a minute allows: format, lints, all tests that need no cluster, and a few on
                                           both databases; what we build with is not checked
       scripts/test.sh --help              this
       scripts/test.sh ARGUMENT…           format, lints, and `cargo test` with these arguments: --test it hold::

K6SYNC_TEST_POSTGRES_URL  a PostgreSQL on which databases may be made, else one is started
KUBEBUILDER_ASSETS        a folder with etcd and kube-apiserver, to test against a real API server
RUST_TEST_THREADS         tests at a time, else three for each core
END
}

# Run on both databases by --quick; together they take some seconds.
smoke=(
    clusters::another_cluster_is_refused_before_anything_is_written
    control::each_cycle_leaves_a_row
    control::migrate_makes_the_tables_once
    hold::a_test_run_is_held_until_its_logs_are_recorded
    logs::odd_bytes_become_text
    progress::how_far_long_work_is_shows_on_a_terminal_and_nowhere_else
    prune::old_logs_and_cycles_are_deleted_and_marked
    recording::every_log_is_stored_byte_for_byte
    steps::asked_for::a_step_that_was_asked_for_is_synced_as_an_adopted_one
)

quick=
case "${1:-}" in
    --help | -h)
        usage
        exit
        ;;
    --quick)
        quick=yes
        shift
        if [ $# != 0 ]; then
            echo "test.sh: --quick takes no other argument" >&2
            usage >&2
            exit 2
        fi
        ;;
esac
# What cargo does not know is refused before anything is done.
for_cargo=()
for argument in "$@"; do
    [ "$argument" != -- ] || break
    for_cargo+=("$argument")
done
if ! refused=$(cargo test "${for_cargo[@]}" --help 2>&1 > /dev/null); then
    printf '%s\n\n' "$refused" >&2
    usage >&2
    exit 2
fi

for tool in cargo cc; do
    command -v "$tool" > /dev/null || fail "$tool is missing; install Rust from https://rustup.rs and a C compiler (apt-get install build-essential)"
done
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    for program in etcd kube-apiserver; do
        [ -x "$KUBEBUILDER_ASSETS/$program" ] || fail "KUBEBUILDER_ASSETS is $KUBEBUILDER_ASSETS, but has no $program"
    done
fi

# Debian's checkers of HTML and XML, for the files of `k6sync report`; without them its tests say that they show less, and fail
# where CI=true.
install_checkers() {
    if command -v tidy > /dev/null && command -v xmllint > /dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then return; fi
    say "Installing tidy and xmllint"
    apt-get update -q > /dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q tidy libxml2-utils > /dev/null 2>&1 || say "tidy and xmllint could not be installed"
}

# A browser and what drives it, and axe-core, which looks for what keeps people out; without them the tests of the pages say that they
# show less, and fail where CI=true.
axe_version=4.14.1
axe_sha256=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
install_browser() {
    if [ ! -f target/tools/axe.min.js ]; then
        say "Fetching axe-core $axe_version"
        mkdir -p target/tools
        local archive=target/tools/axe-core-$axe_version.tgz
        if (cd target/tools && npm pack --silent "axe-core@$axe_version" > /dev/null 2>&1) &&
            echo "$axe_sha256  $archive" | sha256sum --check --quiet; then
            tar -xzf "$archive" -C target/tools --strip-components=1 package/axe.min.js
        else
            say "axe-core could not be fetched (by npm)"
        fi
        rm -f "$archive"
    fi
    if command -v chromedriver > /dev/null && command -v chromium > /dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then return; fi
    say "Installing chromium and chromium-driver"
    apt-get update -q > /dev/null 2>&1 || true
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q chromium chromium-driver > /dev/null 2>&1 || say "chromium could not be installed"
}

# What holds the read API against its own description; without it that test says that it shows nothing, and fails where CI=true.
install_schemathesis() {
    if [ -x target/tools/schemathesis/bin/schemathesis ]; then return; fi
    say "Installing schemathesis and openapi-spec-validator"
    mkdir -p target/tools
    if ! python3 -m venv target/tools/schemathesis > /dev/null 2>&1 ||
        ! target/tools/schemathesis/bin/pip install --quiet --disable-pip-version-check \
            schemathesis==4.32.5 openapi-spec-validator==0.9.0 > /dev/null 2>&1; then
        say "schemathesis could not be installed (by pip)"
        rm -rf target/tools/schemathesis
    fi
}

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
if [ $# = 0 ] && [ -z "$quick" ]; then
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
install_checkers
if [ -z "$quick" ]; then
    install_browser
    install_schemathesis
fi
log=$(mktemp)
figures=$(mktemp)
export K6SYNC_TEST_FIGURES=$figures
# Most of the integration tests wait most of the time, for what happens every few seconds.
export RUST_TEST_THREADS=${RUST_TEST_THREADS:-$((3 * $(nproc)))}
# A failing test is told after the sum.
status=0
run_tests() {
    cargo test --workspace --locked "$@" 2>&1 | tee -a "$log" || status=$?
}
if [ -n "$quick" ]; then
    pure=()
    for file in tests/*.rs tests/*/main.rs tests/standin/tests/*.rs; do
        name=${file%/main.rs}
        name=$(basename "$name" .rs)
        [ "$name" = it ] || pure+=(--test "$name")
    done
    run_tests --lib --bins "${pure[@]}"
    names=()
    for name in "${smoke[@]}"; do
        names+=("$name::sqlite" "$name::postgres")
    done
    run_tests --test it -- --exact "${names[@]}"
    # One that was renamed would be missed in silence.
    if [ "$status" = 0 ] && ! grep -qx "running ${#names[@]} tests" "$log"; then
        echo "test.sh: some of the smoke tests are not there; bring the list in this script up to date" >&2
        status=1
    fi
else
    run_tests "$@"
fi
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
