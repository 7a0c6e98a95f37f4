#!/usr/bin/env bash
# Line coverage of wasm-core and wasm-runtime by the tests of the workspace, with
# all features. Fails below 90 % of either crate.
#
#   scripts/coverage.sh             a line for each file, and the totals
#   scripts/coverage.sh --missed    with the lines that no test reached
#
# Test code is not counted: neither `#[cfg(test)]` modules nor files under tests/.
# Only the workspace's own crates are instrumented; dependencies are shared with
# `cargo test`. Needs llvm-cov and llvm-profdata of rustc's LLVM: the component
# llvm-tools of rustup, or Debian's package llvm-<version>, which is installed if
# this script may.
set -euo pipefail
cd "$(dirname "$0")/.."

minimum=90
crates=(wasm-core wasm-runtime)
missed=0
case ${1:-} in
'') ;;
--missed) missed=1 ;;
*)
    echo "usage: $0 [--missed]" >&2
    exit 2
    ;;
esac

host=$(rustc -vV | sed -n 's/^host: //p')
version=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

# tool NAME: the path of an LLVM tool that reads what this rustc writes.
tool() {
    local path
    for path in "$(rustc --print sysroot)/lib/rustlib/$host/bin/$1" \
        "/usr/lib/llvm-$version/bin/$1" "$(command -v "$1-$version" || true)"; do
        if [[ -x $path ]]; then
            printf '%s\n' "$path"
            return
        fi
    done
    return 1
}

if ! tool llvm-cov >/dev/null || ! tool llvm-profdata >/dev/null; then
    if command -v apt-get >/dev/null && [[ $(id -u) == 0 ]]; then
        apt-get install --yes --no-install-recommends "llvm-$version" >&2
    else
        echo "error: no llvm-cov and llvm-profdata of LLVM $version: \`rustup component add llvm-tools\` or \`apt-get install llvm-$version\`" >&2
        exit 1
    fi
fi
cov=$(tool llvm-cov)
profdata=$(tool llvm-profdata)

mkdir -p "${CARGO_TARGET_DIR:-target}/coverage"
work=$(cd "${CARGO_TARGET_DIR:-target}/coverage" && pwd)
rm -rf "$work/raw"

# Cargo passes the compiler and its arguments to this for workspace members only,
# and keeps what comes of it apart from what `cargo test` builds. Not for sh: that
# may drop CARGO_BIN_EXE_airssys-wasm, whose name is no identifier.
wrapper=$work/instrument
printf '#!/usr/bin/env bash\nexec "$@" -C instrument-coverage\n' >"$wrapper"
chmod +x "$wrapper"
export RUSTC_WORKSPACE_WRAPPER=$wrapper
# At most eight files for each program, however often tests start it.
export LLVM_PROFILE_FILE=$work/raw/%8m.profraw

tests=(cargo test --locked --workspace --all-features --tests)
"${tests[@]}" --no-run --message-format=json-render-diagnostics >"$work/messages"
mapfile -t programs < <(sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$work/messages" | sort -u)
"${tests[@]}" --quiet

"$profdata" merge --sparse "$work"/raw/*.profraw --output "$work/merged.profdata"
objects=()
for program in "${programs[@]}"; do
    objects+=(--object "$program")
done
"$cov" export --format=lcov --instr-profile="$work/merged.profdata" \
    "${objects[@]:1}" --sources "${crates[@]/#/crates/}" >"$work/all.lcov"

awk -v minimum="$minimum" -v show="$missed" -v names="${crates[*]}" -v root="$PWD/" '
    # Learns which lines of a file are test code, and which files are.
    function read_source(file,    line, number, before, inside, name) {
        while ((getline line < (root file)) > 0) {
            number++
            if (before == "#[cfg(test)]" && line ~ /^(pub\([a-z]+\) )?mod [a-z_]+;$/) {
                name = line
                gsub(/.*mod |;/, "", name)
                test_file[folder_of(file) name ".rs"] = 1
            }
            if (before == "#[cfg(test)]" && line ~ /^mod [a-z_]+ \{$/) inside = 1
            if (inside) test_line[file, number] = 1
            if (line == "}") inside = 0
            before = line
        }
        close(root file)
    }
    # Where the modules that a file declares are.
    function folder_of(file) {
        if (file ~ /\/(lib|main|mod)\.rs$/) sub(/[^\/]*$/, "", file)
        else sub(/\.rs$/, "/", file)
        return file
    }
    BEGIN {
        split(names, wanted, " ")
        for (i = 1; i in wanted; i++) read_source("crates/" wanted[i] "/src/lib.rs")
    }
    function percent(part, whole) { return whole ? 100 * part / whole : 100 }
    /^SF:/ {
        file = substr($0, 4)
        if (index(file, root) == 1) file = substr(file, length(root) + 1)
        if (file !~ /^crates\/[^\/]*\/src\//) { file = ""; next }
        files[++count] = file
        read_source(file)
    }
    /^DA:/ && file {
        split(substr($0, 4), entry, ",")
        line = entry[1]; hit = entry[2] > 0
        all[file]++; all_hit[file] += hit
        if ((file, line) in test_line) next
        lines[file]++; lines_hit[file] += hit
        if (!hit) missing[file] = missing[file] " " line
    }
    END {
        for (i = 1; i <= count; i++) {
            file = files[i]
            split(file, path, "/")
            crate = path[2]
            every[crate] += all[file]; every_hit[crate] += all_hit[file]
            if (file in test_file) continue
            total[crate] += lines[file]; total_hit[crate] += lines_hit[file]
            printf "%6.2f %%  %5d of %5d  %s\n", percent(lines_hit[file], lines[file]), lines_hit[file], lines[file], file
            if (show && missing[file]) print "            missed:" missing[file]
        }
        print ""
        for (i = 1; i in wanted; i++) {
            crate = wanted[i]
            covered = percent(total_hit[crate], total[crate])
            printf "%6.2f %%  %5d of %5d  crates/%s/src (with test code: %.2f %%)\n", covered, total_hit[crate], total[crate], crate, percent(every_hit[crate], every[crate])
            if (!total[crate] || covered < minimum) {
                printf "error: less than %d %% of crates/%s/src\n", minimum, crate
                low = 1
            }
        }
        exit low
    }
' "$work/all.lcov"
