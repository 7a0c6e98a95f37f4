use std::fmt::Write;

use bytes::Bytes;
use wasm_encoder::{
    CodeSection, Component, ComponentSection, CustomSection, Function, FunctionSection,
    InstanceSection, Module, ModuleArg, ModuleSection, TypeSection, ValType,
};

use wasm_core::{Defect, WasmError};
use wasm_fixtures::{ALL, Behaviour, NESTED_INSTANCES};
use wasm_runtime::WasmtimeEngine;

use crate::support::{config, engine, id, with_memory, within};

async fn validate(engine: &WasmtimeEngine, wasm: impl Into<Bytes>) -> Result<(), WasmError> {
    let config = with_memory(2 << 20);
    let id = id("demo/complex/main");
    let prepared = within(engine.prepare_component(&id, wasm.into(), &config)).await;
    prepared.map(drop)
}

/// What there is too much of, and how much.
async fn excess(wasm: impl Into<Bytes>) -> (&'static str, u64) {
    match validate(&engine(), wasm).await {
        Err(WasmError::InvalidComponent {
            defect: Defect::TooComplex { what, found, limit },
            ..
        }) => {
            assert!(found > limit, "{found} {what} of {limit}");
            (what, found)
        }
        other => panic!("{other:?}"),
    }
}

async fn excess_of(text: &str) -> (&'static str, u64) {
    excess(wat::parse_str(text).unwrap()).await
}

fn component(module: &str, instances: usize) -> String {
    let instances = "(core instance (instantiate $m))".repeat(instances);
    format!("(component (core module $m {module}) {instances})")
}

/// A function with a parameter and locals that are all needed in the end.
pub(crate) fn function(locals: usize, body: &str) -> String {
    let declared = "i32 ".repeat(locals);
    let mut text = format!("(func (param i32) (result i32) (local {declared})");
    for local in 1..=locals {
        write!(text, " local.get 0 local.set {local}").unwrap();
    }
    text += body;
    text += " i32.const 0";
    for local in 1..=locals {
        write!(text, " local.get {local} i32.add").unwrap();
    }
    text + ")"
}

/// A component of so many functions with so many locals each: a word for each local in text, an
/// entry for all of them in binary.
fn with_locals(functions: usize, locals: u32) -> Vec<u8> {
    let mut function = Function::new([(locals, ValType::I64)]);
    function.instructions().end();
    let (mut types, mut declared) = (TypeSection::new(), FunctionSection::new());
    types.ty().function([], []);
    let mut code = CodeSection::new();
    for _ in 0..functions {
        declared.function(0);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&code);
    let mut instances = InstanceSection::new();
    instances.instantiate(0, [] as [(&str, ModuleArg); 0]);
    let mut component = Component::new();
    component
        .section(&ModuleSection(&module))
        .section(&instances);
    component.finish()
}

/// The same component with so many bytes more, which mean nothing.
pub(crate) fn padded(mut wasm: Vec<u8>, bytes: usize) -> Vec<u8> {
    let padding = vec![0; bytes];
    let custom = CustomSection {
        name: "".into(),
        data: padding.as_slice().into(),
    };
    custom.append_to_component(&mut wasm);
    wasm
}

/// Components of which each instantiates the one before it twice.
fn doubled(innermost: &str, depth: usize) -> String {
    let mut text = format!("(component $c0 {innermost})");
    for level in 1..=depth {
        let below = level - 1;
        write!(
            text,
            "(component $c{level} (alias outer 1 $c{below} (component $c))
               (instance (instantiate $c)) (instance (instantiate $c)))"
        )
        .unwrap();
    }
    format!("(component {text} (instance (instantiate $c{depth})))")
}

#[tokio::test]
async fn instances_that_double_are_counted_without_making_any() {
    let found = excess(NESTED_INSTANCES.wasm).await;
    assert_eq!(found, ("core instances", 1 << 30));
    let module = "(core module $m) (core instance (instantiate $m))";
    let found = excess_of(&doubled(module, 100)).await;
    assert_eq!(found, ("core instances", u64::MAX));
    let found = excess_of(&doubled("", 20)).await;
    assert_eq!(found, ("component instances", 1 << 21));
    let found = excess_of(&component("", 300)).await;
    assert_eq!(found, ("core instances", 300));
    let found = excess_of(&component("(memory 0)", 9)).await;
    assert_eq!(found, ("memories", 9));
    let found = excess_of(&component("(table 0 funcref)", 65)).await;
    assert_eq!(found, ("tables", 65));
}

/// Types that refer to each other twice, as exports, functions and instances use them.
#[tokio::test]
async fn types_that_double_are_counted_without_writing_them_out() {
    let doubled = |depth: usize, one: fn(usize, usize) -> String| -> String {
        (1..=depth).map(|i| one(i - 1, i)).collect()
    };
    let tuples = doubled(17, |below, i| {
        format!("(type $t{i} (tuple $t{below} $t{below}))")
    });
    let tuples = format!("(type $t0 (tuple u8 u8)) {tuples}");
    let bags = doubled(17, |below, i| {
        format!(
            "(instance $b{i} (export \"x\" (instance $b{below})) (export \"y\" (instance $b{below})))"
        )
    });
    for (text, what) in [
        (
            format!("(component {tuples} (export \"t\" (type $t17)))"),
            "items of exports",
        ),
        (
            format!("(component (instance $b0) {bags})"),
            "items of component instances",
        ),
        (
            format!(
                "(component {tuples}
                   (import \"f\" (func $f (param \"x\" $t17)))
                   (core module $m (memory (export \"m\") 1))
                   (core instance $i (instantiate $m))
                   {})",
                "(core func (canon lower (func $f) (memory $i \"m\")))".repeat(10)
            ),
            "instructions",
        ),
    ] {
        assert_eq!(excess_of(&text).await.0, what);
    }
}

/// Many types may hide in one that is declared, and many of a module's in one group.
#[tokio::test]
async fn types_within_types_are_counted_one_by_one() {
    let declared = "(type (func))".repeat(60_000);
    let group = "(type (func))".repeat(20_000);
    for (text, what) in [
        (
            format!("(component (type (instance {declared})))"),
            "definitions in components",
        ),
        (
            format!("(component (type (component (type (instance {declared})))))"),
            "definitions in components",
        ),
        (
            format!("(component (core type (module {declared})))"),
            "definitions in components",
        ),
        (
            format!("(component (core module (rec {group})))"),
            "types of functions",
        ),
    ] {
        assert_eq!(excess_of(&text).await.0, what);
    }
}

/// A parser that calls itself for each would run out of its thread's stack, which ends the
/// process. Written in binary, because a parser of text would too.
#[tokio::test]
async fn types_that_are_nested_without_end_end_nothing() {
    for opener in [&[0x42, 1, 1][..], &[0x41, 1, 1]] {
        let mut types = vec![1];
        types.extend(opener.repeat(1 << 20));
        types.extend([0x42, 0]);
        let mut wasm = b"\0asm\x0d\0\x01\0\x07".to_vec();
        let mut length = types.len();
        while length >= 0x80 {
            wasm.push(length as u8 | 0x80);
            length >>= 7;
        }
        wasm.push(length as u8);
        wasm.extend(types);
        assert_eq!(excess(wasm).await.0, "levels of components in components");
    }
}

#[tokio::test]
async fn what_is_handed_around_cannot_hide() {
    let handed = "(component
        (core module $m)
        (component $inner
          (import \"m\" (core module $handed))
          (core instance (instantiate $handed)))
        (instance (instantiate $inner (with \"m\" (core module $m)))))";
    let found = excess_of(handed).await;
    assert_eq!(found, ("instances of what a component is handed", 1));
    let exported = "(component
        (component $outer
          (component $hidden)
          (export \"c\" (component $hidden)))
        (instance $i (instantiate $outer))
        (alias export $i \"c\" (component $found))
        (instance (instantiate $found)))";
    let found = excess_of(exported).await;
    assert_eq!(found, ("instances of what a component is handed", 1));
}

#[tokio::test]
async fn functions_that_are_hard_to_compile_are_refused() {
    let ifs = |count: usize| " local.get 0 if".repeat(count) + &" end".repeat(count);
    for (module, what) in [
        (
            function(2_000, &" loop local.get 0 br_if 0 end".repeat(2_000)),
            "values kept across branches in one function",
        ),
        (
            function(0, &" local.get 0 if end".repeat(50_000)),
            "values kept across branches in one function",
        ),
        (
            function(
                100,
                &format!(" block local.get 0 br_table {} end", "0 ".repeat(50_000)),
            ),
            "values kept across branches in one function",
        ),
        (
            function(0, &ifs(9_000)),
            "blocks within each other in one function",
        ),
        (
            function(0, &" i32.const 1 drop".repeat(150_000)),
            "instructions in one function",
        ),
        (
            format!(
                "(func $many (result {}) unreachable) (func {} return)",
                "i32 ".repeat(1_000),
                "call $many ".repeat(300)
            ),
            "instructions for each KiB of one function",
        ),
        (
            format!(
                "(func (result i32) i32.const 0 {} unreachable {} return)",
                format!("block (result {}) ", "i32 ".repeat(500)).repeat(600),
                "end ".repeat(600)
            ),
            "instructions for each KiB of one function",
        ),
        (
            format!(
                "(global i32 i32.const 0 {})",
                "i32.const 1 i32.add ".repeat(100_000)
            ),
            "instructions in one function",
        ),
        // Nobody knows where they go before there is an instance.
        (
            format!(
                "(global $at i32 (i32.const 0)) (memory 1) {}",
                "(data (global.get $at) \"\")".repeat(40_000)
            ),
            "instructions in one function",
        ),
    ] {
        assert_eq!(excess_of(&component(&module, 1)).await.0, what);
    }
    let hard = function(1_000, &" loop local.get 0 br_if 0 end".repeat(1_000));
    let hard = wat::parse_str(component(&hard.repeat(20), 1)).unwrap();
    let found = excess(padded(hard, 16 << 20)).await;
    assert_eq!(found.0, "values kept across branches");
    let found = excess(padded(with_locals(500, 30_000), 16 << 20)).await;
    assert_eq!(found.0, "instructions");
    let parameters = format!(
        "(type (func (param {}))) {}",
        "i32 ".repeat(1_000),
        "(func (type 0))".repeat(15_000)
    );
    let found = excess_of(&component(&parameters, 1)).await;
    assert_eq!(found.0, "instructions for each KiB");
}

/// What is cheap to send is cheap to compile.
#[tokio::test]
async fn a_small_component_has_little_to_compile() {
    let i64s = "i64 ".repeat(1_000);
    let parameters: String = (0..1_000).map(|n| format!("local.get {n} ")).collect();
    let wide =
        |calls: String| format!("(func (param {i64s}) (result {i64s}) {parameters} {calls})");
    let blocks = |opening: &str, count: usize| {
        format!("(func {} {})", opening.repeat(count), "end ".repeat(count))
    };
    let once = component(&blocks("block ", 7_900), 1);
    validate(&engine(), wat::parse_str(&once).unwrap())
        .await
        .unwrap();
    let of_function = "instructions for each KiB of one function";
    let of_all = "instructions for each KiB";
    for (module, what) in [
        (wide("call 0 ".repeat(50)), of_function),
        (wide("call 0 ".repeat(10)).repeat(40), of_all),
        (blocks("loop ", 7_900), of_function),
        (blocks("block ", 7_900).repeat(2), of_all),
        ("(func)".repeat(40_000), of_all),
        (
            function(900, &" loop local.get 0 br_if 0 end".repeat(900)).repeat(2),
            "values kept across branches for each KiB",
        ),
    ] {
        let found = excess_of(&component(&module, 1)).await;
        assert_eq!(found.0, what, "{}", &module[..40.min(module.len())]);
    }
    let gap = "(core module (memory 256)
        (data (i32.const 0) \"a\") (data (i32.const 16777215) \"a\"))";
    let found = excess_of(&format!("(component {})", gap.repeat(2))).await;
    assert_eq!(found.0, "bytes of memory images for each KiB");
}

/// Where code is not reached there are no operands, but a validator checks each that there
/// would be, and some instructions say themselves how many these are.
#[tokio::test]
async fn what_is_never_reached_is_weighed_before_it_is_validated() {
    let i32s = "i32 ".repeat(1_000);
    let many = format!("(type $many (func (param {i32s}) (result {i32s})))");
    let fields = "(field i32)".repeat(1_000);
    let structs = format!("(type $struct (struct {fields}))");
    let unreached = |body: &str| format!("(func (result {i32s}) unreachable {body} unreachable)");
    let kept = "values kept across branches in one function";
    let instructions = "instructions for each KiB of one function";
    let at_once = "instructions in one function";
    for (module, what) in [
        (unreached(&format!("br_table {}", "0 ".repeat(5_000))), kept),
        (unreached(&"br_if 0 ".repeat(5_000)), kept),
        (unreached(&"return ".repeat(500)), instructions),
        (
            format!(
                "{many} (func $f (type $many) unreachable) {}",
                unreached(&"call $f ".repeat(500))
            ),
            instructions,
        ),
        (
            format!(
                "{many} {}",
                unreached(&"loop (type $many) end ".repeat(500))
            ),
            instructions,
        ),
        (
            format!(
                "(tag $t (param {i32s})) {}",
                unreached(&format!("try_table {} end", "(catch $t 0)".repeat(500)))
            ),
            at_once,
        ),
        (
            format!(
                "{structs} {}",
                unreached(&"struct.new_default $struct ".repeat(500))
            ),
            instructions,
        ),
        // Each of them in as many bytes.
        (
            format!(
                "(type $a (array i32)) {}",
                unreached("array.new_fixed $a 4294967295")
            ),
            at_once,
        ),
        // It is weighed first, or it would be invalid.
        (
            "(type $a (array i32)) (func array.new_fixed $a 4294967295 drop)".to_owned(),
            at_once,
        ),
        (
            format!(
                "{structs} {}",
                "(global (ref $struct) (struct.new_default $struct))".repeat(10_000)
            ),
            "instructions",
        ),
    ] {
        assert_eq!(
            excess_of(&component(&module, 1)).await.0,
            what,
            "{}",
            &module[..40]
        );
    }
}

#[tokio::test]
async fn memory_of_the_host_is_counted_for_every_instance() {
    let globals = "(global i64 (i64.const 1))";
    let elements = format!("(func $f) (elem func {})", "$f ".repeat(60_000));
    for (text, what) in [
        (component(&globals.repeat(20_000), 1), "globals"),
        (
            component(&globals.repeat(10_000), 30),
            "bytes of host memory for instances",
        ),
        (
            component(
                &format!("{elements} (elem func {})", "$f ".repeat(10_000)),
                1,
            ),
            "elements in segments",
        ),
        (
            component(&elements, 5),
            "bytes of host memory for instances",
        ),
        (
            component(&"(func)".repeat(3_000), 50),
            "bytes of host memory for instances",
        ),
    ] {
        assert_eq!(excess_of(&text).await.0, what);
    }
}

#[tokio::test]
async fn what_is_never_instantiated_is_compiled_nevertheless() {
    let sparse = "(core module (memory 256)
        (data (i32.const 0) \"a\") (data (i32.const 16777215) \"a\"))";
    let mut levels = String::new();
    for _ in 0..40 {
        levels = format!("(component {levels})");
    }
    let exports: String = (0..66_000)
        .map(|number| format!("(export \"f{number}\" (func $f))"))
        .collect();
    for (items, what) in [
        ("(core module)".repeat(129), "core modules"),
        (
            "(core module (table 1000000 funcref))".repeat(5),
            "elements in tables",
        ),
        (
            format!("(core module {})", "(func)".repeat(70_000)),
            "functions",
        ),
        (levels, "levels of components in components"),
        (
            format!("(core module {})", "(data \"\")".repeat(70_000)).repeat(2),
            "data segments",
        ),
        (
            format!("(core module (func $f) {})", "(elem func $f)".repeat(1_025)),
            "element segments",
        ),
        (
            format!("(core module (func $f) {exports})"),
            "imports and exports of core modules",
        ),
    ] {
        assert_eq!(excess_of(&format!("(component {items})")).await.0, what);
    }
    let images = wat::parse_str(format!("(component {})", sparse.repeat(5))).unwrap();
    let found = excess(padded(images, 24 << 20)).await;
    assert_eq!(found.0, "bytes of memory images");
}

#[tokio::test]
async fn up_to_the_limits_everything_loads() {
    let engine = engine();
    for text in [
        component("(memory 0)", 8),
        component(
            "(global i64 (i64.const 1)) (func) (export \"f\" (func 0))",
            256,
        ),
        component(&function(0, &" local.get 0 if end".repeat(1_000)), 1),
    ] {
        let wasm: Bytes = wat::parse_str(&text).unwrap().into();
        let id = id("demo/complex/main");
        let loading = engine.load_component(&id, wasm, config());
        within(loading).await.unwrap();
    }
}

#[tokio::test]
async fn what_toolchains_make_is_not_too_complex() {
    let engine = engine();
    let c = include_bytes!("../../../../examples/c-echo/echo.wasm");
    validate(&engine, &c[..]).await.unwrap();
    for fixture in ALL {
        if !matches!(fixture.behaviour, Behaviour::Refused(_)) {
            let valid = validate(&engine, fixture.wasm).await;
            assert!(valid.is_ok(), "{}: {valid:?}", fixture.name);
        }
    }
}
