#!/usr/bin/env bash
# Proves that the rules of the crate graph hold, and that breaking one is noticed:
# in a copy of the workspace, cargo-deny accepts the manifests as they are, and
# refuses each forbidden dependency for that dependency's sake. Compiles nothing.
# Needs cargo-deny: cargo install --locked cargo-deny
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
report=$work/report
failures=0

ok() {
    printf 'ok    %s\n' "$1"
}

# fail WHAT [FILE]: the file is shown beneath.
fail() {
    printf 'FAIL  %s\n' "$1"
    sed 's/^/      | /' "${2:-/dev/null}"
    failures=$((failures + 1))
}

# package CRATE: what cargo calls one of ours, which is named here as its folder is.
package() {
    if [[ -d $root/crates/$1 ]]; then
        printf 'airssys-%s\n' "$1"
    else
        printf '%s\n' "$1"
    fi
}

# bans [OPTION...]: checks the copy, leaves what was said in $report.
bans() {
    (cd "$work/tree" &&
        cargo deny "$@" --color never check --hide-inclusion-graph bans) >"$report" 2>&1
}

# with CRATE ON [TABLE [REST]]: a new copy in which CRATE depends on ON.
with() {
    local crate=$1 on=$2 header="[${3:-dependencies}]" rest=${4:-}
    rm -rf "$work/tree"
    cp -R "$work/pristine" "$work/tree"
    local manifest=$work/tree/crates/$crate/Cargo.toml
    [[ -f $manifest ]] || manifest=$work/tree/$crate/Cargo.toml
    awk -v header="$header" -v line="$on = { workspace = true$rest }" '
        { print }
        $0 == header { print line; done = 1 }
        END { if (!done) printf "\n%s\n%s\n", header, line }
    ' "$manifest" >"$work/manifest"
    cp "$work/manifest" "$manifest"
}

# forbidden CRATE ON [TABLE [REST]]: the check fails, and for no other reason.
forbidden() {
    local edge="$1 -> $2${3:+ in [$3]}${4:+$4}" because parent banned
    parent=$(package "$1")
    banned=$(package "$2")
    with "$@"
    if bans --offline; then
        fail "$edge is accepted"
        return
    fi
    because=$(sed -n "s/^[a-z]*\[unmatched-wrapper\]: \(direct parent '$parent = .*' of banned crate '$banned = .*\)/\1/p" "$report")
    if [[ -n $because && $(grep '^error' "$report") == "error[banned]: crate '$banned = "*"' is explicitly banned" ]]; then
        ok "$edge is refused: $because"
    else
        fail "$edge fails, but not for its own sake" "$report"
    fi
}

# allowed CRATE ON [TABLE [REST]]: the rules are not stricter than they say.
allowed() {
    local edge="$1 -> $2${3:+ in [$3]}${4:+$4}"
    with "$@"
    if bans --offline; then
        ok "$edge is accepted"
    else
        fail "$edge is refused" "$report"
    fi
}

# crates PACKAGE: what a program compiles that depends on PACKAGE, one a line.
crates() {
    (cd "$root" &&
        cargo tree --locked --package "$(package "$1")" --edges normal --target all --prefix none --format '{p}') |
        awk 'NF { print $1, $2 }' | sort -u
}

# without PACKAGE CRATE...: none of these is in PACKAGE's tree.
without() {
    local package=$1 crate
    shift
    crates "$package" >"$work/crates"
    for crate in "$@"; do
        if grep "^$(package "$crate") " "$work/crates" >"$report"; then
            fail "$package compiles $crate" "$report"
        else
            ok "$package compiles no $crate"
        fi
    done
}

mkdir "$work/pristine"
tar -C "$root" --exclude=./target --exclude=./fuzz/target --exclude=./.git -cf - . | tar -C "$work/pristine" -xf -
cp -R "$work/pristine" "$work/tree"
if bans --locked; then
    ok "the workspace as it is: $(tail -n 1 "$report")"
else
    # Whatever is refused from here on would be refused for that reason.
    fail "the workspace as it is" "$report"
    exit 1
fi

forbidden wasm-runtime wasm-testkit
forbidden wasm-runtime wasm-testkit build-dependencies
forbidden wasm-runtime wasm-testkit dependencies ", optional = true"
forbidden wasm-runtime wasm-testkit "target.'cfg(windows)'.dependencies"
forbidden wasm-runtime wasm-fixtures
forbidden wasm-runtime toml
forbidden wasm-runtime clap
forbidden wasm-core wasmtime
forbidden wasm-core wasmtime dependencies ", optional = true"
forbidden wasm-core wasmtime-wasi
forbidden wasm-core wasmparser
forbidden wasm-core tokio
forbidden wasm-core tracing
forbidden wasm-core wasm-fixtures
forbidden wasm-core redb
forbidden wasm-core metrics
forbidden wasm-host wasm-runtime
forbidden wasm-host wasmtime
forbidden wasm-host wasm-testkit
forbidden wasm-host wasm-fixtures
forbidden wasm-host clap
forbidden wasm-runtime wasm-host
forbidden wasm-runtime redb
forbidden wasm-runtime metrics
forbidden wasm-gateway wasm-runtime
forbidden wasm-gateway wasmtime
forbidden wasm-gateway wasm-testkit
forbidden wasm-gateway clap
forbidden wasm-nats wasm-runtime
forbidden wasm-nats wasm-gateway
forbidden wasm-nats wasm-testkit
forbidden wasm-host async-nats
forbidden wasm-cli async-nats
forbidden wasm-host axum
forbidden wasm-cli axum
forbidden wasm-testkit wasm-host
forbidden wasm-testkit wasmtime
forbidden wasm-testkit wasm-runtime
forbidden wasm-fixtures wasm-core
forbidden wasm-guest wasm-core
forbidden wasm-guest wasmtime
forbidden wasm-guest tokio
forbidden wasm-cli wasm-guest
forbidden wasm-fixtures bytes
forbidden wasm-cli wasm-testkit
forbidden wasm-cli wasm-fixtures
forbidden wasm-cli wasmtime-wasi
forbidden wasm-cli redb
forbidden xtask wasm-host
forbidden xtask wasm-core
forbidden xtask wasm-runtime
allowed wasm-core tokio dev-dependencies

without wasm-core wasmtime tokio
without wasm-host wasmtime wasm-testkit
without wasm-testkit wasmtime
without wasm-fixtures wasmtime tokio wasm-core
without wasm-guest wasmtime tokio wasm-core wasm-runtime wasm-host bytes async-trait
count=$(crates wasm-core | wc -l)
if ((count <= 12)); then
    ok "wasm-core without features is $count crates, at most 12"
else
    crates wasm-core >"$report"
    fail "wasm-core without features is $count crates, more than 12" "$report"
fi

if ((failures)); then
    printf '%s\n' "$failures of the above failed"
    exit 1
fi
