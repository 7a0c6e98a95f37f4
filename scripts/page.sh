#!/usr/bin/env bash
# Looks at the page of `up --listen` as a person does, in a browser without a screen: that it
# shows what happens, also under load, that it works with the keyboard, in the dark and on a
# narrow screen, and that what a component says is only ever text. Leaves pictures of it in the
# folder that is named, or in target/page. LOAD_SECONDS says for how long there is load before
# there is a picture of it, 5 without.
# Needs Chromium and Node.js 20 or later: apt-get install chromium nodejs
set -euo pipefail
cd "$(dirname "$0")/.."

pictures=${1:-target/page}
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
mkdir -p "$pictures"
cargo build --locked --workspace --bin airssys-wasm
work=$(mktemp -d)
trap 'kill "${up:-}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT

printf 'administer 0123456789abcdef0123456789abcdef\n' >"$work/tokens"
chmod 600 "$work/tokens"
target/debug/airssys-wasm up examples/cafe --listen 127.0.0.1:0 --token-file "$work/tokens" \
    </dev/null 2>"$work/said" &
up=$!
for _ in $(seq 600); do
    address=$(sed -n 's/^listening at //p' "$work/said")
    [[ -n $address ]] && break
    sleep 0.1
done
node --experimental-websocket --no-warnings scripts/page.mjs \
    "$browser" "$address" "$work/tokens" "$work/profile" "$pictures"
