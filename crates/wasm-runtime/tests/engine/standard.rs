//! Components of other hosts: `wasi:keyvalue` and `wasi:config`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentStorage, HostServices, MemoryStorage, Permissions,
    Trap, WasmError,
};
use wasm_fixtures::KV;
use wasm_runtime::WasmtimeEngine;
use wasm_runtime::wasmtime::component::Val;
use wasm_testkit::{Fault, Faulty, Method, RecordingValidator};

use crate::support::{config, engine, engine_with, load};

const NO_SUCH_STORE: u32 = 1;
const ACCESS_DENIED: u32 = 2;
const OTHER: u32 = 3;

struct Kv {
    engine: WasmtimeEngine,
    handle: ComponentHandle,
}

impl Kv {
    async fn with(config: ComponentConfig) -> Self {
        Self::of(engine(), config).await
    }

    async fn of(engine: WasmtimeEngine, config: ComponentConfig) -> Self {
        let handle = load(&engine, KV, config).await;
        Self { engine, handle }
    }

    async fn new(storage: Option<u64>) -> Self {
        Self::with(permitted(storage)).await
    }

    async fn call(&self, function: &str, args: &[Val]) -> Val {
        let called = self.engine.call_export(&self.handle, function, args);
        let mut values = called.await.unwrap();
        values.pop().unwrap()
    }

    async fn use_bucket(&self, name: &str) {
        let name = [string(name)];
        let called = self.engine.call_export(&self.handle, "use-bucket", &name);
        called.await.unwrap();
    }

    async fn number(&self, function: &str, texts: &[&str]) -> u32 {
        let args: Vec<Val> = texts.iter().map(|text| string(text)).collect();
        match self.call(function, &args).await {
            Val::U32(number) => number,
            Val::Bool(value) => value.into(),
            other => panic!("{function} returned {other:?}"),
        }
    }

    async fn text(&self, function: &str, key: &str) -> Option<String> {
        match self.call(function, &[string(key)]).await {
            Val::Option(None) => None,
            Val::Option(Some(text)) => match *text {
                Val::String(text) => Some(text),
                other => panic!("{function} returned {other:?}"),
            },
            other => panic!("{function} returned {other:?}"),
        }
    }

    async fn read_often(&self, key: &str, times: u32, second: bool) -> Result<u32, WasmError> {
        let args = [string(key), Val::U32(times), Val::Bool(second)];
        let called = self.engine.call_export(&self.handle, "read-often", &args);
        match called.await?.pop() {
            Some(Val::U32(case)) => Ok(case),
            other => panic!("read-often returned {other:?}"),
        }
    }

    async fn add(&self, key: &str, number: u64) -> Val {
        self.call("add", &[string(key), Val::U64(number)]).await
    }
}

fn string(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn permitted(storage: Option<u64>) -> ComponentConfig {
    let mut permissions = Permissions::default();
    permissions.storage = storage;
    config().with_permissions(permissions)
}

fn some(value: Val) -> Val {
    Val::Option(Some(Box::new(value)))
}

#[tokio::test]
async fn values_are_those_of_the_components_storage() {
    let kv = Kv::new(Some(64 << 10)).await;
    assert_eq!(kv.text("get", "a").await, None);
    assert_eq!(kv.number("exists", &["a"]).await, 0);
    assert_eq!(kv.number("set", &["a", "one"]).await, 0);
    assert_eq!(kv.text("get", "a").await.as_deref(), Some("one"));
    assert_eq!(kv.number("exists", &["a"]).await, 1);
    assert_eq!(kv.number("delete", &["a"]).await, 0);
    assert_eq!(kv.number("delete", &["a"]).await, 0);
    assert_eq!(kv.text("get", "a").await, None);
    assert_eq!(kv.number("set", &["", "x"]).await, OTHER);
}

#[tokio::test]
async fn a_bucket_needs_a_name_and_the_permission() {
    let validator = Arc::new(RecordingValidator::new());
    let services = HostServices::default().with_validator(Arc::clone(&validator) as _);
    let long = "x".repeat(65);
    for (storage, name, opened) in [
        (Some(1024), "default", 0),
        (Some(1024), "", 0),
        (Some(1024), "other", 0),
        (Some(1024), &long[1..], 0),
        (Some(1024), &long, NO_SUCH_STORE),
        (Some(1024), "a/b", NO_SUCH_STORE),
        (None, "default", ACCESS_DENIED),
        (None, "other", ACCESS_DENIED),
    ] {
        let engine = engine_with(services.clone());
        let handle = load(&engine, KV, permitted(storage)).await;
        let kv = Kv { engine, handle };
        assert_eq!(
            kv.number("open", &[name]).await,
            opened,
            "{storage:?} {name}"
        );
    }
    assert_eq!(validator.denials().len(), 2);
}

/// What is in one is not in another; the whole storage has it under a longer name.
#[tokio::test]
async fn buckets_are_parts_of_the_storage() {
    let kv = Kv::new(Some(1 << 20)).await;
    let page = |keys, cursor| some(Val::Tuple(vec![Val::U32(keys), Val::U64(cursor)]));
    let none = || [Val::Option(None)];
    kv.number("set", &["a", "whole"]).await;
    kv.use_bucket("in_memory").await;
    assert_eq!(kv.text("get", "a").await, None);
    assert_eq!(kv.number("exists", &["a"]).await, 0);
    assert_eq!(kv.number("set", &["", "x"]).await, OTHER);
    assert_eq!(kv.number("set", &["a", "part"]).await, 0);
    assert_eq!(kv.add("n", 2).await, some(Val::U64(2)));
    assert_eq!(kv.number("swap", &["s", "swapped"]).await, 0);
    assert_eq!(kv.number("many", &["b", "c", "d"]).await, 2);
    assert_eq!(kv.call("page", &none()).await, page(4, 0));
    let last = some(Val::Tuple(vec![Val::U32(1), string("")]));
    assert_eq!(kv.call("page-after", &[some(string("n"))]).await, last);

    kv.use_bucket("in_memory2").await;
    assert_eq!(kv.call("page", &none()).await, page(0, 0));

    kv.use_bucket("").await;
    assert_eq!(kv.call("page", &none()).await, page(5, 0));
    for (key, value) in [
        ("a", "whole"),
        ("in_memory/a", "part"),
        ("in_memory/n", "2"),
        ("in_memory/s", "swapped"),
    ] {
        assert_eq!(kv.text("get", key).await.as_deref(), Some(value), "{key}");
    }
    kv.use_bucket("in_memory").await;
    kv.number("delete", &["a"]).await;
    assert_eq!(kv.number("exists", &["a"]).await, 0);
    kv.use_bucket("").await;
    assert_eq!(kv.text("get", "a").await.as_deref(), Some("whole"));
}

#[tokio::test]
async fn the_quota_is_that_of_storage() {
    let kv = Kv::new(Some(1 << 10)).await;
    assert_eq!(kv.number("set", &["a", &"x".repeat(700)]).await, 0);
    assert_eq!(kv.number("set", &["b", &"x".repeat(700)]).await, OTHER);
    assert_eq!(kv.number("exists", &["b"]).await, 0);
}

#[tokio::test]
async fn numbers_are_added_to_as_text() {
    let kv = Kv::new(Some(64 << 10)).await;
    assert_eq!(kv.add("n", 40).await, some(Val::U64(40)));
    assert_eq!(kv.add("n", 2).await, some(Val::U64(42)));
    assert_eq!(kv.text("get", "n").await.as_deref(), Some("42"));
    let signed = [string("n"), Val::S64(-50)];
    assert_eq!(kv.call("add-signed", &signed).await, some(Val::S64(-8)));
    // No number of the other draft.
    assert_eq!(kv.add("n", 1).await, Val::Option(None));
    assert_eq!(kv.text("get", "n").await.as_deref(), Some("-8"));
    assert_eq!(kv.add("m", u64::MAX).await, some(Val::U64(u64::MAX)));
    assert_eq!(kv.add("m", 1).await, Val::Option(None));
    kv.number("set", &["text", "many"]).await;
    assert_eq!(kv.add("text", 1).await, Val::Option(None));
    assert_eq!(kv.text("get", "text").await.as_deref(), Some("many"));
}

/// Instances that are called at a time share one store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_of_what_is_added_at_a_time() {
    const CALLS: u64 = 200;
    let kv = Arc::new(Kv::with(permitted(Some(64 << 10)).with_concurrency(8)).await);
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let kv = Arc::clone(&kv);
        calls.spawn(async move { kv.add("n", 1).await });
    }
    while let Some(added) = calls.join_next().await {
        assert_ne!(added.unwrap(), Val::Option(None));
    }
    assert_eq!(kv.text("get", "n").await, Some(CALLS.to_string()));
}

#[tokio::test]
async fn a_value_is_swapped_unless_it_has_changed() {
    let kv = Kv::new(Some(64 << 10)).await;
    assert_eq!(kv.number("swap", &["a", "one"]).await, 0);
    assert_eq!(kv.text("get", "a").await.as_deref(), Some("one"));
    assert_eq!(kv.number("swap-late", &["a", "between", "two"]).await, 1);
    assert_eq!(kv.text("get", "a").await.as_deref(), Some("two"));
}

#[tokio::test]
async fn many_values_are_set_read_and_deleted() {
    let kv = Kv::new(Some(64 << 10)).await;
    assert_eq!(kv.number("many", &["a", "b", "c"]).await, 2);
    assert_eq!(kv.number("exists", &["a"]).await, 0);
    assert_eq!(kv.text("get", "b").await.as_deref(), Some("default"));
    assert_eq!(kv.number("count", &["a", "b"]).await, 1);
    assert_eq!(kv.number("count", &["b", "b"]).await, 2);
    assert_eq!(kv.number("count", &["a", "c"]).await, 0);
}

/// A batch costs the host no more than the component may hold, however often it names a key.
#[tokio::test]
async fn values_that_are_read_together_are_what_the_component_can_hold() {
    const VALUE: usize = 60 << 10;
    let noted = Fault::Delay(Duration::ZERO);
    let memory = Arc::new(MemoryStorage::new());
    let storage = Arc::new(Faulty::new(memory).on_every_call(Method::Get, noted));
    let kv = Kv::of(
        engine_with(HostServices::default().with_storage(storage.clone())),
        permitted(Some(1 << 20)),
    )
    .await;
    let owner = kv.handle.id();
    let large = Bytes::from(vec![b'x'; VALUE]);
    storage.set(owner, "large", large, 1 << 20).await.unwrap();
    let most = permitted(None).limits.memory_bytes() as usize;
    for second in [false, true] {
        let before = storage.injected().len();
        let read = || storage.injected().len() - before;
        assert_eq!(kv.read_often("large", 2, second).await.unwrap(), 0);
        assert_eq!(read(), 2);
        assert_eq!(kv.read_often("large", 1_024, second).await.unwrap(), OTHER);
        let last = read() - 2;
        assert!(last * VALUE > most, "{last} were read");
        assert!((last - 1) * VALUE <= most, "{last} were read");
        // Of too many keys, none is looked up.
        for times in [1_025, 30_000] {
            let told = kv.read_often("large", times, second).await;
            assert_eq!(told.unwrap(), OTHER, "{times}");
        }
        assert_eq!(read(), 2 + last);
        assert_eq!(kv.read_often("none", 1_024, second).await.unwrap(), 0);
        assert_eq!(read(), 2 + last + 1_024);
    }
}

/// Together they are far more than the memory of the component, where they are the same text.
#[tokio::test]
async fn keys_that_are_read_together_are_what_the_component_can_hold() {
    for second in [false, true] {
        let kv = Kv::new(Some(64 << 10)).await;
        let long = "k".repeat(100 << 10);
        assert_eq!(kv.read_often(&long, 1, second).await.unwrap(), OTHER);
        let error = kv.read_often(&long, 1_024, second).await.unwrap_err();
        assert!(
            matches!(
                &error,
                WasmError::Trapped {
                    trap: Trap::RefusedByHost(_),
                    ..
                }
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn keys_come_page_by_page() {
    let kv = Kv::new(Some(1 << 20)).await;
    let page = |keys, cursor| some(Val::Tuple(vec![Val::U32(keys), Val::U64(cursor)]));
    let after = |keys, key: &str| some(Val::Tuple(vec![Val::U32(keys), string(key)]));
    let (none, numbered) = (Val::Option(None), |n| some(Val::U64(n)));
    assert_eq!(
        kv.call("page", std::slice::from_ref(&none)).await,
        page(0, 0)
    );
    for n in 0..1_500 {
        assert_eq!(kv.number("set", &[&format!("{n:04}"), "x"]).await, 0);
    }
    assert_eq!(
        kv.call("page", std::slice::from_ref(&none)).await,
        page(1_000, 1_000)
    );
    assert_eq!(kv.call("page", &[numbered(1_000)]).await, page(500, 0));
    assert_eq!(kv.call("page", &[numbered(1_499)]).await, page(1, 0));
    assert_eq!(kv.call("page", &[numbered(9_999)]).await, page(0, 0));
    assert_eq!(kv.call("page", &[numbered(u64::MAX)]).await, none);
    assert_eq!(
        kv.call("page-after", std::slice::from_ref(&none)).await,
        after(1_000, "0999")
    );
    assert_eq!(
        kv.call("page-after", &[some(string("0999"))]).await,
        after(500, "")
    );
    assert_eq!(
        kv.call("page-after", &[some(string("9"))]).await,
        after(0, "")
    );
}

#[tokio::test]
async fn the_configuration_is_that_of_the_component() {
    let config = config()
        .with_env("GREETING", "hello")
        .with_config_data(r#"{"GREETING": "not this", "size": 3, "name": "Ada"}"#);
    let kv = Kv::with(config).await;
    for (key, value) in [
        ("GREETING", Some("hello")),
        ("size", Some("3")),
        ("name", Some("Ada")),
        ("other", None),
    ] {
        assert_eq!(kv.text("setting", key).await.as_deref(), value, "{key}");
    }
    assert_eq!(kv.number("settings", &[]).await, 3);
}
