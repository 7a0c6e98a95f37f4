#!/usr/bin/env bash
# Proves that the unit tests of wasm-core, those of the services in wasm-testkit, and the
# suite for engines, run on the model engine, notice when the code does something else:
# cargo-mutants makes one small change at a time, `<` to `<=` or a body to `Ok(())`, and
# some test has to fail or to hang.
#
# Fails over a change that no test notices, unless .cargo/mutants.toml says why it is
# harmless; and below 90 %, where those count as unnoticed.
#
# Compiles no wasmtime. An hour on two cores; installs cargo-mutants if
# there is none. What was done to each mutant is in target/mutants.
set -euo pipefail
cd "$(dirname "$0")/.."

minimum=90

cargo mutants --version >/dev/null 2>&1 ||
    CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off \
        cargo install --locked --version '^27.1' cargo-mutants

# Snapshots are compared, never written.
export INSTA_UPDATE=no
# Less to compile and to print for each of some hundred runs.
export CARGO_PROFILE_DEV_DEBUG=0 RUST_BACKTRACE=0
# The copy of the workspace that is changed has a target folder of its own.
unset CARGO_TARGET_DIR

caught=0
viable=0
survivors=0

# mutate NAME PACKAGE FILES TESTED TESTS...: the files of a package, except for those of
# the array `left`, tested by `cargo test --package TESTED TESTS`. Several packages have
# commas between them.
mutate() {
    local out=target/mutants/$1 all code=0
    local what=(--package "$2" --all-features --file "$3" "${left[@]}")
    local tested=(--test-package "$4")
    # Without a change it would try the tests in the package that is changed, which may have
    # none of them.
    [[ $2 == "$4" ]] || tested+=(--baseline skip)
    shift 4
    mkdir -p "$out"
    # It answers 2 when mutants survive, and 3 when the tests of some hang.
    cargo mutants --output "$out" --timeout 60 "${what[@]}" "${tested[@]}" -- "$@" || code=$?
    [[ $code == [023] ]] || exit "$code"
    # With those that are left out as harmless.
    all=$(cargo mutants --list --no-config "${what[@]}" | wc -l)
    out+=/mutants.out
    viable=$((viable + all - $(wc -l <"$out/unviable.txt")))
    caught=$((caught + $(cat "$out/caught.txt" "$out/timeout.txt" | wc -l)))
    survivors=$((survivors + $(wc -l <"$out/missed.txt")))
}

left=(--exclude 'crates/wasm-core/src/guest{.rs,/**}')
mutate core airssys-wasm-core 'crates/wasm-core/src/**' airssys-wasm-core --lib
left=()
# What every engine does for a guest is shown by an engine, too.
mutate guest airssys-wasm-core 'crates/wasm-core/src/guest{.rs,/**}' \
    airssys-wasm-core,airssys-wasm-testkit --lib --test conformance
mutate services airssys-wasm-testkit 'crates/wasm-testkit/src/{clock,directory,loader,router,validator}.rs' \
    airssys-wasm-testkit --lib --test broken_services
mutate model airssys-wasm-testkit 'crates/wasm-testkit/src/{model.rs,model/*.rs}' \
    airssys-wasm-testkit --test conformance -- 'ModelEngine in paused time'

printf 'caught %d of %d viable mutants (%d %%)\n' \
    "$caught" "$viable" $((viable ? 100 * caught / viable : 0))
if ((survivors > 0)); then
    echo "error: $survivors survived that .cargo/mutants.toml does not list" >&2
    exit 1
fi
if ((viable == 0 || 100 * caught < minimum * viable)); then
    echo "error: less than $minimum % are caught" >&2
    exit 1
fi
