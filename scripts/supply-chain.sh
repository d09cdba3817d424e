#!/usr/bin/env bash
# Checks what we build with: licences, banned crates and sources of all crates in Cargo.lock, and known problems with them.
# .cargo/deny.toml says what is let in, and why; cargo-deny does the work.
#   scripts/supply-chain.sh             with the cargo-deny that is there
#   scripts/supply-chain.sh --install   builds one in target/tools first where there is none: once, some minutes, at most ten
#   scripts/supply-chain.sh --require   what can't be checked is an error
#   --metadata FILE                     of these crates, as `cargo metadata` shows them, without known problems: for tests
# What can't be checked is said and is no error, but for --require: known problems (advisories) need GitHub, whose RustSec
# database is fetched anew each time.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools=target/tools

usage() { echo "usage: scripts/supply-chain.sh [--install] [--require] [--metadata FILE]" >&2; exit 2; }
install= require= metadata=()
while [ $# -gt 0 ]; do
    case $1 in
        --install) install=1 ;;
        --require) require=1 ;;
        --metadata) [ $# -ge 2 ] || usage; metadata=(--metadata-path "$2"); shift ;;
        *) usage ;;
    esac
    shift
done

find_deny() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:$tools/bin command -v cargo-deny
}

# not_checked WHAT WHY
not_checked() {
    echo "$1: NOT CHECKED, because $2" >&2
    [ -z "$require" ] || exit 1
}

if [ -n "$install" ] && ! find_deny > /dev/null; then
    echo "building cargo-deny $version in $tools (once)"
    # Without optimisation it is there in half the time, and needs seconds more. An attempt that was cut off goes on next time.
    if CARGO_PROFILE_DEV_DEBUG=0 timeout 600 cargo install --quiet --locked --profile dev --version "$version" \
        --root "$tools" --target-dir "$tools/build" cargo-deny; then
        rm -rf "$tools/build"
    else
        echo "cargo-deny could not be built (status $?; 124 is the limit of ten minutes)" >&2
    fi
fi
deny=$(find_deny) || {
    not_checked "licences, bans, sources, advisories" \
        "there is no cargo-deny: scripts/supply-chain.sh --install, or cargo install --locked cargo-deny@$version"
    exit 0
}

"$deny" --version
"$deny" --locked "${metadata[@]}" check --hide-inclusion-graph licenses bans sources || exit 1
[ ${#metadata[@]} = 0 ] || exit 0

# A problem with the network is none of the crates.
problem=$(mktemp)
trap 'rm -f "$problem"' EXIT
if timeout 120 "$deny" --locked fetch db > "$problem" 2>&1; then
    "$deny" --locked check --hide-inclusion-graph advisories || exit 1
else
    why=$(grep -m1 '^fatal' "$problem" || tail -n1 "$problem")
    not_checked "advisories" "the RustSec database can't be fetched: ${why:-it took more than two minutes}"
fi
