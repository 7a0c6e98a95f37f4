//! Components of the world `runtime-host`, and what a module for it looks like.

use std::fmt::Write;
use std::sync::OnceLock;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::abi::{AbiVariant, WasmSignature, WasmType};
use wit_parser::{Function, Resolve, WorldId, WorldItem};

const CONTRACT: &str = include_str!("../../crates/wasm-core/wit/core.wit");
const WORLDS: &str = include_str!("../../crates/wasm-fixtures/wit/worlds.wit");
const LIFECYCLE: &str = "airssys:core/component-lifecycle@1.0.0";

/// The contract with what the fixtures import of WASI.
fn world() -> &'static (Resolve, WorldId) {
    static WORLD: OnceLock<(Resolve, WorldId)> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut resolve = Resolve::default();
        resolve
            .push_str("core.wit", CONTRACT)
            .expect("the contract is WIT");
        let fixtures = resolve
            .push_str("worlds.wit", WORLDS)
            .expect("so are the worlds");
        let world = resolve
            .select_world(&[fixtures], Some("wasi"))
            .expect("there is one");
        (resolve, world)
    })
}

/// A function as a module imports it.
struct Import {
    module: String,
    name: String,
    signature: WasmSignature,
}

fn signature(resolve: &Resolve, variant: AbiVariant, function: &Function) -> WasmSignature {
    resolve.wasm_signature(variant, function)
}

fn imports() -> Vec<Import> {
    let (resolve, world) = world();
    let items = resolve.worlds[*world].imports.iter();
    items
        .filter_map(|(key, item)| match item {
            WorldItem::Interface { id, .. } => Some((resolve.name_world_key(key), *id)),
            _ => None,
        })
        .flat_map(|(module, interface)| {
            let functions = resolve.interfaces[interface].functions.values();
            functions.map(move |function| Import {
                module: module.clone(),
                name: function.name.clone(),
                signature: signature(resolve, AbiVariant::GuestImport, function),
            })
        })
        .collect()
}

fn types(types: &[WasmType]) -> String {
    types
        .iter()
        .map(|ty| format!("{} ", core_type(*ty)))
        .collect()
}

fn core_type(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

/// What a module of the contract imports and exports, as a module with empty functions.
pub fn shape() -> &'static [u8] {
    static SHAPE: OnceLock<Vec<u8>> = OnceLock::new();
    SHAPE.get_or_init(|| {
        let (resolve, world) = world();
        let mut text = String::from("(module\n");
        for Import {
            module,
            name,
            signature,
        } in imports()
        {
            write!(
                text,
                "(import \"{module}\" \"{name}\" (func (param {}) (result {})))\n",
                types(&signature.params),
                types(&signature.results)
            )
            .expect("a string takes everything");
        }
        text += "(memory (export \"memory\") 1)\n\
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) unreachable)\n";
        for (_, item) in &resolve.worlds[*world].exports {
            let WorldItem::Interface { id, .. } = item else {
                continue;
            };
            for (name, function) in &resolve.interfaces[*id].functions {
                let signature = signature(resolve, AbiVariant::GuestExport, function);
                write!(
                    text,
                    "(func (export \"{LIFECYCLE}#{name}\") (param {}) (result {}) unreachable)\n",
                    types(&signature.params),
                    types(&signature.results)
                )
                .expect("a string takes everything");
            }
        }
        text += ")";
        wat::parse_str(&text).expect("the shape is a module")
    })
}

/// Makes a component of a module, `None` if the module is not one of this contract.
pub fn component(mut module: Vec<u8>) -> Option<Vec<u8>> {
    let (resolve, world) = world();
    embed_component_metadata(&mut module, resolve, *world, StringEncoding::UTF8).ok()?;
    let mut encoder = ComponentEncoder::default().module(&module).ok()?;
    encoder.encode().ok()
}

/// A component that takes its messages for programs: a byte chooses a host function, the
/// bytes after it are its arguments, eight each, and then comes the next.
///
/// A pointer may be anything; what it points to, if it is small, is the message itself,
/// which lies at the bottom of the memory.
pub fn driver() -> &'static [u8] {
    static DRIVER: OnceLock<Vec<u8>> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let imports = imports();
        let mut text = String::from("(module\n");
        for (index, Import { module, name, signature }) in imports.iter().enumerate() {
            write!(
                text,
                "(import \"{module}\" \"{name}\" (func $f{index} (param {}) (result {})))\n",
                types(&signature.params),
                types(&signature.results)
            )
            .expect("a string takes everything");
        }
        // Allocations go up from 32 KiB, in a memory of 16 pages; the heap starts over
        // with each message.
        text += r#"
            (memory (export "memory") 16)
            (global $heap (mut i32) (i32.const 0x8000))
            (global $at (mut i32) (i32.const 0))
            (global $end (mut i32) (i32.const 0))
            (func (export "cabi_realloc")
              (param $old i32) (param $old-size i32) (param $align i32) (param $size i32) (result i32)
              (local $at i32)
              (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
              (global.set $heap (i32.add (local.get $at) (local.get $size)))
              (local.get $at))
            (func $argument (result i64)
              (if (i32.gt_u (i32.add (global.get $at) (i32.const 8)) (global.get $end))
                (then (global.set $at (global.get $end)) (return (i64.const 0))))
              (i64.load (global.get $at))
              (global.set $at (i32.add (global.get $at) (i32.const 8))))
            (func $begin (param $message i32)
              (memory.copy (i32.const 0x400)
                (i32.load offset=24 (local.get $message)) (i32.load offset=28 (local.get $message)))
              (global.set $at (i32.const 0x400))
              (global.set $end (i32.add (i32.const 0x400) (i32.load offset=28 (local.get $message)))))
            (func $run
              (local $op i32)
              (loop $next
                (if (i32.ge_u (global.get $at) (global.get $end)) (then (return)))
                (local.set $op (i32.load8_u (global.get $at)))
                (global.set $at (i32.add (global.get $at) (i32.const 1)))
        "#;
        for (index, import) in imports.iter().enumerate() {
            write!(
                text,
                "(if (i32.eq (i32.rem_u (local.get $op) (i32.const {})) (i32.const {index})) (then\n",
                imports.len()
            )
            .expect("a string takes everything");
            for parameter in &import.signature.params {
                text += match core_type(*parameter) {
                    "i32" => "(i32.wrap_i64 (call $argument)) ",
                    "i64" => "(call $argument) ",
                    "f32" => "(f32.reinterpret_i32 (i32.wrap_i64 (call $argument))) ",
                    _ => "(f64.reinterpret_i64 (call $argument)) ",
                };
            }
            write!(text, "(call $f{index})").expect("a string takes everything");
            text += &" drop".repeat(import.signature.results.len());
            text += "))\n";
        }
        text += "(br $next)))\n";
        let (resolve, world) = self::world();
        for (_, item) in &resolve.worlds[*world].exports {
            let WorldItem::Interface { id, .. } = item else {
                continue;
            };
            for (name, function) in &resolve.interfaces[*id].functions {
                let signature = signature(resolve, AbiVariant::GuestExport, function);
                // An answer is made of zeros: `ok`, `none`, an empty text.
                let body = match name.as_str() {
                    "handle-message" | "handle-callback" => {
                        "(global.set $heap (i32.const 0x8000)) (call $begin (local.get 0)) (call $run) (i32.const 0xf0000)"
                    }
                    "health" => "(i32.const 0)",
                    _ => "(i32.const 0xf0000)",
                };
                write!(
                    text,
                    "(func (export \"{LIFECYCLE}#{name}\") (param {}) (result {}) {body})\n",
                    types(&signature.params),
                    types(&signature.results)
                )
                .expect("a string takes everything");
            }
        }
        text += ")";
        let module = wat::parse_str(&text).expect("the driver is a module");
        component(module).expect("the driver is a component")
    })
}
