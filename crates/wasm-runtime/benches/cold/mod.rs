//! From the bytes of a component to its first answer, by how large it is.

use std::fs;
use std::hint::black_box;

use bytes::Bytes;
use tempfile::tempdir;
use tokio::runtime::Runtime;
use wasm_encoder::{
    CodeSection, Encode as _, Function, FunctionSection, MemArg, MemorySection, MemoryType, Module,
    TypeSection, ValType,
};
use wasmtime::component::{Component, InstancePre};

use wasm_core::ComponentMessage;
use wasm_fixtures::ECHO;
use wasm_runtime::{EngineConfig, WasmtimeEngine};

use crate::bare::{Bare, bare_call, bare_message};
use crate::turns::compare;
use crate::{config, engine, id, load};

const MESSAGE: &[u8] = b"hello";

const SIZES: [(usize, &str); 4] = [
    (ECHO.wasm.len(), "8 KiB"),
    (128 << 10, "128 KiB"),
    (1 << 20, "1 MiB"),
    (4 << 20, "4 MiB"),
];

pub(crate) fn compiled(runtime: &Runtime) {
    let engine = engine(EngineConfig::default());
    let bare = Bare::new(&EngineConfig::default());
    for (bytes, size) in SIZES {
        let component = echo_of(bytes);
        compare(
            runtime,
            &format!("bytes to first answer, compiled, {size}"),
            // What nobody has loaded any more is compiled again.
            async || answer(&engine, &component).await,
            async || bare_answer(&bare, &bare.compile(&component)).await,
        );
    }
}

/// The engine reads the cache on disk, and knows by digest and seal that this is what it has
/// written; bare wasmtime maps a file that it must trust.
pub(crate) fn kept(runtime: &Runtime) {
    let folder = tempdir().expect("a folder for temporary files");
    let cache = folder.path().join("cache");
    let engine = engine(EngineConfig::default().with_cache(cache));
    let bare = Bare::new(&EngineConfig::default());
    for (bytes, size) in SIZES {
        let component = echo_of(bytes);
        let file = folder.path().join("code");
        let code = Component::from_binary(&bare.engine, &component).expect("valid");
        fs::write(&file, code.serialize().expect("is its own code")).expect("written");
        compare(
            runtime,
            &format!("bytes to first answer, compiled before, {size}"),
            async || answer(&engine, &component).await,
            async || {
                #[expect(unsafe_code, reason = "it has written the file itself")]
                let code = unsafe { Component::deserialize_file(&bare.engine, &file) };
                bare_answer(&bare, &bare.link(&code.expect("of this engine"))).await;
            },
        );
    }
}

async fn answer(engine: &WasmtimeEngine, component: &Bytes) {
    let handle = load(engine, component, config()).await;
    let message = ComponentMessage::new(id("sender"), id("echo"), Bytes::from_static(MESSAGE));
    let reply = engine.call_handle_message(&handle, message).await;
    black_box(reply.expect("echo answers"));
    engine.unload_component(&handle).await.expect("shuts down");
}

async fn bare_answer(bare: &Bare, compiled: &InstancePre<()>) {
    let (mut store, function) = bare.instantiate(compiled).await;
    let message = bare_message(Bytes::from_static(MESSAGE));
    black_box(bare_call(&mut store, &function, &message).await);
}

/// An echo of about so many bytes: the fixture, and a module beside it that nobody uses.
fn echo_of(bytes: usize) -> Bytes {
    /// The section of a component that is a core module.
    const CORE_MODULE: u8 = 1;
    let Some(more) = bytes.checked_sub(ECHO.wasm.len()).filter(|more| *more > 0) else {
        return Bytes::from_static(ECHO.wasm);
    };
    let mut component = ECHO.wasm.to_vec();
    component.push(CORE_MODULE);
    module_of(more)[..].encode(&mut component);
    component.into()
}

/// Functions that compute in a loop, read and write memory, and call the one before.
fn module_of(bytes: usize) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    let mut memories = MemorySection::new();
    memories.memory(MemoryType {
        minimum: 1,
        maximum: None,
        memory64: false,
        shared: false,
        page_size_log2: None,
    });
    let (mut functions, mut code) = (FunctionSection::new(), CodeSection::new());
    while code.byte_len() < bytes {
        functions.function(0);
        code.function(&function(code.len()));
    }
    let mut module = Module::new();
    module.section(&types).section(&functions);
    module.section(&memories).section(&code);
    module.finish()
}

fn function(number: u32) -> Function {
    let word = |offset| MemArg {
        offset,
        align: 2,
        memory_index: 0,
    };
    let mut function = Function::new([(2, ValType::I32)]);
    let mut body = function.instructions();
    body.block(wasm_encoder::BlockType::Empty);
    body.loop_(wasm_encoder::BlockType::Empty);
    body.local_get(1).local_get(0).i32_ge_u().br_if(1);
    for step in 0..8_u32 {
        body.local_get(1).i32_const(0xfffc).i32_and();
        body.i32_load(word(u64::from(4 * step)));
        body.local_get(2).i32_add();
        body.i32_const(number.cast_signed()).i32_xor();
        body.i32_const(step.cast_signed() + 1)
            .i32_rotl()
            .local_set(2);
    }
    body.local_get(1).i32_const(0xfffc).i32_and();
    body.local_get(2).i32_store(word(0));
    body.local_get(1).i32_const(1).i32_add().local_set(1);
    body.br(0).end().end();
    body.local_get(2);
    if let Some(before) = number.checked_sub(1) {
        body.call(before);
    }
    body.end();
    function
}
