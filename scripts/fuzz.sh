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
# With --target, build scripts and procedural macros go without the flags.
cargo build --locked --target "$host" --bins
