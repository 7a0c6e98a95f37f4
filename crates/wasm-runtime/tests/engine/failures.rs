//! What is said of a failure, and how much of it is kept.

use std::error::Error as StdError;

use bytes::Bytes;
use wasmtime::component::Val;

use wasm_core::{ComponentConfig, ComponentHandle, Resource, Trap, WasmError};
use wasm_runtime::WasmtimeEngine;

use crate::support::{HANG, engine, fuelled, id, timed};

/// A component whose core module has these fields and exports `f`, with a parameter.
async fn load(engine: &WasmtimeEngine, module: &str, config: ComponentConfig) -> ComponentHandle {
    let text = format!(
        r#"(component
            (core module $m {module})
            (core instance $i (instantiate $m))
            (func (export "f") (param "n" u32) (canon lift (core func $i "f"))))"#
    );
    let wasm = Bytes::from(wat::parse_str(text).unwrap());
    let name = id("demo/failing/main");
    engine.load_component(&name, wasm, config).await.unwrap()
}

async fn failure(module: &str, config: ComponentConfig, argument: u32) -> WasmError {
    let engine = engine();
    let handle = load(&engine, module, config).await;
    let arguments = [Val::U32(argument)];
    let call = engine.call_export(&handle, "f", &arguments);
    call.await.unwrap_err()
}

const FUEL: u64 = 10_000_000;

#[tokio::test]
async fn a_bulk_instruction_out_of_bounds_is_told_as_that() {
    let memory = "(memory 1) (data $d \"abc\")";
    let table = "(table 1 funcref) (elem $e func)";
    let all = "(memory 1) (table 1 funcref)";
    for (fields, instruction, expected) in [
        (
            memory,
            "(memory.fill (i32.const 0) (i32.const 0) (local.get 0))",
            Trap::MemoryOutOfBounds,
        ),
        (
            memory,
            "(memory.fill (i32.const 0) (i32.const 0) (i32.const -1))",
            Trap::MemoryOutOfBounds,
        ),
        (
            memory,
            "(memory.copy (i32.const 0) (i32.const 1) (local.get 0))",
            Trap::MemoryOutOfBounds,
        ),
        (
            memory,
            "(memory.init $d (i32.const 0) (i32.const 0) (local.get 0))",
            Trap::MemoryOutOfBounds,
        ),
        (
            table,
            "(table.fill (i32.const 0) (ref.null func) (local.get 0))",
            Trap::TableOutOfBounds,
        ),
        (
            table,
            "(table.copy (i32.const 0) (i32.const 1) (local.get 0))",
            Trap::TableOutOfBounds,
        ),
        (
            table,
            "(table.init $e (i32.const 0) (i32.const 0) (local.get 0))",
            Trap::TableOutOfBounds,
        ),
        (
            all,
            "(table.fill (i32.const 0) (ref.null func) (local.get 0))",
            Trap::TableOutOfBounds,
        ),
    ] {
        let module = format!("{fields} (func (export \"f\") (param i32) {instruction})");
        for config in [fuelled(FUEL), timed(HANG)] {
            let error = failure(&module, config, u32::MAX).await;
            let WasmError::Trapped {
                trap,
                fuel_consumed,
                frames,
                ..
            } = &error
            else {
                panic!("{instruction}: {error}");
            };
            assert_eq!(*trap, expected, "{instruction}");
            assert!(*fuel_consumed < FUEL, "{instruction}: {fuel_consumed}");
            assert_eq!(frames.len(), 1, "{instruction}");
        }
    }
}

#[tokio::test]
async fn bulk_instructions_in_bounds_run_out_of_fuel() {
    let filling = "(memory 16)
        (func (export \"f\") (param i32)
            (loop $again
                (memory.fill (i32.const 0) (i32.const 7) (local.get 0))
                (br $again)))";
    // Nor is it told of one that is charged no more than it could be in bounds.
    let late = "(memory 16)
        (func (export \"f\") (param i32)
            (local $n i32)
            (loop $again
                (local.set $n (i32.add (local.get $n) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $n) (i32.const 1000000))))
            (memory.fill (i32.const 0) (i32.const 7) (local.get 0)))";
    for (module, length) in [(filling, 1 << 20), (filling, 1), (late, u32::MAX)] {
        let error = failure(module, fuelled(6_500_000), length).await;
        let WasmError::ResourceLimitExceeded {
            resource: Resource::Fuel,
            fuel_consumed: 6_500_000,
            ..
        } = error
        else {
            panic!("{length} bytes: {error}");
        };
    }
}

/// With little fuel it cannot be told from one that is too expensive, and the error says so.
#[tokio::test]
async fn what_may_be_out_of_bounds_is_told_as_that() {
    let fields = "(memory 1) (table 1 funcref) (data $d \"abc\") (elem $e func)";
    let may_be = "charged for its length before its bounds are looked at";
    for (instruction, is_told) in [
        (
            "(memory.fill (i32.const 0) (i32.const 0) (local.get 0))",
            true,
        ),
        (
            "(memory.copy (i32.const 0) (i32.const 1) (local.get 0))",
            true,
        ),
        (
            "(memory.init $d (i32.const 0) (i32.const 0) (local.get 0))",
            true,
        ),
        (
            "(table.fill (i32.const 0) (ref.null func) (local.get 0))",
            true,
        ),
        (
            "(table.copy (i32.const 0) (i32.const 1) (local.get 0))",
            true,
        ),
        (
            "(table.init $e (i32.const 0) (i32.const 0) (local.get 0))",
            true,
        ),
        ("(drop (table.grow (ref.null func) (local.get 0)))", true),
        ("(loop $again (br $again))", false),
    ] {
        let module = format!("{fields} (func (export \"f\") (param i32) {instruction})");
        let error = failure(&module, fuelled(100_000), u32::MAX).await;
        let WasmError::ResourceLimitExceeded {
            resource: Resource::Fuel,
            charged_ahead,
            ..
        } = error
        else {
            panic!("{instruction}: {error}");
        };
        assert_eq!(charged_ahead, is_told, "{instruction}");
        assert_eq!(error.to_string().contains(may_be), is_told, "{error}");
        let text = error.to_string();
        assert_eq!(error.kept().to_string(), text);
    }
}

#[tokio::test]
async fn frames_are_named_as_in_the_source() {
    for (name, expected) in [
        (
            "_RNCNvNtCsfIcCtt6Tiat_3std9panicking13panic_handler0B5_",
            "std::panicking::panic_handler::{closure#0}",
        ),
        ("_ZNSt6vectorIiE4pushEi", "std::vector<int>::push(int)"),
        ("handle", "handle"),
    ] {
        let module = format!("(func ${name} (export \"f\") (param i32) unreachable)");
        let error = failure(&module, fuelled(FUEL), 0).await;
        let names: Vec<_> = error
            .frames()
            .iter()
            .map(|f| f.function.as_deref())
            .collect();
        assert_eq!(names, [Some(expected)]);
    }
}

fn depth(error: &WasmError) -> usize {
    let mut below = error.source();
    let mut depth = 0;
    while let Some(error) = below {
        depth += 1;
        below = error.source();
    }
    depth
}

#[tokio::test]
async fn a_failure_with_long_names_is_small() {
    let name = "n".repeat(90_000);
    let module = format!(
        "(func ${name} (export \"f\") (param i32)
            (if (i32.eqz (local.get 0)) (then unreachable))
            (call ${name} (i32.sub (local.get 0) (i32.const 1))))"
    );
    let engine = engine();
    let handle = load(&engine, &module, fuelled(FUEL)).await;
    let arguments = [Val::U32(40)];
    let call = async || {
        let call = engine.call_export(&handle, "f", &arguments);
        call.await.unwrap_err()
    };
    let error = call().await;
    assert_eq!(error.frames().len(), 32);
    assert!(depth(&error) <= 1, "{error:?}");
    assert!(
        error.size_bytes() <= WasmError::MAX_KEPT_BYTES,
        "{}",
        error.size_bytes()
    );
    let kept = error.clone().kept();
    assert!(
        kept.size_bytes() <= WasmError::MAX_KEPT_BYTES,
        "{}",
        kept.size_bytes()
    );
    assert!(kept.frames().len() >= 8, "{:?}", kept.frames());
    // What the engine keeps of it until the component is restarted.
    let later = call().await;
    let WasmError::ComponentFailed { source, .. } = &later else {
        panic!("{later}");
    };
    assert!(
        source.size_bytes() <= WasmError::MAX_KEPT_BYTES,
        "{}",
        source.size_bytes()
    );
    assert_eq!(source.frames(), kept.frames());
    assert!(depth(&later) <= 2, "{later:?}");
}
