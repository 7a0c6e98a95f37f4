//! Engines that are worse than any should be, and other code of an embedder that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, timeout};

use wasm_core::{
    Clock, ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, HostServices, MessagePayload, Preparation,
    RuntimeEngine, Timestamp, WasmError,
};
use wasm_host::{
    Arrival, Asker, Event, Host, HostBuilder, HostError, HostLimits, Outcome, Phase, Receipt,
    ReplyTo,
};
use wasm_testkit::wasm_fixtures::{CALLBACK, ECHO, SLEEPER};

use crate::support::{SECOND, causes, component, demo, start, until};

/// Does with a message what it says: `panic`, `wait`, or `ask` a thousand times.
struct Obedient {
    services: HostServices,
    handles: AtomicU64,
}

#[async_trait]
impl RuntimeEngine for Obedient {
    async fn prepare_component(
        &self,
        _: &ComponentId,
        _: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        assert!(config.config_data.is_none(), "as asked");
        Ok(Preparation::default())
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        _: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        assert!(config.env.is_empty(), "as asked");
        let number = self.handles.fetch_add(1, Ordering::Relaxed);
        Ok(ComponentHandle::new(id.clone(), number))
    }

    async fn unload_component(&self, _: &ComponentHandle) -> Result<(), WasmError> {
        Ok(())
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        match message.payload.as_bytes() {
            b"panic" => panic!("as asked"),
            b"wait" => sleep(60 * SECOND).await,
            b"ask" => self.ask(handle).await,
            b"large" => return Ok(Some(vec![0; 4 << 20].into())),
            _ => {}
        }
        Ok(None)
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        _: ComponentMessage,
    ) -> Result<(), WasmError> {
        self.ask(handle).await;
        sleep(SECOND).await;
        Ok(())
    }

    async fn restart_component(&self, _: &ComponentHandle) -> Result<(), WasmError> {
        sleep(5 * SECOND).await;
        Ok(())
    }

    async fn health(&self, _: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        sleep(5 * SECOND).await;
        Ok(HealthStatus::Healthy)
    }

    async fn metadata(&self, _: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        Ok(ComponentMetadata::default())
    }

    async fn usage(&self, _: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        Ok(ComponentUsage::new(ComponentState::Ready))
    }
}

impl Obedient {
    async fn ask(&self, handle: &ComponentHandle) {
        for _ in 0..1_000 {
            let message = ComponentMessage::new(handle.id().clone(), demo("other"), "large");
            // What is refused is what this is about.
            let _ = self
                .services
                .router
                .request(handle, message, 60 * SECOND)
                .await;
        }
    }
}

async fn obedient(limits: HostLimits, names: &[&str]) -> Host<Obedient> {
    let engine = |services| {
        Ok::<_, String>(Arc::new(Obedient {
            services,
            handles: AtomicU64::new(0),
        }))
    };
    let host = HostBuilder::new()
        .with_limits(limits)
        .start(engine)
        .unwrap();
    for name in names {
        host.load(component(name, ECHO)).await.unwrap();
    }
    host
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_leaves_nobody_waiting() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    let mut events = host.events();
    let asked = [b"panic".as_slice(), b"ok"].map(|payload| {
        let host = host.clone();
        tokio::spawn(async move { host.request(&demo("it"), payload, 3_600 * SECOND).await })
    });
    let began = Instant::now();
    for asked in asked {
        let error = asked.await.unwrap().unwrap_err();
        let text = "delivery failed: the task of its recipient has ended";
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert_eq!(causes(&host.dead_letters()), ["abandoned", "abandoned"]);
    until(&mut events, |e| matches!(e, Event::Abandoned { .. })).await;
    // There is room for another.
    host.load(component("it", ECHO)).await.unwrap();
    host.request(&demo("it"), "ok", SECOND).await.unwrap();
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_over_a_new_version_leaves_the_old_one() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    let mut panics = component("it", ECHO);
    panics.config = panics.config.with_config_data("panic");
    let error = host.swap(panics).await.unwrap_err().to_string();
    assert!(error.contains("did not finish preparing it"), "{error}");
    assert!(error.contains("as asked"), "{error}");
    host.request(&demo("it"), "ok", SECOND).await.unwrap();
    host.swap(component("it", ECHO)).await.unwrap();
}

struct NoClock;

impl Clock for NoClock {
    fn now(&self) -> Timestamp {
        panic!("there is no time")
    }
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_panics_while_it_loads_leaves_nothing() {
    let host = obedient(HostLimits::default().with_components(1), &[]).await;
    let mut events = host.events();
    let mut panics = component("it", ECHO);
    panics.config = panics.config.with_env("PANIC", "1");
    let (loaded, asked) = tokio::join!(host.load(panics), async {
        host.request(&demo("it"), "ok", 3_600 * SECOND).await
    });
    let error = loaded.unwrap_err().to_string();
    assert_eq!(error, "the task of demo/it/main has ended before its time");
    assert!(asked.unwrap_err().to_string().contains("has ended"));
    until(&mut events, |e| matches!(e, Event::Abandoned { .. })).await;
    host.load(component("it", ECHO)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_panics_keeps_nobody_waiting() {
    let host = start(HostBuilder::new().with_clock(Arc::new(NoClock)));
    host.load(component("sleeper", SLEEPER)).await.unwrap();
    for _ in 0..2 {
        let began = Instant::now();
        let asked = host.request(&demo("sleeper"), "1500", SECOND).await;
        let error = asked.unwrap_err().to_string();
        assert!(error.contains("was not answered in time"), "{error}");
        assert!(began.elapsed() < 2 * SECOND);
    }
    host.stop().await;
}

/// Panics over whatever it is told, once it was asked whether a message may begin.
#[derive(Debug)]
struct Panicking {
    begins: bool,
}

#[async_trait]
impl Receipt for Panicking {
    async fn begin(&self) -> bool {
        assert!(self.begins, "as asked");
        true
    }

    fn always_comes_again(&self) -> bool {
        panic!("as asked")
    }

    fn put_back(&self) {
        panic!("as asked")
    }

    fn bury(&self, _: &'static str, _: &str) {
        panic!("as asked")
    }

    fn end(&self) {
        panic!("as asked")
    }
}

impl Asker for Panicking {
    fn answer(&self, _: Outcome) {
        panic!("as asked")
    }

    fn is_waiting(&self) -> bool {
        assert!(self.begins, "as asked");
        true
    }
}

/// Has `demo/it/main` given a message by somebody who panics.
fn post(host: &Host<Obedient>, payload: &'static str, receipt: bool, asker: Option<bool>) {
    let answered = |begins| {
        let asker = Arc::new(Panicking { begins });
        ReplyTo::new(asker, Instant::now() + SECOND)
    };
    let posted = host.post(Arrival {
        message: ComponentMessage::new(demo("other"), demo("it"), payload),
        reply: asker.map(answered),
        receipt: Arc::new(Panicking { begins: receipt }),
    });
    posted.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_who_keeps_messages_or_waits_for_answers_harms_no_component() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    let mut events = host.events();
    post(&host, "ok", false, None);
    post(&host, "ok", true, None);
    post(&host, "ok", true, Some(true));
    post(&host, "ok", true, Some(false));
    host.request(&demo("it"), "ok", SECOND).await.unwrap();
    host.drain(SECOND).await.unwrap();
    // Neither the one that did not begin nor the one whose answer nobody waits for is handled.
    let mut kinds = Vec::new();
    while let Some(event) = events.try_next() {
        kinds.push(event.kind());
    }
    assert_eq!(kinds, ["message", "message", "withdrawn", "message"]);
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_ends_whoever_panics_over_that() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    post(&host, "panic", true, Some(true));
    post(&host, "ok", true, Some(true));
    post(&host, "ok", false, None);
    let asked = host.request(&demo("it"), "ok", 3_600 * SECOND).await;
    let text = "delivery failed: the task of its recipient has ended";
    assert_eq!(asked.unwrap_err().to_string(), text);
    // It is gone, and there is room for another.
    host.load(component("it", ECHO)).await.unwrap();
    host.request(&demo("it"), "ok", SECOND).await.unwrap();
    host.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_asks_without_end_keeps_nobody_else_from_asking() {
    let host = obedient(HostLimits::default(), &["greedy", "other", "bystander"]).await;
    host.send(&demo("greedy"), "ask").unwrap();
    for _ in 0..300 {
        host.send(&demo("bystander"), "ok").unwrap();
        let waiting = host.component(&demo("greedy")).await.unwrap().waiting;
        assert!(waiting <= 256, "{waiting}");
        sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn commands_that_nobody_waits_for_hold_nobody_up() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    for _ in 0..60 {
        timeout(SECOND, host.health(&demo("it"))).await.unwrap_err();
        timeout(SECOND, host.restart(&demo("it")))
            .await
            .unwrap_err();
        timeout(SECOND, host.swap(component("it", CALLBACK)))
            .await
            .ok();
    }
    let began = Instant::now();
    host.stop().await;
    // The command that runs, and the grace.
    assert!(began.elapsed() <= 6 * SECOND, "{:?}", began.elapsed());
    let late = host.swap(component("it", ECHO)).await.unwrap_err();
    assert!(matches!(late, HostError::NotLoaded(_)), "{late}");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_changed_while_a_host_stops() {
    let host = obedient(HostLimits::default(), &["it"]).await;
    host.send(&demo("it"), "wait").unwrap();
    let stopping = {
        let host = host.clone();
        tokio::spawn(async move { host.stop().await })
    };
    sleep(SECOND / 2).await;
    let late = host.swap(component("it", ECHO)).await.unwrap_err();
    assert!(matches!(late, HostError::Stopped), "{late}");
    stopping.await.unwrap();
    assert!(host.events().next().await.is_none());
}

#[test]
fn a_component_outlives_the_runtime_of_whoever_loaded_it() {
    let runtime = || {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (of_host, of_caller) = (runtime(), runtime());
    let host = of_host.block_on(obedient(HostLimits::default(), &[]));
    of_caller
        .block_on(host.load(component("it", ECHO)))
        .unwrap();
    drop(of_caller);
    let asked = of_host.block_on(host.request(&demo("it"), "ok", 10 * SECOND));
    assert_eq!(asked.unwrap(), None);
}

#[test]
fn a_runtime_that_goes_away_leaves_nobody_waiting() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let host = runtime.block_on(obedient(HostLimits::default(), &["it"]));
    let asking = {
        let host = host.clone();
        std::thread::spawn(move || {
            let waiter = Builder::new_current_thread().build().unwrap();
            waiter.block_on(host.request(&demo("it"), "wait", 60 * SECOND))
        })
    };
    let is_busy = async {
        while host
            .component(&demo("it"))
            .await
            .is_none_or(|it| it.phase != Phase::Busy)
        {
            tokio::task::yield_now().await;
        }
    };
    runtime.block_on(is_busy);
    runtime.shutdown_background();
    let error = asking.join().unwrap().unwrap_err();
    assert!(error.to_string().contains("has ended"), "{error}");
}
