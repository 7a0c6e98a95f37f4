#!/usr/bin/env bash
# Proves that `cargo xtask fixtures --check` accepts the fixtures as they are, and
# refuses them after an edit to a `.wat`, in a copy of the workspace.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
CARGO_TARGET_DIR=$(cd "$target" && pwd)
export CARGO_TARGET_DIR
# Always the same place, so that the copy's xtask is compiled once.
work=$CARGO_TARGET_DIR/prove-fixtures
rm -rf "$work"
trap 'rm -rf "$work"' EXIT
failures=0

# check: what the check says about the copy, in $work/report.
check() {
    (cd "$work/tree" && cargo xtask fixtures --check) >"$work/report" 2>&1
}

# refused WHAT FILE: the check fails, names the file, and says what mends it.
refused() {
    if check; then
        printf 'FAIL  %s is accepted\n' "$1"
        failures=$((failures + 1))
    elif grep -q "$2.*cargo xtask fixtures" "$work/report"; then
        printf 'ok    %s is refused: %s\n' "$1" "$(grep -m 1 "$2" "$work/report" | sed 's/^ *//')"
    else
        printf 'FAIL  %s fails, but not for its own sake\n' "$1"
        sed 's/^/      | /' "$work/report"
        failures=$((failures + 1))
    fi
}

mkdir -p "$work/tree"
tar -C "$root" --exclude=./target --exclude=./fuzz/target --exclude=./.git -cf - . | tar -C "$work/tree" -xf -
if check; then
    printf 'ok    the fixtures as they are: %s\n' "$(tail -n 1 "$work/report")"
else
    cat "$work/report"
    exit 1
fi

fixtures=$work/tree/crates/wasm-fixtures
cp -R "$fixtures" "$work/pristine"
# edited FILE SED-EXPRESSION WHAT
edited() {
    sed -i "$2" "$fixtures/$1"
    refused "$3 in $1" "$1"
    cp "$work/pristine/$1" "$fixtures/$1"
}

edited wat/hello.wat 's/42/43/' 'another constant'
edited wat/hello.wat '$a ;; Nothing else.' 'another comment'
edited include/lifecycle.wat '$a ;; Nothing else.' 'another comment'
for wat in "$fixtures"/wat/*.wat; do
    printf '\n;; An edit.\n' >>"$wat"
done
all=$(find "$fixtures/wat" -name '*.wat' | wc -l)
if check; then
    printf 'FAIL  an edit to every fixture is accepted\n'
    failures=$((failures + 1))
elif [[ $(grep -c 'wat/.*\.wat ' "$work/report") == "$all" ]]; then
    printf 'ok    an edit to each of %s fixtures is refused\n' "$all"
else
    printf 'FAIL  of %s edited fixtures these are refused\n' "$all"
    sed 's/^/      | /' "$work/report"
    failures=$((failures + 1))
fi

if ((failures)); then
    exit 1
fi
