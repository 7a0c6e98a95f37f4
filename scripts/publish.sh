#!/usr/bin/env bash
# What has to hold before the crates are published; publishes nothing.
#
#   scripts/publish.sh            everything below
#   scripts/publish.sh --quick    only what takes seconds: each crate can be packaged
#
# Each crate is packaged and built from its package; and each library compared with the last
# commit of main, so that no change breaks what depends on it unless its version says so. Takes a
# quarter of an hour and more: wasmtime is built for the packages, and documented twice to
# be compared. Installs cargo-semver-checks if there is none.
set -euo pipefail
cd "$(dirname "$0")/.."

if [[ ${1:-} == --quick ]]; then
    exec cargo publish --workspace --dry-run --no-verify --allow-dirty
fi
cargo publish --workspace --dry-run --allow-dirty

# On main itself, that is the commit before.
baseline=main
if [[ $(git rev-parse HEAD) == $(git rev-parse main) ]]; then
    baseline=main^
fi
if ! git rev-parse --verify --quiet "$baseline" >/dev/null; then
    echo 'there is no earlier commit of main to compare with'
    exit
fi
cargo semver-checks --version >/dev/null 2>&1 ||
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        cargo install --locked cargo-semver-checks
cargo semver-checks --workspace --exclude xtask --exclude airssys-wasm-cli --baseline-rev "$baseline"
