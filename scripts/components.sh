#!/usr/bin/env bash
# Makes the committed components of examples/ anew from their sources in C and Rust, without the
# names of folders of this machine, and says which are other ones. The same compilers make the
# same bytes: clang 22 of Debian 12, and the rustc of this machine.
#
#   scripts/components.sh AIRSSYS_WASM [--check]
#
# With --check, what is committed stays as it is, and a difference is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:?name the program}")
root=$PWD
folders=(examples/c-echo examples/cafe examples/cafe-rust examples/greeter-rust examples/greeter-plain examples/puppet)

# What is in the configuration of cargo is not asked where this variable is.
export RUSTFLAGS="-Clink-arg=-zstack-size=65536 --remap-path-prefix=$root=airssys-wasm --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"

before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
mapfile -t committed < <(git ls-files "${folders[@]/%//*.wasm}")
for file in "${committed[@]}"; do
    mkdir -p "$before/$(dirname "$file")"
    cp "$file" "$before/$file"
done
for folder in "${folders[@]}"; do
    "$program" build "$folder" >/dev/null
done
differ=0
for file in "${committed[@]}"; do
    if cmp -s "$before/$file" "$file"; then
        printf 'the same  %s\n' "$file"
        continue
    fi
    printf 'another   %s\n' "$file"
    differ=1
    [[ ${2:-} != --check ]] || cp "$before/$file" "$file"
done
[[ ${2:-} != --check || $differ == 0 ]]
