use std::future::{Future, pending};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::Builder;
use wasmtime::StoreContextMut;
use wasmtime::component::Val;

use wasm_core::{
    ComponentHandle, ComponentState, HealthStatus, KeptMemory, LIFECYCLE_INTERFACE, RuntimeEngine,
    Trap, WasmError,
};
use wasm_fixtures::{COUNTER, ECHO, HELLO, OTHER_WORLD, SLEEPER, TRAP, UNKNOWN_IMPORT};
use wasm_runtime::{HostState, WasmtimeEngine};

use crate::support::{
    Gate, HANG, ask, bytes, config, engine, id_of, load, message, poll_once, send, timed, try_load,
    within,
};

type Caller<'a> = StoreContextMut<'a, HostState>;

const QUERY: &str = "acme:db/query@1.0.0";

/// An engine whose components may import `run` of `acme:db/query`.
fn engine_with_run(
    run: impl Fn(&HostState) -> wasmtime::Result<()> + Send + Sync + 'static,
) -> WasmtimeEngine {
    let mut engine = engine();
    let mut interface = engine.linker_mut().instance(QUERY).unwrap();
    let run = move |caller: Caller<'_>, (): ()| run(caller.data());
    interface.func_wrap("run", run).unwrap();
    engine
}

#[tokio::test]
async fn an_embedder_adds_host_interfaces_of_its_own() {
    let mut engine = engine();
    let error = try_load(&engine, UNKNOWN_IMPORT, config()).await;
    assert!(matches!(error, Err(WasmError::ImportNotFound { import, .. }) if import == QUERY));
    let runs = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&runs);
    let run = move |caller: Caller<'_>, (): ()| {
        let state = caller.data();
        assert!(state.time_left() <= state.config().limits.timeout());
        assert!(state.time_left() > Duration::ZERO);
        assert!(state.services().clock.now().seconds > 0);
        seen.lock().unwrap().push(state.handle().clone());
        Ok(())
    };
    let mut interface = engine.linker_mut().instance(QUERY).unwrap();
    interface.func_wrap("run", run).unwrap();
    let one = load(&engine, UNKNOWN_IMPORT, config()).await;
    let two = load(&engine, UNKNOWN_IMPORT, config()).await;
    for handle in [&one, &two, &one] {
        assert_eq!(send(&engine, handle, "").await.unwrap(), None);
    }
    assert_eq!(*runs.lock().unwrap(), [one.clone(), two, one]);
}

#[tokio::test]
async fn half_an_interface_is_not_enough() {
    let mut engine = engine();
    let mut interface = engine.linker_mut().instance(QUERY).unwrap();
    let other = |_: Caller<'_>, (): ()| Ok(());
    interface.func_wrap("other", other).unwrap();
    let error = try_load(&engine, UNKNOWN_IMPORT, config()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::ImportNotFound { import, .. } if import.starts_with(QUERY)),
        "{error}"
    );
    let engine = engine_with_wrong_type();
    let error = try_load(&engine, UNKNOWN_IMPORT, config()).await;
    let error = error.unwrap_err();
    assert!(
        matches!(&error, WasmError::ImportNotFound { import, source: Some(_), .. }
            if import.contains(QUERY)),
        "{error}"
    );
}

fn engine_with_wrong_type() -> WasmtimeEngine {
    let mut engine = engine();
    let mut interface = engine.linker_mut().instance(QUERY).unwrap();
    let run = |_: Caller<'_>, (_,): (u32,)| Ok(());
    interface.func_wrap("run", run).unwrap();
    engine
}

#[tokio::test]
async fn a_host_function_that_panics_fails_its_caller_only() {
    let engine = engine_with_run(|state| panic!("no database for {}", state.handle().id()));
    let neighbour = load(&engine, COUNTER, config()).await;
    let handle = load(&engine, UNKNOWN_IMPORT, config()).await;
    for round in 1..=3 {
        let error = send(&engine, &handle, "").await.unwrap_err();
        assert!(
            matches!(&error, WasmError::Trapped { trap: Trap::HostPanic(said), export, .. }
                if said == "no database for demo/unknown-import/main"
                    && &**export == "handle-message"),
            "{error}"
        );
        let usage = engine.usage(&handle).unwrap();
        assert_eq!((usage.state, usage.traps), (ComponentState::Failed, round));
        let error = engine.health(&handle).await.unwrap_err();
        assert!(
            matches!(error, WasmError::ComponentFailed { .. }),
            "{error}"
        );
        assert_eq!(ask(&engine, &neighbour, "").await, round.to_string());
        engine.restart_component(&handle).await.unwrap();
        let health = engine.health(&handle).await.unwrap();
        assert_eq!(health, HealthStatus::Healthy);
    }
}

#[tokio::test]
async fn the_error_of_a_host_function_fails_its_caller_only() {
    let engine = engine_with_run(|_| Err(wasmtime::Error::msg("the disk is on fire")));
    let neighbour = load(&engine, COUNTER, config()).await;
    let handle = load(&engine, UNKNOWN_IMPORT, config()).await;
    let error = send(&engine, &handle, "").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped {
            trap: Trap::RefusedByHost(why), source: Some(_), ..
        } if why == "the disk is on fire"),
        "{error}"
    );
    assert_eq!(engine.usage(&handle).unwrap().state, ComponentState::Failed);
    assert_eq!(ask(&engine, &neighbour, "").await, "1");
}

#[tokio::test]
async fn a_host_function_that_waits_is_dropped_at_the_deadline_and_not_before() {
    struct Tell(Arc<Gate>);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.open(1);
        }
    }
    let dropped = Arc::new(Gate::new());
    let mut engine = engine();
    let mut interface = engine.linker_mut().instance(QUERY).unwrap();
    let tell = Arc::clone(&dropped);
    interface
        .func_wrap_async("run", move |_: Caller<'_>, (): ()| {
            let tell = Tell(Arc::clone(&tell));
            Box::new(async move {
                let _tell = tell;
                pending::<wasmtime::Result<()>>().await
            })
        })
        .unwrap();
    let handle = load(&engine, UNKNOWN_IMPORT, timed(Duration::from_millis(100))).await;
    let mut call = Box::pin(send(&engine, &handle, ""));
    assert!(poll_once(call.as_mut()).await.is_none());
    let mut told = Box::pin(dropped.pass());
    assert!(poll_once(told.as_mut()).await.is_none());
    // Not even when its caller goes away.
    drop(call);
    assert!(poll_once(told.as_mut()).await.is_none());
    within(told).await;
    let error = within(send(&engine, &handle, "")).await.unwrap_err();
    assert!(
        matches!(error, WasmError::ComponentFailed { .. }),
        "{error}"
    );
}

/// What a future answers that is polled outside of any runtime.
fn without_runtime<F: Future>(future: F) -> Option<F::Output> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[test]
fn outside_of_a_tokio_runtime_nothing_runs_and_nothing_panics() {
    let engine = engine();
    let unsupported = |error: WasmError| {
        assert!(
            matches!(&error, WasmError::Unsupported { what } if what.contains("tokio")),
            "{error}"
        );
    };
    let loaded = without_runtime(try_load(&engine, ECHO, config()));
    unsupported(loaded.unwrap().unwrap_err());
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let echo = runtime.block_on(load(&engine, ECHO, config()));
    let sent = without_runtime(send(&engine, &echo, "hi"));
    unsupported(sent.unwrap().unwrap_err());
    let restarted = without_runtime(engine.restart_component(&echo));
    unsupported(restarted.unwrap().unwrap_err());
    let unloaded = without_runtime(engine.unload_component(&echo));
    unsupported(unloaded.unwrap().unwrap_err());
    assert_eq!(runtime.block_on(ask(&engine, &echo, "hi")), "hi");
}

#[tokio::test]
async fn what_is_loaded_keeps_the_imports_it_was_linked_with() {
    let mut engine = engine_with_run(|_| Ok(()));
    let old = load(&engine, UNKNOWN_IMPORT, config()).await;
    let linker = engine.linker_mut();
    linker.allow_shadowing(true);
    let run = |_: Caller<'_>, (): ()| Err::<(), _>(wasmtime::Error::msg("the new one"));
    let mut interface = linker.instance(QUERY).unwrap();
    interface.func_wrap("run", run).unwrap();
    let new = load(&engine, UNKNOWN_IMPORT, config()).await;
    let error = send(&engine, &new, "").await.unwrap_err();
    assert!(
        matches!(&error, WasmError::Trapped { trap: Trap::RefusedByHost(why), .. }
            if why == "the new one"),
        "{error}"
    );
    for _ in 0..2 {
        assert_eq!(send(&engine, &old, "").await.unwrap(), None);
        engine.restart_component(&old).await.unwrap();
    }
}

#[tokio::test]
async fn hello_is_42() {
    let engine = engine();
    let hello = load(&engine, HELLO, config()).await;
    for _ in 0..3 {
        let results = engine.call_export(&hello, "hello", &[]).await.unwrap();
        assert_eq!(results, [Val::U32(42)]);
    }
    assert_eq!(engine.usage(&hello).unwrap().calls, 3);
}

#[tokio::test]
async fn any_export_can_be_called_with_values() {
    let engine = engine();
    let other = load(&engine, OTHER_WORLD, config()).await;
    const ADD: &str = "acme:calc/ops@1.0.0#add";
    let mut exports = engine.exports(&other).unwrap();
    exports.sort();
    assert_eq!(exports, [ADD, "greet"]);
    for (a, b, sum) in [(1, 2, 3), (-5, 3, -2), (i32::MAX, 1, i32::MIN)] {
        let args = [Val::S32(a), Val::S32(b)];
        let results = engine.call_export(&other, ADD, &args).await.unwrap();
        assert_eq!(results, [Val::S32(sum)]);
    }
    for name in ["Ada", "", "Zoë \u{1f980}"] {
        let args = [Val::String(name.to_owned())];
        let results = engine.call_export(&other, "greet", &args).await.unwrap();
        assert_eq!(results, [Val::String(format!("Hello, {name}"))]);
    }
    let ty = engine.export_type(&other, ADD).unwrap();
    let names: Vec<String> = ty.params().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        (names, ty.results().len()),
        (vec!["a".to_owned(), "b".to_owned()], 1)
    );
}

#[tokio::test]
async fn arguments_that_do_not_fit_do_no_harm() {
    let engine = engine();
    let other = load(&engine, OTHER_WORLD, config()).await;
    const ADD: &str = "acme:calc/ops@1.0.0#add";
    let cases: &[(&str, &[Val], &str)] = &[
        (ADD, &[], "takes 2 arguments, not 0"),
        (ADD, &[Val::S32(1)], "takes 2 arguments, not 1"),
        (
            ADD,
            &[Val::S32(1), Val::S32(1), Val::S32(1)],
            "takes 2 arguments, not 3",
        ),
        (
            ADD,
            &[Val::S32(1), Val::U32(1)],
            "takes s32 as argument 2 (`b`), not u32",
        ),
        ("greet", &[], "takes 1 argument, not 0"),
        (
            "greet",
            &[Val::Char('A')],
            "takes string as argument 1 (`name`), not char",
        ),
    ];
    for (export, args, why) in cases {
        let error = engine.call_export(&other, export, args).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::InvalidArguments { reason, export: named, .. }
                if reason == why && **named == **export),
            "{error}"
        );
    }
    for unknown in [
        "add",
        "greet#greet",
        "acme:calc/ops@1.0.0",
        "acme:calc/ops@1.0.0#",
        "#",
        "",
    ] {
        let error = engine.call_export(&other, unknown, &[]).await.unwrap_err();
        assert!(
            matches!(&error, WasmError::ExportNotFound { export, .. } if **export == *unknown),
            "{error}"
        );
        let error = engine.export_type(&other, unknown).unwrap_err();
        assert!(matches!(error, WasmError::ExportNotFound { .. }), "{error}");
    }
    let usage = engine.usage(&other).unwrap();
    assert_eq!((usage.calls, usage.state), (0, ComponentState::Ready));
}

#[tokio::test]
async fn an_export_of_the_lifecycle_can_be_called_by_name_with_nested_values() {
    let engine = engine();
    let echo = load(&engine, ECHO, config()).await;
    let export = format!("{LIFECYCLE_INTERFACE}#handle-message");
    let text = |s: &str| Val::String(s.to_owned());
    let record = |fields: Vec<(&str, Val)>| {
        let own = |(name, value): (&str, Val)| (name.to_owned(), value);
        Val::Record(fields.into_iter().map(own).collect())
    };
    let message = |payload: Val| {
        let sender = record(vec![
            ("namespace", text("a")),
            ("name", text("b")),
            ("instance", text("c")),
        ]);
        let timestamp = record(vec![("seconds", Val::U64(1)), ("nanoseconds", Val::U32(2))]);
        let metadata = record(vec![
            ("correlation-id", Val::Option(None)),
            ("reply-to", Val::Option(None)),
            ("timestamp", timestamp),
            ("content-type", Val::Option(Some(Box::new(text("t"))))),
        ]);
        record(vec![
            ("sender", sender),
            ("payload", payload),
            ("metadata", metadata),
        ])
    };
    let payload = || Val::List(b"hi".iter().map(|b| Val::U8(*b)).collect());
    let results = engine
        .call_export(&echo, &export, &[message(payload())])
        .await;
    let some = Val::Option(Some(Box::new(payload())));
    assert_eq!(results.unwrap(), [Val::Result(Ok(Some(Box::new(some))))]);
    // One wrong element deep inside.
    let wrong = Val::List(vec![Val::U8(1), Val::S8(2)]);
    let error = engine.call_export(&echo, &export, &[message(wrong)]).await;
    assert!(matches!(error, Err(WasmError::InvalidArguments { .. })));
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}

#[tokio::test]
async fn frames_can_be_read_without_wasmtime() {
    let engine = engine();
    let trap = load(&engine, TRAP, config()).await;
    let error = send(&engine, &trap, "go").await.unwrap_err();
    let names: Vec<Option<&str>> = error
        .frames()
        .iter()
        .map(|frame| frame.function.as_deref())
        .collect();
    assert_eq!(names, [Some("give-up"), Some("handle-message")]);
    let [inner, outer] = error.frames() else {
        panic!("{error:?}");
    };
    assert_ne!(inner.function_index, outer.function_index);
    let (inner, outer) = (inner.offset.unwrap(), outer.offset.unwrap());
    assert!(inner != outer && inner.max(outer) < TRAP.wasm.len() as u64);
    assert!(error.frames()[0].to_string().contains("!give-up @ 0x"));
}

#[tokio::test]
async fn an_engine_serves_as_a_trait_object() {
    let engine = engine();
    let shown = format!("{engine:?}");
    assert!(shown.starts_with("WasmtimeEngine { config: "), "{shown}");
    let engine: Arc<dyn RuntimeEngine> = Arc::new(engine);
    let prepared = engine
        .prepare_component(&id_of(COUNTER), bytes(COUNTER), &config())
        .await
        .unwrap();
    assert_ne!(prepared.kept(), KeptMemory::default());
    let counter: ComponentHandle = engine
        .load_component(&id_of(COUNTER), bytes(COUNTER), config())
        .await
        .unwrap();
    let count = async || {
        let reply = engine.call_handle_message(&counter, message(&counter, ""));
        reply.await.unwrap().unwrap()
    };
    assert_eq!(count().await, "1".into());
    assert_eq!(count().await, "2".into());
    engine.restart_component(&counter).await.unwrap();
    assert_eq!(count().await, "1".into());
    let callback = message(&counter, "").with_correlation_id("c");
    engine
        .call_handle_callback(&counter, callback)
        .await
        .unwrap();
    assert_eq!(
        engine.health(&counter).await.unwrap(),
        HealthStatus::Healthy
    );
    assert!(engine.metadata(&counter).await.unwrap().stateful);
    let usage = engine.usage(&counter).await.unwrap();
    assert_eq!((usage.calls, usage.restarts), (6, 1));
    engine.unload_component(&counter).await.unwrap();
    let error = engine.usage(&counter).await.unwrap_err();
    assert!(
        matches!(error, WasmError::ComponentNotFound { .. }),
        "{error}"
    );
}

#[tokio::test]
async fn an_engine_dropped_during_a_call_lets_it_end() {
    let engine = Arc::new(engine());
    let sleeper = load(&engine, SLEEPER, timed(HANG)).await;
    let call = tokio::spawn({
        let engine = Arc::clone(&engine);
        async move { ask(&engine, &sleeper, "50").await }
    });
    drop(engine);
    assert_eq!(within(call).await.unwrap(), "awake");
}
