#!/usr/bin/env bash
# Makes what krew installs: target/krew/kubectl-k6sync_OS_ARCH.tar.gz with the plugin, and target/krew/k6sync.yaml, the manifest with
# its checksum. Run it on each platform of a release.
set -euo pipefail
cd "$(dirname "$0")/.."
# Whatever the environment and cargo's configuration say: what is built must be where this script looks for it.
export CARGO_TARGET_DIR=target

os=$(uname -s | tr '[:upper:]' '[:lower:]')
case "$(uname -m)" in
    x86_64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *)
        echo "krew.sh: krew has no name for the machine $(uname -m)" >&2
        exit 1
        ;;
esac
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
cargo build --release --locked --bin kubectl-k6sync
folder=target/krew
mkdir -p "$folder"
archive=$folder/kubectl-k6sync_${os}_$arch.tar.gz
# The same bytes of the same files, whoever makes it, and when.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime='2026-01-01 00:00Z' -C target/release -cf - kubectl-k6sync -C "$PWD" LICENSE |
    gzip -n > "$archive"
sum=$(sha256sum "$archive" | cut -d ' ' -f 1)
sed -e "s/v[0-9]*\.[0-9]*\.[0-9]*/v$version/" -e "s/linux_amd64/${os}_$arch/" -e "s/os: linux/os: $os/" -e "s/arch: amd64/arch: $arch/" \
    -e "s/sha256: .*/sha256: \"$sum\"/" scripts/krew.yaml > "$folder/k6sync.yaml"
echo "$archive"
echo "$folder/k6sync.yaml"
