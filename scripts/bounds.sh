#!/usr/bin/env bash
# Raises each bound of xtask/bounds.txt by itself, whatever is set, and expects its test to
# fail: scripts/bounds.sh [ITEM...]. One build serves all of them: in a copy of the
# workspace a bound is raised when the environment names it. Without that, every test has to
# pass there. What each test said is kept in target/bounds/reports.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
mkdir -p "$target"
target=$(cd "$target" && pwd)
work=$target/bounds
tree=$work/tree
fresh=$work/fresh
reports=$work/reports

# Dependencies are what they are in the workspace: they are not compiled again.
if [[ ! -d $work/debug && -d $target/debug ]]; then
    mkdir -p "$work/debug"
    tar -C "$target/debug" --exclude=./incremental --exclude=./examples -cf - . | tar -C "$work/debug" -xf -
fi

rm -rf "$fresh"
mkdir -p "$fresh" "$tree"
trap 'rm -rf "$fresh"' EXIT
tar -C "$root" --exclude=./target --exclude=./fuzz --exclude=./.git -cf - . | tar -C "$fresh" -xf -
cd "$root"
rows=$(cargo xtask bounds --raise "$fresh")

# What did not change since the last time keeps its age and is not compiled again.
(cd "$tree" && find . -type f) | while read -r file; do
    [[ -e $fresh/$file ]] || rm "$tree/$file"
done
(cd "$fresh" && find . -type f) | while read -r file; do
    mkdir -p "$(dirname "$tree/$file")"
    if [[ ! -e $tree/$file ]]; then
        cp -p "$fresh/$file" "$tree/$file"
    elif ! cmp -s "$fresh/$file" "$tree/$file"; then
        cp "$fresh/$file" "$tree/$file"
    fi
done

# The selection of features is that of the whole workspace, as it is elsewhere.
export CARGO_TARGET_DIR=$work
cd "$tree"
tests=$(cut -f 3 <<<"$rows" | grep -vx lib | sort -u | sed 's/^/--test /')
# shellcheck disable=SC2086
cargo test --locked --workspace --no-run --lib --bins $tests \
    --message-format json-render-diagnostics >"$work/messages"

# program PACKAGE BINARY: where the tests of a crate were built.
program() {
    if [[ $2 == lib ]]; then
        kind='"kind":\["\(lib\|bin\)"\]'
    else
        kind='"kind":\["test"\].*"name":"'$2'"'
    fi
    grep "\"manifest_path\":\"$tree/crates/$1/Cargo.toml\"" "$work/messages" | grep "$kind" |
        grep '"test":true},"features"' | grep -v '"name":"airssys-wasm-compiler"' |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# attempt BOUND PACKAGE BINARY TEST REPORT: how the one test of that name ends, with a bound
# raised.
attempt() {
    local file report=$reports/$5
    file=$(program "$2" "$3")
    cd "$tree/crates/$2"
    AIRSSYS_WASM_RAISED_BOUND=$1 CARGO_MANIFEST_DIR=$PWD timeout --kill-after 10 300 \
        "$file" "$4" --test-threads 1 >"$report" 2>&1 && status=0 || status=$?
    cd "$tree"
    if ! grep -q '^running 1 test$' "$report"; then
        echo 'not one test'
    elif ((status == 0)); then
        echo passes
    elif grep -q '^test .* FAILED$\|^test result: FAILED' "$report"; then
        echo fails
    else
        echo "ends with $status"
    fi
}

rm -rf "$reports"
mkdir -p "$reports"
failures=0
count=0
while IFS=$'\t' read -r bound package binary test <&3; do
    item=${bound#* }
    if (($#)) && [[ " $* " != *" $item "* ]]; then
        continue
    fi
    count=$((count + 1))
    report=$(tr -c 'A-Za-z_\n' - <<<"$bound")
    plain=$(attempt - "$package" "$binary" "$test" "$report")
    raised=-
    if [[ $plain == passes ]]; then
        raised=$(attempt "$bound" "$package" "$binary" "$test" "$report")
    fi
    verdict=ok
    if [[ $raised != fails ]]; then
        verdict=FAIL
        failures=$((failures + 1))
    fi
    printf '%-4s  %-70s  as it is: %s; raised: %s (%s)\n' "$verdict" "$bound" "$plain" "$raised" "$test"
done 3<<<"$rows"
printf '%s bounds, %s of them can be raised unnoticed\n' "$count" "$failures"
exit $((failures != 0 || count == 0))
