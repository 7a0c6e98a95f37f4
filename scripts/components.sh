#!/usr/bin/env bash
# Makes the committed components of examples/ anew from their sources in C and Rust, and says
# which are other ones. The same compilers make the same bytes: clang 22 of Debian 12, and the
# rustc of this machine; cargo does so in a folder of the same name only, hence the copy.
#
#   scripts/components.sh AIRSSYS_WASM [--check] [FOLDER...]
#
# With --check, what is committed stays as it is, and a difference is a failure. Without
# folders, all are made.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(realpath "${1:?name the program}")
shift
check=
if [[ ${1:-} == --check ]]; then
    check=1
    shift
fi
(($#)) || set -- examples/{c-echo,cafe,cafe-rust,greeter-rust,greeter-plain,puppet}

copy=/tmp/airssys-wasm-components
mkdir "$copy" || { printf 'another one is at work, or was ended: rm -r %s\n' "$copy"; exit 1; }
trap 'rm -rf "$copy"' EXIT
git ls-files -z | xargs -0 cp --parents --no-dereference --target-directory "$copy"

# What is in the configuration of cargo is not asked where this variable is.
export RUSTFLAGS="-Clink-arg=-zstack-size=65536 --remap-path-prefix=$copy=airssys-wasm --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo"
for folder in "$@"; do
    "$program" build "$copy/$folder" --allow-outside "$copy" >/dev/null
done
differ=0
while IFS= read -r file; do
    if cmp -s "$copy/$file" "$file"; then
        printf 'the same  %s\n' "$file"
        continue
    fi
    printf 'another   %s\n' "$file"
    differ=1
    [[ -n $check ]] || cp "$copy/$file" "$file"
done < <(git ls-files "${@/%//*.wasm}")
[[ -z $check || $differ == 0 ]]
