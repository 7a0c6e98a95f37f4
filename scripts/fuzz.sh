#!/usr/bin/env bash
# Fuzzes with libFuzzer on the stable toolchain: scripts/fuzz.sh [SECONDS] [TARGET...]
#
# Each target starts from the committed corpus, runs for SECONDS (60 by default), all of
# them beside each other, and ends with its figures. Inputs that are found go to
# fuzz/target/corpus, and those that fail to fuzz/artifacts, from where `cargo` is not
# needed to run one again: fuzz/target/x86_64-unknown-linux-gnu/debug/TARGET FILE.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

# What `cargo fuzz --sanitizer none` passes: counters for coverage and comparisons.
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module \
-Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
-Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
export RUSTFLAGS
# Not --locked: what the crates above need changes with them, and cargo adds that to the
# lock file by itself. With --target, build scripts and procedural macros go without the flags.
cargo build --target "$host" --bins

seconds=${1:-60}
[[ $# == 0 ]] || shift
targets=("$@")
[[ $# != 0 ]] || targets=(load call host_calls manifest line drops)
mkdir -p artifacts target/corpus target/logs
running=()
for target in "${targets[@]}"; do
    mkdir -p "target/corpus/$target"
    # Inputs go to the first folder; the others are only read.
    # A component's whole time is below a second: what takes 30 is a hang.
    "target/$host/debug/$target" "target/corpus/$target" "corpus/$target" \
        -max_total_time="$seconds" -timeout=30 -rss_limit_mb=3072 -max_len=65536 \
        -artifact_prefix="artifacts/$target-" -print_final_stats=1 \
        >"target/logs/$target" 2>&1 &
    running+=($!)
done
failed=0
for index in "${!targets[@]}"; do
    target=${targets[index]}
    if wait "${running[index]}"; then
        outcome=ok
    else
        outcome=FAILED
        failed=1
    fi
    printf '%-12s %-6s %s\n' "$target" "$outcome" \
        "$(grep -E 'stat::(number_of_executed_units|average_exec_per_sec|new_units_added|peak_rss_mb)' "target/logs/$target" |
            sed 's/stat:://; s/: */=/' | tr '\n' ' ')"
    [[ $outcome == ok ]] || grep -E 'panicked|ERROR: libFuzzer|Test unit written' -A1 "target/logs/$target" || true
done
exit "$failed"
