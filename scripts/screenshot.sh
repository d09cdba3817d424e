#!/usr/bin/env bash
# Makes the README's picture of a page, docs/images/run.png, by the browser tests on a recording of a real cluster. Run it when the page of a
# run changes. Needs Debian's chromium and chromium-driver; leaves nothing behind but target/.
set -euo pipefail
cd "$(dirname "$0")/.."

for tool in cargo chromium chromedriver; do
    command -v "$tool" > /dev/null || {
        echo "screenshot.sh: $tool is missing; install Rust from https://rustup.rs, and chromium and chromium-driver (apt-get install)" >&2
        exit 1
    }
done

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
K6SYNC_SCREENSHOTS=$folder cargo test --quiet --test it -- --exact browser::each_page_of_a_recording_is_quiet_and_accessible::sqlite
mkdir -p docs/images
cp "$folder/run-1280-Light.png" docs/images/run.png
ls -l docs/images/run.png
