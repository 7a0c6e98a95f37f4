#!/usr/bin/env bash
# What components cost: size, the most memory of five messages, fuel and time of the fifth. Prints a
# table in Markdown, one row for each folder with a Component.toml that is built.
#
#   scripts/figures.sh AIRSSYS_WASM [FOLDER...]
#
# Without folders: the greeter in Rust, the same on plain wit-bindgen, and components written by
# hand in WAT, one that only answers and one that stores.
set -euo pipefail
program=$(realpath "${1:?name the program}")
shift
root=$(cd "$(dirname "$0")/.." && pwd)
(($#)) || set -- "$root"/examples/{greeter-rust,greeter-plain,echo,stored-counter}

echo '| | size | memory | fuel | time |'
echo '|---|---|---|---|---|'
for folder in "$@"; do
    wasm=$(sed -n 's/^wasm = "\(.*\)"$/\1/p' "$folder/Component.toml")
    last=$("$program" run "$folder" --memory-ceiling 16MiB --json \
        -m ann -m ben -m ann -m ben -m ann 2>/dev/null | tail -1)
    awk -v name="$(basename "$folder")" -v size="$(stat -c %s "$folder/$wasm")" -v last="$last" '
        function figure(key) {
            match(last, "\"" key "\":[0-9]+")
            return substr(last, RSTART + length(key) + 3, RLENGTH - length(key) - 3)
        }
        BEGIN {
            printf "| %s | %.1f KiB | %.0f KiB | %d | %.2f ms |\n", name, size / 1024,
                figure("peak_memory") / 1024, figure("fuel"), figure("micros") / 1000
        }'
done
