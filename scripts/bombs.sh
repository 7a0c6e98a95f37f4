#!/usr/bin/env bash
# Loads every bomb at three sizes, each in a fresh host that compiles in a child, and
# prints what that took: scripts/bombs.sh [--in-process] [KIND...]. Fails if a host grows
# by more than 64 MiB, lets a neighbour wait for more than 50 ms, or has a child left.
# About half an hour on two cores; waits mean something on a machine without other work.
set -euo pipefail
cd "$(dirname "$0")/.."
# The features of the whole workspace, so that wasmtime is not compiled once more.
cargo build --locked --workspace --all-targets
exec target/debug/examples/bombs "$@"
