#!/usr/bin/env bash
# Raises every bound of xtask/bounds.txt in turn, in a copy of the workspace, whatever is
# set, and expects its test to fail: scripts/bounds.sh [ITEM...]. Minutes for each, most of
# them compiling.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
CARGO_TARGET_DIR=$(cd "$target" && pwd)/bounds
export CARGO_TARGET_DIR
work=$CARGO_TARGET_DIR/tree
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
tar -C "$root" --exclude=./target --exclude=./fuzz --exclude=./.git -cf - . | tar -C "$work" -xf -
cd "$work"

# raised VALUE: the same with room for everything. Of a `Limit`, the number; where a
# number is an expression, all of it.
raised() {
    perl -0pe 's/^\s*(Limit::of\(\s*"[^"]*",\s*).*(\),?)\s*$/ $1 1 << 60 $2/s
        or s/^.*Duration.*$/ Duration::from_secs(1 << 20)/s
        or s/^.*$/ 1 << 30/s' <<<"$1"
}

# run BINARY TEST: the selection of features is that of the whole workspace, so that
# wasmtime is compiled once.
run() {
    if [[ $1 == lib ]]; then
        cargo test --workspace --lib "$2"
    else
        cargo test --workspace --test "$1" "$2"
    fi
}

failures=0
while read -r file item start end binary test; do
    if (($#)) && [[ " $* " != *" $item "* ]]; then
        continue
    fi
    cp "$file" "$work/pristine"
    value=$(tail -c +$((start + 1)) "$file" | head -c $((end - start)))
    {
        head -c "$start" "$work/pristine"
        raised "$value" | tr -d '\n'
        tail -c +$((end + 1)) "$work/pristine"
    } >"$file"
    # Tests of a setting choose its value: it is ignored.
    if [[ $item == .* ]]; then
        perl -0pi -e "s/self\\$item = [^;]+;/self$item =$(raised "$value" | tr -d '\n');/g" "$file"
    fi
    if run "$binary" "$test" >"$work/report" 2>&1; then
        printf 'FAIL  %s raised, and %s passes\n' "$item" "$test"
        failures=$((failures + 1))
    elif grep -q '^test .* FAILED' "$work/report"; then
        printf 'ok    %s raised, and %s fails\n' "$item" "$test"
    else
        printf 'FAIL  %s raised does not compile, or ends otherwise\n' "$item"
        grep -m 3 -E '^error' "$work/report" || tail -n 3 "$work/report"
        failures=$((failures + 1))
    fi
    cp "$work/pristine" "$file"
done < <(cargo xtask bounds --list)
exit $((failures != 0))
