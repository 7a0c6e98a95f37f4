#!/usr/bin/env bash
# Builds the plugins anew: guests/examples/*.rs to plugins/*.wasm.
# Needs `rustup target add wasm32-wasip2`.
set -euo pipefail
cd "$(dirname "$0")/guests"
cargo build --release --examples --target wasm32-wasip2
for source in examples/*.rs; do
    name=$(basename "$source" .rs)
    cp "${CARGO_TARGET_DIR:-target}/wasm32-wasip2/release/examples/$name.wasm" "../plugins/$name.wasm"
done
