#!/usr/bin/env bash
# Measures what a loop costs while nothing happens (the stripped release binary's size, the memory of an idle loop), and what
# a cycle costs beside the least that it must cost and the obvious way: scripts/bench/ says how. --quick: in some minutes; --only TEXT: the cases with
# this text in their names.
# Needs neither a cluster nor a database: PostgreSQL is the server at K6SYNC_TEST_POSTGRES_URL, or one that this script starts in
# a temporary folder (installing Debian's postgresql when there is none). Leaves nothing behind but target/, with the figures
# in target/bench/results.json and a plot of them in target/bench/results.svg.
set -euo pipefail
cd "$(dirname "$0")/.."
# Whatever the environment and cargo's configuration say: what is built must be where this script looks for it.
export CARGO_TARGET_DIR=target

usage() { echo "usage: scripts/bench.sh [--quick | --only TEXT]" >&2; exit 2; }
case "${1:-}" in
    "" | --quick) [ $# -le 1 ] || usage ;;
    --only) [ $# = 2 ] || usage ;;
    *) usage ;;
esac

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }
fail() { echo "bench.sh: $*" >&2; exit 1; }
. scripts/postgres.sh

say "Building the release (the first time takes some minutes)"
cargo build --quiet --release --locked --bin k6sync --example bench

trap stop_postgres EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# As it comes, with its fsync.
[ -n "${K6SYNC_TEST_POSTGRES_URL:-}" ] || start_postgres

say "Measuring ($(nproc) processors, $([ "${1:-}" = --quick ] && echo "some minutes" || echo "about half an hour"))"
target/release/examples/bench "$@"
