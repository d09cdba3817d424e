#!/usr/bin/env bash
# Measures what a loop costs while nothing happens (the stripped release binary's size, the memory of an idle loop), and what
# a cycle costs beside the least that it must cost and the obvious way: scripts/bench.rs says how. --quick: in some minutes.
# Needs neither a cluster nor a database; with K6SYNC_TEST_POSTGRES_URL it measures on PostgreSQL, too. Leaves nothing behind
# but target/, with the figures in target/bench/results.json.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
    "" | --quick) ;;
    *) echo "usage: scripts/bench.sh [--quick]" >&2; exit 2 ;;
esac

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }

say "Building the release (the first time takes some minutes)"
cargo build --quiet --release --locked --bin k6sync --example bench
cargo build --quiet --locked --bin k6sync-standin --package k6sync-standin

folder=$(mktemp -d)
pids=()
cleanup() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2> /dev/null || true
        wait "$pid" 2> /dev/null || true
    done
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# wait_for FILE TEXT: until a line of the file has the text, at most 20 s.
wait_for() {
    for _ in $(seq 200); do
        grep -q "$2" "$1" 2> /dev/null && return 0
        sleep 0.1
    done
    echo "bench.sh: no \"$2\" in $1:" >&2
    cat "$1" >&2
    exit 1
}

# What has ended is never looked at again: a loop over it is idle.
target/debug/k6sync-standin --recording tests/data/recorded/cluster --moment t3 --kubeconfig "$folder/kubeconfig" \
    > "$folder/standin.log" 2>&1 &
pids+=($!)
wait_for "$folder/standin.log" "listening on"

idle_memory() { # database URL → resident kB after three quiet cycles
    : > "$folder/loop.log"
    KUBECONFIG=$folder/kubeconfig DATABASE_URL=$1 K6_SYNC_INTERVAL_SECONDS=5 \
        target/release/k6sync loop --listen 127.0.0.1:0 2> "$folder/loop.log" &
    local loop=$!
    pids+=("$loop")
    for _ in $(seq 300); do
        [ "$(grep -c 'K6 steps sync completed' "$folder/loop.log")" -ge 4 ] && break
        kill -0 "$loop" 2> /dev/null || { cat "$folder/loop.log" >&2; exit 1; }
        sleep 0.1
    done
    awk '/VmRSS/ {print $2}' "/proc/$loop/status"
    kill "$loop"
    wait "$loop"
}

say "An idle loop"
size=$(stat -c %s target/release/k6sync)
printf '  %-46s %8s  (limit)\n' "" "MB"
awk -v b="$size" 'BEGIN {printf "  %-46s %8.1f  (20)\n", "release binary, stripped", b / 1048576}'
kb=$(idle_memory "sqlite://$folder/k6sync.db")
awk -v kb="$kb" 'BEGIN {printf "  %-46s %8.1f  (25)\n", "resident memory, idle, SQLite", kb / 1024}'
if [ -n "${K6SYNC_TEST_POSTGRES_URL:-}" ]; then
    kb=$(idle_memory "$K6SYNC_TEST_POSTGRES_URL")
    awk -v kb="$kb" 'BEGIN {printf "  %-46s %8.1f  (25)\n", "resident memory, idle, PostgreSQL", kb / 1024}'
fi

say "A cycle: RUNSxRUNNERS, what is new, latency of a request; medians, and the slowest round by the fastest"
target/release/examples/bench ${1:+"$1"}
