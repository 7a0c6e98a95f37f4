#!/usr/bin/env bash
# Serves components that others wrote, unmodified, and asks them something: examples in the
# packages wstd, wstd-axum and wasip2 of crates.io, built for wasm32-wasip2 in a folder outside
# of this one. Needs the network for crates and the target; about 3 minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --workspace --bin airssys-wasm
program=$PWD/${CARGO_TARGET_DIR:-target}/debug/airssys-wasm
rustup target add wasm32-wasip2
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"
export CARGO_TARGET_DIR=$work/target

# A package of nothing, for what it depends on.
cat >Cargo.toml <<'END'
[package]
name = "strangers"
version = "0.0.0"
edition = "2024"
[lib]
path = "lib.rs"
[dependencies]
wstd = "=0.6.6"
wstd-axum = "=0.6.6"
wasip2 = "=1.0.3"
END
touch lib.rs
cargo vendor --quiet >/dev/null

# build PACKAGE EXAMPLE
build() {
    cp -r "vendor/$1" "$1-itself"
    (cd "$1-itself" && printf '\n[workspace]\n' >>Cargo.toml &&
        cargo build --quiet --release --target wasm32-wasip2 --example "$2")
    cp "target/wasm32-wasip2/release/examples/$2.wasm" "$1-$2.wasm"
}

# serve NAME FLAGS…: says where in `address`.
serve() {
    local name=$1
    shift
    "$program" serve "$name.wasm" --memory 4MiB --fuel 100_000_000 --timeout 10s \
        --listen 127.0.0.1:0 "$@" 2>"$name.log" &
    for _ in $(seq 600); do
        address=$(sed -n 's/^listening at //p' "$name.log")
        [[ -n $address ]] && return
        sleep 0.1
    done
    cat "$name.log" >&2
    exit 1
}

# expect WHAT TEXT
expect() {
    if [[ $2 != *"$1"* ]]; then
        printf 'not %s but %s\n' "$1" "$2" >&2
        cat ./*.log >&2
        exit 1
    fi
}

build wstd http_server
build wstd http_server_proxy
build wstd-axum hello_world
build wasip2 http-proxy

serve wstd-http_server
server=$address
expect "$(head -c 100000 /dev/zero | tr '\0' x)" \
    "$(head -c 100000 /dev/zero | tr '\0' x | curl --silent --data-binary @- "$server/echo")"
expect 'slept for' "$(curl --silent "$server/wait-body")$(curl --silent "$server/wait-response")"
printf 'wstd http_server answers, and asks for nothing\n'

serve wstd-axum-hello_world
expect 'Hello' "$(curl --silent "$address/")"
printf 'wstd-axum hello_world answers, and asks for nothing\n'

serve wasip2-http-proxy
expect 'ello' "$(curl --silent "$address/")"
printf 'wasip2 http-proxy answers, and asks for nothing\n'

serve wstd-http_server_proxy --allow "http=$server" --allow wasi=env \
    --env "TARGET_URL=$server/"
expect 'through' "$(curl --silent --data through "$address/proxy/echo")"
printf 'wstd http_server_proxy answers with http and env in [permissions] and a variable in [env]\n'
