#!/usr/bin/env bash
# Loads each component of the component model's tests that come with wasmtime, and prints what
# becomes of it: scripts/testsuite.sh FOLDER, a checkout of wasmtime's repository. A minute
# besides the build.
set -euo pipefail
tests=$(cd "${1:?usage: $0 FOLDER}" && pwd)/tests/misc_testsuite
cd "$(dirname "$0")/.."
# With the features of the whole workspace, so that wasmtime is not compiled anew.
cargo build --locked --workspace --example testsuite
"${CARGO_TARGET_DIR:-target}/debug/examples/testsuite" "$tests"/component-model*
