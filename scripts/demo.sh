#!/usr/bin/env bash
# Shows k6sync at work on a recording of a real cluster: two syncs, what a dashboard reads after each, a check of every line, and
# the commands that people use daily.
# Needs a Rust toolchain and a C compiler, and neither a cluster nor a database. Leaves nothing behind but target/.
set -euo pipefail
cd "$(dirname "$0")/.."
# Whatever the environment and cargo's configuration say: what is built must be where this script looks for it.
export CARGO_TARGET_DIR=target

say() { if [ -t 1 ]; then printf '\n\033[1m%s\033[0m\n' "$*"; else printf '\n%s\n' "$*"; fi; }

for tool in cargo cc; do
    command -v "$tool" > /dev/null || {
        echo "demo.sh: $tool is missing; install Rust from https://rustup.rs and a C compiler (apt-get install build-essential)" >&2
        exit 1
    }
done

say "Building k6sync and a stand-in for a cluster (the first time takes a few minutes)"
cargo build --quiet --workspace --bins --example show

folder=$(mktemp -d)
standin=
cleanup() {
    if [ -n "$standin" ]; then
        kill "$standin" 2> /dev/null || true
        wait "$standin" 2> /dev/null || true
    fi
    rm -rf "$folder"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

target/debug/k6sync-standin --recording tests/data/recorded/operator --moment t1 --kubeconfig "$folder/kubeconfig" \
    > "$folder/standin.log" 2>&1 &
standin=$!
for _ in $(seq 100); do
    url=$(sed -n 's/^listening on //p' "$folder/standin.log")
    [ -n "$url" ] && break
    kill -0 "$standin" 2> /dev/null || break
    sleep 0.1
done
if [ -z "$url" ]; then
    echo "demo.sh: the stand-in did not start:" >&2
    cat "$folder/standin.log" >&2
    exit 1
fi

export KUBECONFIG=$folder/kubeconfig DATABASE_URL=sqlite://$folder/k6sync.db

say "A cluster with nine TestRuns: some are running, some could not even start. k6sync sync-once:"
target/debug/k6sync sync-once
say "What a dashboard reads now:"
target/debug/examples/show

say "Some seconds later all tests have ended. k6sync sync-once:"
# bash speaks enough HTTP for one request.
address=${url#http://}
exec 3<> "/dev/tcp/${address%:*}/${address##*:}"
printf 'POST /standin/recording/t3 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n' "$address" >&3
grep -q '200' <&3 || { echo "demo.sh: the stand-in refused to go on to the third moment" >&2; exit 1; }
exec 3>&-
target/debug/k6sync sync-once
say "And what a dashboard reads:"
target/debug/examples/show

say "Is the record what the logs say? k6sync verify:"
target/debug/k6sync verify

# As a person would type it.
typed() {
    say "\$ $*"
    "target/debug/$@"
}
typed k6sync runs
typed k6sync show nightly-7
typed k6sync logs slo --failed
say "\$ k6sync wait nightly-7 no-initializer"
target/debug/k6sync wait nightly-7 no-initializer || echo "exit code $?: thresholds failed, as k6 itself says it; a pipeline stops here"

say "That was a database in a temporary folder and a stand-in cluster; README.md says how to run k6sync on your own."
