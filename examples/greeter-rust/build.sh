#!/usr/bin/env bash
# Makes the committed greeter.wasm as `airssys-wasm build` does, without the names of folders
# of this machine.
#
#   examples/greeter-rust/build.sh [AIRSSYS_WASM]
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
export RUSTFLAGS="-Clink-arg=-zstack-size=65536 --remap-path-prefix=$root=airssys-wasm --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
"${1:-airssys-wasm}" build
