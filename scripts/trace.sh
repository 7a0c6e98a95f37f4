#!/usr/bin/env bash
# One trace in a collector: a request over HTTP, the message to a component, the message that
# this sends to another, the callback that answers it, and the HTTP request that the first
# sends then. Starts Phoenix, a collector with a page to look at, which pip installs into a
# folder of its own (some minutes the first time, `PHOENIX=FOLDER` says where); prints the
# spans as Phoenix has them, and goes on until Enter if it is started at a terminal.
# Needs python3, pip and curl.
set -euo pipefail
cd "$(dirname "$0")/.."

phoenix=${PHOENIX:-target/phoenix}
program=${CARGO_TARGET_DIR:-target}/debug/airssys-wasm
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null; wait; rm -rf "$work"' EXIT

# until_answered URL: for as long as a large program in Python takes to start.
until_answered() {
    for _ in $(seq 120); do
        if curl --silent --fail --output /dev/null "$1"; then
            return
        fi
        sleep 1
    done
    printf '%s does not answer\n' "$1" >&2
    cat "$work"/*.log >&2
    exit 1
}

# port: one that is free.
port() {
    python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# component NAME PERMISSIONS: a fixture as demo/NAME/main.
component() {
    mkdir -p "$work/app/$1"
    cp "crates/wasm-fixtures/wasm/$1.wasm" "$work/app/$1/it.wasm"
    cat >"$work/app/$1/Component.toml" <<END
[component]
id = "demo/$1/main"
wasm = "it.wasm"
version = "1.0.0"
[resources]
memory = "1MiB"
fuel = 1_000_000
timeout = "5s"
$2
END
}

if [[ ! -x $phoenix/bin/phoenix ]]; then
    python3 -m venv "$phoenix"
    "$phoenix/bin/pip" install --quiet arize-phoenix
fi
cargo build --locked --workspace

collector=$(port) other=$(port) host=$(port)
mkdir "$work/phoenix"
PHOENIX_WORKING_DIR=$work/phoenix PHOENIX_HOST=127.0.0.1 PHOENIX_PORT=$collector \
    PHOENIX_GRPC_PORT=$(port) PHOENIX_TELEMETRY_ENABLED=false \
    "$phoenix/bin/phoenix" serve >"$work/phoenix.log" 2>&1 &
python3 -m http.server "$other" --bind 127.0.0.1 --directory docs >"$work/other.log" 2>&1 &
component courier '[permissions]
request = ["demo/echo/main"]
http = ["http://localhost:*"]'
component echo ''
until_answered "http://127.0.0.1:$collector/healthz"
OTEL_LOGS_EXPORTER=none OTEL_METRICS_EXPORTER=none OTEL_BSP_SCHEDULE_DELAY=200 \
    "$program" up "$work/app" --listen "127.0.0.1:$host" \
    --otlp "http://127.0.0.1:$collector" </dev/null >"$work/up.log" 2>&1 &
until_answered "http://127.0.0.1:$host/readyz"

curl --silent --fail --output /dev/null "http://127.0.0.1:$host/components/demo/courier/main" \
    --header 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \
    --data "demo/echo/main http://localhost:$other/"
sleep 3
curl --silent --fail "http://127.0.0.1:$collector/v1/projects/default/spans?limit=100" |
    python3 -c '
import json, sys
spans = sorted(json.load(sys.stdin)["data"], key=lambda span: span["start_time"])
known = {span["context"]["span_id"] for span in spans}
def show(parent, depth):
    for span in spans:
        if parent(span["parent_id"]):
            about = span["attributes"]
            about = [str(about[key]) for key in ("kind", "to", "origin") if key in about]
            print(span["context"]["trace_id"], "  " * depth + span["name"], *about)
            own = span["context"]["span_id"]
            show(lambda id: id == own, depth + 1)
show(lambda id: id not in known, 0)
sys.exit(len(spans) != 5)'
if [[ -t 0 ]]; then
    read -rp "http://127.0.0.1:$collector/ shows it; Enter ends this "
fi
