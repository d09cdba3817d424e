#!/usr/bin/env bash
# The fault suite at random for so many minutes: scripts/soak.sh MINUTES [SEED]
# Watches that the memory, connections, file descriptors and temporary files of a loop stay flat, and compares every
# record with what was written. Ctrl-C ends it. Needs what scripts/test.sh needs.
set -euo pipefail
cd "$(dirname "$0")/.."

minutes=${1:-}
if ! [[ $minutes =~ ^[1-9][0-9]*$ ]] || ! [[ ${2:-1} =~ ^[0-9]+$ ]]; then
    echo "usage: scripts/soak.sh MINUTES [SEED]" >&2
    exit 2
fi
export K6SYNC_SOAK_MINUTES=$minutes
[ -z "${2:-}" ] || export K6SYNC_TEST_SEED=$2
exec scripts/test.sh --test it record::soak -- --ignored --nocapture
