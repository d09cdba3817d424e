#!/usr/bin/env bash
# Fuzzes what reads foreign bytes, each target of tests/fuzz for so many seconds: scripts/fuzz.sh [SECONDS [TARGET…]]
# Ends at the first input that breaks a check; keep it in tests/fuzz/regressions/TARGET, where scripts/test.sh checks it.
# Needs a C++ compiler and cargo-fuzz (`cargo install cargo-fuzz`).
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { echo "fuzz.sh: $seconds is no number of seconds; usage: scripts/fuzz.sh [SECONDS [TARGET...]]" >&2; exit 2; }
shift || true
cargo fuzz --version > /dev/null 2>&1 || { echo "fuzz.sh: cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }

targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(splitter resume test_run pod config_map job_request summary)
# A stable compiler takes what cargo-fuzz asks of a nightly one. There is no unsafe code that a sanitizer could watch.
export RUSTC_BOOTSTRAP=1
for target in "${targets[@]}"; do
    printf '\n%s, %s s\n' "$target" "$seconds"
    folder=tests/fuzz/corpus/$target
    mkdir -p "$folder" "tests/fuzz/regressions/$target"
    cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none "$target" \
        "$folder" "tests/fuzz/seeds/$target" "tests/fuzz/regressions/$target" -- \
        -max_total_time="$seconds" -max_len=65536 -timeout=20 -rss_limit_mb=4096 -print_final_stats=1 -verbosity=0
    rmdir --ignore-fail-on-non-empty "tests/fuzz/regressions/$target" tests/fuzz/regressions
done
