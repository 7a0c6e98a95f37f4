#!/usr/bin/env bash
# What a person types who writes a component for the first time: from an empty folder to a
# component that is tested, built and running, and to an application of two. Shows each line
# and how long it took. Needs `rustup target add wasm32-unknown-unknown`.
#
#   scripts/five-minutes.sh [AIRSSYS_WASM]
#
# The program is taken from there, or built.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
if (($#)); then
    program=$(realpath "$1")
else
    (cd "$root" && cargo build --locked --package airssys-wasm-cli)
    program=${CARGO_TARGET_DIR:-$root/target}/debug/airssys-wasm
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What is in the way of nobody else, and compiled anew as on a new machine.
export CARGO_TARGET_DIR=$work/target

airssys-wasm() {
    "$program" "$@"
}

type_in() {
    printf '$ %s\n' "$*"
    local began=$EPOCHREALTIME
    "$@"
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "  (%.1f s)\n", b - a }'
}

expect() {
    [[ $1 == "$2" ]] || { printf 'expected %q, found %q\n' "$2" "$1"; exit 1; }
}

cd "$work"
type_in airssys-wasm new greeter --sdk "$root/crates/wasm-guest"
cd greeter
type_in cargo test --quiet
type_in airssys-wasm build
type_in airssys-wasm run . --message ann
type_in airssys-wasm test
expect "$(airssys-wasm run . --message ann 2>/dev/null)" 'good day ann'
(($(stat -c %s greeter.wasm) < 40 * 1024)) || { echo 'the greeter has 40 KiB or more'; exit 1; }

cd "$work"
type_in airssys-wasm new shop --app --sdk "$root/crates/wasm-guest"
cd shop
type_in cargo test --quiet
type_in airssys-wasm build
type_in airssys-wasm test
printf 'shop/waiter/main %s\n' soup cake total | tee orders
type_in airssys-wasm up . <orders 2>/dev/null | tee said
said=$(grep '^shop/' said)
expect "${said##*$'\n'}" 'shop/waiter/main: 11'
