use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::coop::{consume_budget, unconstrained};
use tokio::task::{JoinSet, yield_now};

use wasm_core::{
    ComponentHandle, ComponentMessage, CorrelationId, HostServices, MessageRouter, MessagingError,
    WasmError,
};
use wasm_fixtures::{
    COUNTER, ECHO, Fixture, GUEST_ERROR, HELLO, SENDER, SLEEPER, STORED_COUNTER, TRAP_EVERY_THIRD,
    TRAP_IN_SHUTDOWN,
};
use wasm_runtime::WasmtimeEngine;

use crate::support::{
    GatedRouter, XorShift, all_permissions, ask, bytes, config, engine, engine_with, id, load,
    permitted, poll_once, send, timed, try_load, within,
};

const COMPONENTS: usize = 200;

async fn load_many(engine: &WasmtimeEngine, fixture: Fixture) -> Vec<ComponentHandle> {
    let mut handles = Vec::new();
    for n in 0..COMPONENTS {
        let id = id(&format!("many/{}/{n}", fixture.name));
        let handle = engine.load_component(&id, bytes(fixture), permitted());
        handles.push(handle.await.unwrap());
    }
    handles
}

/// Notices a component that is in two calls at once.
#[derive(Default)]
struct OneAtATime {
    inside: Mutex<HashMap<u64, bool>>,
    most_inside: AtomicU64,
    accepted: AtomicU64,
}

#[async_trait]
impl MessageRouter for OneAtATime {
    async fn send(
        &self,
        from: &ComponentHandle,
        _: ComponentMessage,
    ) -> Result<(), MessagingError> {
        {
            let mut inside = self.inside.lock().unwrap();
            let was_inside = inside.insert(from.handle_id(), true);
            assert_ne!(was_inside, Some(true), "{from} is in two calls at once");
            let now = inside.values().filter(|inside| **inside).count() as u64;
            self.most_inside.fetch_max(now, Ordering::Relaxed);
        }
        for _ in 0..20 {
            yield_now().await;
        }
        self.inside.lock().unwrap().insert(from.handle_id(), false);
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        _: ComponentMessage,
        _: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        Err(MessagingError::QueueFull)
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        _: &CorrelationId,
    ) -> Result<(), MessagingError> {
        Err(MessagingError::QueueFull)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_to_200_components_overlap() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let mut calls = JoinSet::new();
    for (n, handle) in load_many(&engine, SENDER).await.into_iter().enumerate() {
        let engine = Arc::clone(&engine);
        calls.spawn(async move {
            let reply = send(&engine, &handle, format!("demo/a/main {n}")).await;
            assert_eq!(reply.unwrap(), None);
        });
    }
    // The gate opens only when all of them are inside a call at once.
    router.gate.entered(COMPONENTS as u32).await;
    router.gate.open(COMPONENTS);
    within(calls.join_all()).await;
    let mut accepted: Vec<usize> = router
        .accepted()
        .iter()
        .map(|n| n.parse().unwrap())
        .collect();
    accepted.sort_unstable();
    assert_eq!(accepted, (0..COMPONENTS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn calls_to_one_component_never_overlap() {
    let router = Arc::new(OneAtATime::default());
    let services = HostServices::default().with_router(router.clone());
    let engine = Arc::new(engine_with(services));
    let mut handles = load_many(&engine, SENDER).await;
    handles.truncate(8);
    let mut calls = JoinSet::new();
    for n in 0..400 {
        let (engine, handle) = (Arc::clone(&engine), handles[n % handles.len()].clone());
        calls.spawn(async move {
            let reply = send(&engine, &handle, "demo/a/main hi").await;
            assert_eq!(reply.unwrap(), None);
        });
    }
    within(calls.join_all()).await;
    assert_eq!(router.accepted.load(Ordering::Relaxed), 400);
    // The test would have seen an overlap: there were some, between components.
    assert!(router.most_inside.load(Ordering::Relaxed) > 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replies_never_cross() {
    let engine = Arc::new(engine());
    let handles = Arc::new(load_many(&engine, ECHO).await);
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let (engine, handles) = (Arc::clone(&engine), Arc::clone(&handles));
        tasks.spawn(async move {
            let mut random = XorShift::new(task);
            for n in 0..200 {
                let handle = &handles[random.below(handles.len())];
                let payload = format!("{task}:{n}:{}", "x".repeat(random.below(300)));
                assert_eq!(ask(&engine, handle, payload.clone()).await, payload);
            }
        });
    }
    within(tasks.join_all()).await;
    let calls: u64 = handles
        .iter()
        .map(|handle| engine.usage(handle).unwrap().calls)
        .sum();
    assert_eq!(calls, 16 * 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_increment_of_a_shared_counter_is_seen_by_exactly_one_caller() {
    let engine = Arc::new(engine());
    let counter = load(&engine, COUNTER, config()).await;
    let mut calls = JoinSet::new();
    for _ in 0..500 {
        let (engine, counter) = (Arc::clone(&engine), counter.clone());
        calls.spawn(async move { ask(&engine, &counter, "").await.parse::<u64>().unwrap() });
    }
    let mut seen = within(calls.join_all()).await;
    seen.sort_unstable();
    assert_eq!(seen, (1..=500).collect::<Vec<_>>());
}

type Call<'a> = Pin<Box<dyn Future<Output = Result<Option<String>, WasmError>> + Send + 'a>>;

/// Drives all of them, the last one first each time.
async fn finish_backwards(calls: Vec<Call<'_>>) {
    let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
    poll_fn(|cx| {
        for slot in calls.iter_mut().rev() {
            if let Some(call) = slot
                && let Poll::Ready(outcome) = call.as_mut().poll(cx)
            {
                assert_eq!(outcome.unwrap(), None);
                *slot = None;
            }
        }
        if calls.iter().all(Option::is_none) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

#[tokio::test]
async fn calls_to_one_component_are_answered_in_the_order_in_which_they_were_first_polled() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let sender = load(&engine, SENDER, permitted()).await;
    // More than tokio lets a task do at a time.
    let order: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let mut calls: Vec<Call<'_>> = order
        .iter()
        .map(|n| Box::pin(send(&engine, &sender, format!("demo/a/main {n}"))) as Call<'_>)
        .collect();
    poll_fn(|cx| {
        for call in &mut calls {
            assert!(call.as_mut().poll(cx).is_pending());
        }
        Poll::Ready(())
    })
    .await;
    router.gate.open(order.len());
    within(finish_backwards(calls)).await;
    assert_eq!(router.accepted(), order);
}

#[tokio::test]
async fn a_call_keeps_its_place_even_if_its_task_has_done_too_much_at_a_time() {
    let router = GatedRouter::new();
    let engine = engine_with(router.services());
    let sender = load(&engine, SENDER, permitted()).await;
    let call = |text: &'static str| Box::pin(send(&engine, &sender, text));
    let (mut running, mut first) = (call("demo/a/main 0"), call("demo/a/main 1"));
    let mut second = Box::pin(unconstrained(call("demo/a/main 2")));
    assert!(poll_once(running.as_mut()).await.is_none());
    poll_fn(|cx| {
        // From here on tokio's own futures only ask to be polled later.
        while pin!(consume_budget()).poll(cx).is_ready() {}
        assert!(first.as_mut().poll(cx).is_pending());
        assert!(second.as_mut().poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
    router.gate.open(3);
    let outcomes = within(async { tokio::join!(running, second, first) }).await;
    for outcome in [outcomes.0, outcomes.1, outcomes.2] {
        assert_eq!(outcome.unwrap(), None);
    }
    assert_eq!(router.accepted(), ["0", "1", "2"]);
}

#[tokio::test]
async fn a_task_that_calls_without_a_break_leaves_its_thread_to_others_now_and_then() {
    let engine = Arc::new(engine());
    let echo = load(&engine, ECHO, config()).await;
    let others = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&others);
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    });
    for _ in 0..1000 {
        assert_eq!(ask(&engine, &echo, "hi").await, "hi");
    }
    other.abort();
    assert!(others.load(Ordering::Relaxed) >= 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_component_that_waits_does_not_keep_others_from_loading_or_answering() {
    let router = GatedRouter::new();
    let engine = Arc::new(engine_with(router.services()));
    let sender = load(&engine, SENDER, permitted()).await;
    let mut call = Box::pin(send(&engine, &sender, "demo/a/main hi"));
    assert!(poll_once(call.as_mut()).await.is_none());
    within(async {
        let echo = load(&engine, ECHO, config()).await;
        assert_eq!(ask(&engine, &echo, "hi").await, "hi");
        engine.restart_component(&echo).await.unwrap();
        engine.unload_component(&echo).await.unwrap();
    })
    .await;
    router.gate.open(1);
    assert_eq!(within(call).await.unwrap(), None);
}

const CHAOS_FIXTURES: [Fixture; 8] = [
    ECHO,
    COUNTER,
    GUEST_ERROR,
    HELLO,
    SLEEPER,
    STORED_COUNTER,
    TRAP_EVERY_THIRD,
    TRAP_IN_SHUTDOWN,
];

/// Whether the call of a fixture may end like this, whatever others do to it.
fn expected(fixture: &str, payload: &str, outcome: &Result<Option<String>, WasmError>) -> bool {
    match outcome {
        Err(WasmError::ComponentNotFound { .. }) => true,
        Err(WasmError::ComponentFailed { .. } | WasmError::Trapped { .. }) => {
            fixture == TRAP_EVERY_THIRD.name
        }
        Err(WasmError::GuestError { .. }) => fixture == GUEST_ERROR.name,
        Err(WasmError::ExportNotFound { .. }) => fixture == HELLO.name,
        Err(_) => false,
        Ok(Some(reply)) if fixture == COUNTER.name || fixture == STORED_COUNTER.name => {
            reply.parse::<u64>().is_ok_and(|n| n > 0)
        }
        Ok(Some(reply)) if fixture == SLEEPER.name => reply == "awake",
        Ok(Some(reply)) => reply == payload && fixture != GUEST_ERROR.name,
        Ok(None) => false,
    }
}

async fn chaos(engine: Arc<WasmtimeEngine>, handles: Arc<RwLock<Vec<ComponentHandle>>>, seed: u64) {
    let mut random = XorShift::new(seed);
    for step in 0..300 {
        let handle = {
            let handles = handles.read().unwrap();
            handles[random.below(handles.len())].clone()
        };
        let fixture = handle.id().name().to_owned();
        match random.below(20) {
            0 | 1 => {
                let fixture = CHAOS_FIXTURES[random.below(CHAOS_FIXTURES.len())];
                let config = timed(Duration::from_secs(60)).with_permissions(all_permissions());
                let handle = try_load(&engine, fixture, config).await.unwrap();
                let mut handles = handles.write().unwrap();
                let place = random.below(handles.len());
                handles[place] = handle;
            }
            2 => match engine.unload_component(&handle).await {
                Ok(()) => {}
                Err(WasmError::Trapped { export, .. }) => {
                    assert_eq!((&*export, &*fixture), ("shutdown", TRAP_IN_SHUTDOWN.name));
                }
                Err(error) => panic!("{error}"),
            },
            3 | 4 => match engine.restart_component(&handle).await {
                Ok(()) | Err(WasmError::ComponentNotFound { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            5 | 6 => {
                // Begun and given up.
                let mut call = Box::pin(send(&engine, &handle, "3 ms"));
                poll_once(call.as_mut()).await;
            }
            7 => {
                let mut restart = Box::pin(engine.restart_component(&handle));
                poll_once(restart.as_mut()).await;
            }
            _ => {
                // A sleeper reads the number: it waits that many milliseconds.
                let payload = format!("{}/{seed}/{step}", random.below(3));
                let outcome = send(&engine, &handle, payload.clone()).await;
                assert!(
                    expected(&fixture, &payload, &outcome),
                    "{handle}: {outcome:?}"
                );
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn loading_calling_restarting_and_unloading_all_at_once_ends_well() {
    let engine = Arc::new(engine());
    for round in 0..4 {
        let mut loaded = Vec::new();
        for n in 0..12 {
            let fixture = CHAOS_FIXTURES[n % CHAOS_FIXTURES.len()];
            loaded.push(load(&engine, fixture, permitted()).await);
        }
        let handles = Arc::new(RwLock::new(loaded));
        let mut tasks = JoinSet::new();
        for task in 0..8 {
            let seed = round * 100 + task + 1;
            tasks.spawn(chaos(Arc::clone(&engine), Arc::clone(&handles), seed));
        }
        within(tasks.join_all()).await;
        let left = handles.read().unwrap().clone();
        for handle in left {
            let _ = within(engine.unload_component(&handle)).await;
            let error = engine.usage(&handle).unwrap_err();
            assert!(
                matches!(error, WasmError::ComponentNotFound { .. }),
                "{error}"
            );
        }
    }
    let echo = load(&engine, ECHO, config()).await;
    assert_eq!(ask(&engine, &echo, "hi").await, "hi");
}
