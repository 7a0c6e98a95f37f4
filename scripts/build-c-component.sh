#!/bin/sh
# Builds a component from C for the world `airssys:core/runtime-host`.
#
#   scripts/build-c-component.sh OUT [DIR [SHARED...]]
#
# OUT is the component to write, DIR the folder with its sources, *.c, which
# include "component.h"; without it examples/c-echo. SHARED are folders with
# further sources. A component that needs more than the contract has a folder
# DIR/wit with a world of its own, which includes the contract's, and with the
# packages it names in DIR/wit/deps.
#
# Same tools, same sources: the same bytes.
#
# It needs Debian's clang, lld, wasi-libc and compiler-rt for wasm32, and the
# programs `wit-bindgen` and `wasm-tools`; it installs nothing, and says how to
# install what is missing. The adapter from WASI preview 1 (which wasi-libc
# speaks) to WASI 0.2 (which components import) is a file of a crate, which is
# fetched with cargo the first time.
#
# To use other tools, set CLANG, WIT_BINDGEN, WASM_TOOLS, or ADAPTER (a reactor
# adapter; then cargo is not asked).
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
contract=$here/crates/wasm-core/wit/core.wit
wit_bindgen_version=0.60.0
wasm_tools_version=1.254.0
adapter_crate=wasi-preview1-component-adapter-provider
adapter_version=48.0.8
adapter_sha256=134b86dc09c6b62077f2307b96fa8b83b94dc86737bc705ac3dbe27cb107b1f9

# Sizes in bytes. The component starts with this much memory and grows as malloc
# asks for more; the host decides how far. The stack comes first, so that
# overflowing it traps instead of writing over the data.
stack_size=65536
initial_memory=131072

case "${1-}" in
'' | -h | --help)
  echo "usage: $0 OUT [DIR [SHARED...]]" >&2
  exit 2
  ;;
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac
shift
[ $# -gt 0 ] || set -- "$here/examples/c-echo"
dir=$1

missing=0
lacks() { # WHAT, HOW TO INSTALL IT
  echo "missing: $1" >&2
  echo "         $2" >&2
  missing=1
}
apt() { echo "apt-get install $1"; }

# --- what is installed --------------------------------------------------------

if [ -z "${CLANG-}" ]; then
  for candidate in clang-22 clang-21 clang-20 clang-19 clang; do
    if command -v "$candidate" >/dev/null 2>&1; then
      CLANG=$candidate
      break
    fi
  done
fi
if [ -n "${CLANG-}" ] && command -v "$CLANG" >/dev/null 2>&1; then
  major=$("$CLANG" -dumpversion | cut -d. -f1)
  "$CLANG" -print-targets | grep -q '^ *wasm32 ' ||
    lacks "wasm32 in $CLANG" "a clang with that target: $(apt clang-22)"
  linker=$("$CLANG" --target=wasm32-wasi -Wno-deprecated -print-prog-name=wasm-ld)
  command -v "$linker" >/dev/null 2>&1 || [ -x "$linker" ] ||
    lacks "wasm-ld for $CLANG" "$(apt "lld-$major")"
  builtins=$("$CLANG" --target=wasm32-wasi -Wno-deprecated -print-libgcc-file-name)
  [ -f "$builtins" ] ||
    lacks "compiler-rt for wasm32 ($builtins)" "$(apt "libclang-rt-$major-dev-wasm32")"
  echo '#include <stdio.h>' |
    "$CLANG" --target=wasm32-wasi -Wno-deprecated -fsyntax-only -x c - 2>/dev/null ||
    lacks "wasi-libc (no <stdio.h> for wasm32-wasi)" "$(apt wasi-libc)"
else
  lacks "clang${CLANG:+ ($CLANG)}" \
    "$(apt 'clang-22 lld-22 libclang-rt-22-dev-wasm32 wasi-libc')"
fi

# The version printed is compared, because it decides the bytes.
tool() { # NAME, VERSION WANTED, HOW TO INSTALL IT, PATH TO IT
  if ! command -v "$4" >/dev/null 2>&1; then
    lacks "$1${4:+ ($4)}" "$3"
    return
  fi
  case "$("$4" --version)" in
  *" $2"*) ;;
  *) echo "note: $("$4" --version) found, the recipe was made with $2" >&2 ;;
  esac
}
tool wit-bindgen "$wit_bindgen_version" \
  "cargo install --locked wit-bindgen-cli@$wit_bindgen_version --no-default-features --features c" \
  "${WIT_BINDGEN:=wit-bindgen}"
tool wasm-tools "$wasm_tools_version" \
  "cargo install --locked wasm-tools@$wasm_tools_version --no-default-features --features component,validate,strip" \
  "${WASM_TOOLS:=wasm-tools}"
if [ -z "${ADAPTER-}" ] && ! command -v cargo >/dev/null 2>&1; then
  lacks cargo "Rust's cargo, or set ADAPTER to wasi_snapshot_preview1.reactor.wasm"
fi
[ -f "$contract" ] || lacks "the contract ($contract)" "run the script from a complete checkout"
# Each folder becomes what the compiler is told of it.
for folder in "$@"; do
  shift
  set -- "$@" -I "$folder" "$folder"/*.c
  ls "$folder"/*.c >/dev/null 2>&1 || lacks "C sources in $folder" "name a folder that has some"
done
[ "$missing" -eq 0 ] || exit 1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# --- the adapter --------------------------------------------------------------

if [ -z "${ADAPTER-}" ]; then
  mkdir -p "$work/adapter/src"
  : >"$work/adapter/src/lib.rs"
  cat >"$work/adapter/Cargo.toml" <<TOML
[package]
name = "adapter"
version = "0.0.0"
edition = "2024"

[dependencies]
$adapter_crate = "=$adapter_version"

[workspace]
TOML
  # Where cargo put the crate's sources. Offline when it has them already.
  manifest() {
    cargo metadata "$@" --quiet --format-version 1 --manifest-path "$work/adapter/Cargo.toml" |
      tr '"' '\n' | grep "$adapter_crate-$adapter_version/Cargo.toml\$" | head -n 1
  }
  found=$(manifest --offline 2>/dev/null) || found=
  [ -n "$found" ] || found=$(manifest) || found=
  if [ -z "$found" ]; then
    echo "error: cargo could not fetch the crate $adapter_crate $adapter_version" >&2
    exit 1
  fi
  ADAPTER=$(dirname "$found")/artefacts/wasi_snapshot_preview1.reactor.wasm
  echo "$adapter_sha256  $ADAPTER" | sha256sum --check --quiet - >&2
fi

# --- the component ------------------------------------------------------------

mkdir "$work/wit"
if [ -d "$dir/wit" ]; then
  cp -R "$dir/wit/." "$work/wit"
  mkdir -p "$work/wit/deps"
  cp "$contract" "$work/wit/deps/airssys-core.wit"
else
  cp "$contract" "$work/wit"
fi
"$WIT_BINDGEN" c "$work/wit" --rename-world component --out-dir "$work/gen" >"$work/log" 2>&1 || {
  cat "$work/log" >&2
  exit 1
}

# -mexec-model=reactor: a library with `_initialize`, not a program with `main`.
# The object file holds the component's type for `wasm-tools component new`.
"$CLANG" --target=wasm32-wasi -Wno-deprecated -mexec-model=reactor \
  -std=gnu11 -Os -Wall -Wextra -I "$work/gen" \
  "$@" "$work/gen/component.c" "$work/gen/component_component_type.o" \
  -Wl,--strip-debug -Wl,--stack-first -Wl,-z,stack-size="$stack_size" \
  -Wl,--initial-memory="$initial_memory" \
  -o "$work/core.wasm"

"$WASM_TOOLS" component new "$work/core.wasm" \
  --adapt "wasi_snapshot_preview1=$ADAPTER" -o "$work/component.wasm"
"$WASM_TOOLS" strip "$work/component.wasm" -o "$work/stripped.wasm"
"$WASM_TOOLS" validate --features component-model "$work/stripped.wasm"

mkdir -p "$(dirname "$out")"
cp "$work/stripped.wasm" "$out"
echo "$out: $(wc -c <"$out") bytes"
