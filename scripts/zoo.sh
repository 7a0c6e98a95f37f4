#!/usr/bin/env bash
# Every component that misbehaves, under the smallest, the usual and the largest limits,
# beside one that is called all along; then 100,000 loads, one in ten of which crashes.
# Prints a table of waits and of what the process holds. About ten minutes on two cores;
# ratios mean something on a machine without other work.
set -euo pipefail
cd "$(dirname "$0")/.."
# The features of the whole workspace, so that wasmtime is not compiled once more.
cargo test --locked --workspace --test zoo -- --ignored --nocapture --test-threads 1
