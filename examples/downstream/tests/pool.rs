//! The pool, on engines that run no WebAssembly.

use std::sync::Arc;
use std::time::Duration;

use downstream::{Pool, PoolError};
use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, HostServices, ResourceLimits, RuntimeEngine,
    WasmError,
};
use wasm_testkit::mock::{self, Expectation};
use wasm_testkit::wasm_fixtures::{ECHO, Fixture, GUEST_ERROR, SPIN, TRAP_EVERY_THIRD};
use wasm_testkit::{Fault, Faulty, Method, ModelEngine, errors};

fn id(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").unwrap()
}

fn worker(number: u64) -> ComponentHandle {
    ComponentHandle::new(id("worker"), number)
}

fn timeout() -> WasmError {
    errors::timeout(&id("worker"), Duration::from_millis(100))
}

fn pool<E: RuntimeEngine>(
    engine: E,
    workers: impl IntoIterator<Item = ComponentHandle>,
) -> Arc<Pool<E>> {
    Arc::new(Pool::new(Arc::new(engine), id("pool"), workers))
}

// The mock engine: the test says when which call ends.

#[tokio::test]
async fn work_goes_to_the_worker_that_has_the_least_to_do() {
    let (engine, mut calls) = mock::pair();
    let pool = pool(engine, [worker(1), worker(2)]);
    let submit = |work: &'static str| {
        let pool = Arc::clone(&pool);
        tokio::spawn(async move { pool.submit(work).await })
    };
    let first = submit("first");
    let (to, message, answer_first) = calls.next_call().await.expect_message();
    assert_eq!((to, message.payload), (worker(1), "first".into()));

    let second = submit("second");
    let (to, _, answer_second) = calls.next_call().await.expect_message();
    assert_eq!(to, worker(2));
    answer_second.ok(Some("done".into()));
    assert_eq!(second.await.unwrap().unwrap(), Some("done".into()));

    // The first is still at it.
    let third = submit("third");
    let (to, _, answer_third) = calls.next_call().await.expect_message();
    assert_eq!(to, worker(2));

    // Until nobody waits for it any more.
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(answer_first.is_cancelled());
    let fourth = submit("fourth");
    let (to, _, answer_fourth) = calls.next_call().await.expect_message();
    assert_eq!(to, worker(1));
    answer_third.ok(None);
    answer_fourth.ok(None);
    assert_eq!(third.await.unwrap().unwrap(), None);
    assert_eq!(fourth.await.unwrap().unwrap(), None);
}

#[tokio::test]
async fn work_that_fails_a_worker_is_not_tried_on_another() {
    let (engine, script) = mock::scripted([
        Expectation::message()
            .to(&worker(1))
            .payload("work")
            .answers(Err(timeout())),
        Expectation::restart().to(&worker(1)).answers(Ok(())),
    ]);
    let pool = pool(engine, [worker(1), worker(2)]);
    let error = pool.submit("work").await.unwrap_err();
    assert!(
        matches!(error, PoolError::Work(WasmError::Timeout { .. })),
        "{error:?}"
    );
    script.verify();
}

#[tokio::test]
async fn work_that_a_failed_worker_never_saw_is_tried_again() {
    let failed = errors::component_failed(&id("worker"), timeout());
    let (engine, script) = mock::scripted([
        Expectation::message().to(&worker(1)).answers(Err(failed)),
        Expectation::restart().to(&worker(1)).answers(Ok(())),
        Expectation::message()
            .to(&worker(1))
            .payload("work")
            .answers(Ok(Some("done".into()))),
    ]);
    let pool = pool(engine, [worker(1)]);
    assert_eq!(pool.submit("work").await.unwrap(), Some("done".into()));
    script.verify();
}

#[tokio::test]
async fn work_is_tried_three_times_and_its_worker_restarted_each_time() {
    let failed = errors::component_failed(&id("worker"), timeout());
    let (engine, script) = mock::unordered([
        Expectation::message()
            .times(3)
            .sender(&id("pool"))
            .payload("work")
            .answers(Err(failed)),
        Expectation::restart().times(3).answers(Ok(())),
        Expectation::unload().never(),
    ]);
    let pool = pool(engine, [worker(1)]);
    let error = pool.submit("work").await.unwrap_err();
    assert!(
        matches!(error, PoolError::Work(WasmError::ComponentFailed { .. })),
        "{error:?}"
    );
    script.verify();
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_holds_up_no_other_work() {
    let (engine, script) = mock::unordered([
        Expectation::message().to(&worker(1)).hangs(),
        Expectation::message()
            .to(&worker(2))
            .times(3)
            .delay(Duration::from_secs(1))
            .answers_with(|(_, message)| Ok(Some(message.payload))),
    ]);
    let pool = pool(engine, [worker(1), worker(2)]);
    let hanging = tokio::spawn({
        let pool = Arc::clone(&pool);
        async move { pool.submit("forever").await }
    });
    tokio::task::yield_now().await;
    for work in ["one", "two", "three"] {
        assert_eq!(pool.submit(work).await.unwrap(), Some(work.into()));
    }
    assert!(!hanging.is_finished());
    script.verify();
}

// The model engine: components that fail in a known way.

async fn loaded(engine: &impl RuntimeEngine, fixture: Fixture) -> ComponentHandle {
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
    let config = ComponentConfig::new(limits);
    let id = id(fixture.name);
    let loading = engine.load_component(&id, fixture.wasm.into(), config);
    loading.await.unwrap()
}

async fn pool_of(fixture: Fixture) -> (Arc<ModelEngine>, ComponentHandle, Pool<ModelEngine>) {
    let engine = Arc::new(ModelEngine::new(HostServices::default()));
    let worker = loaded(&*engine, fixture).await;
    let pool = Pool::new(Arc::clone(&engine), id("pool"), [worker.clone()]);
    (engine, worker, pool)
}

#[tokio::test]
async fn a_pool_outlives_the_failures_of_its_workers() {
    let (engine, worker, pool) = pool_of(TRAP_EVERY_THIRD).await;
    let mut trapped = 0;
    for _ in 0..9 {
        match pool.submit("work").await {
            Ok(answer) => assert_eq!(answer, Some("work".into())),
            Err(PoolError::Work(WasmError::Trapped { .. })) => trapped += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(trapped, 3);
    assert_eq!(engine.usage(&worker).await.unwrap().restarts, 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_hangs_is_stopped_and_restarted() {
    let (engine, worker, pool) = pool_of(SPIN).await;
    let error = pool.submit("work").await.unwrap_err();
    assert!(
        matches!(error, PoolError::Work(WasmError::Timeout { .. })),
        "{error:?}"
    );
    assert_eq!(engine.usage(&worker).await.unwrap().restarts, 1);
}

#[tokio::test]
async fn a_worker_that_says_no_is_not_restarted() {
    let (engine, worker, pool) = pool_of(GUEST_ERROR).await;
    let error = pool.submit("work").await.unwrap_err();
    assert!(
        matches!(error, PoolError::Work(WasmError::GuestError { .. })),
        "{error:?}"
    );
    assert_eq!(engine.usage(&worker).await.unwrap().restarts, 0);
}

#[tokio::test]
async fn work_is_done_by_a_component_of_the_test() {
    let id = id("clerk");
    let engine = ModelEngine::new(HostServices::default()).with(&id, |message| {
        match message.payload.as_bytes() {
            b"file this" => Ok(Some("filed".into())),
            other => panic!("nobody told me how to do {other:?}"),
        }
    });
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
    let loading = engine.load_component(&id, "a clerk".into(), ComponentConfig::new(limits));
    let clerk = loading.await.unwrap();
    let pool = pool(engine, [clerk]);
    for _ in 0..2 {
        assert_eq!(
            pool.submit("file this").await.unwrap(),
            Some("filed".into())
        );
        let error = pool.submit("dance").await.unwrap_err();
        assert!(
            matches!(error, PoolError::Work(WasmError::Trapped { .. })),
            "{error:?}"
        );
    }
}

// Faults: what the engine itself may do.

#[tokio::test]
async fn a_worker_that_cannot_be_restarted_leaves_the_pool() {
    let model = Arc::new(ModelEngine::new(HostServices::default()));
    let workers = [
        loaded(&*model, TRAP_EVERY_THIRD).await,
        loaded(&*model, ECHO).await,
    ];
    let engine = Faulty::new(Arc::clone(&model)).on_call(
        Method::RestartComponent,
        1,
        Fault::Fail(timeout()),
    );
    let pool = pool(engine, workers.clone());
    for _ in 0..2 {
        assert_eq!(pool.submit("work").await.unwrap(), Some("work".into()));
    }
    let error = pool.submit("work").await.unwrap_err();
    assert!(
        matches!(error, PoolError::Work(WasmError::Trapped { .. })),
        "{error:?}"
    );
    assert_eq!(pool.size(), 1);
    let error = model.usage(&workers[0]).await.unwrap_err();
    assert!(
        matches!(error, WasmError::ComponentNotFound { .. }),
        "{error}"
    );
    // The other does the rest.
    assert_eq!(pool.submit("work").await.unwrap(), Some("work".into()));
}

#[tokio::test(start_paused = true)]
async fn work_is_done_or_its_error_told_whatever_the_engine_does() {
    let model = Arc::new(ModelEngine::new(HostServices::default()));
    let workers = [loaded(&*model, ECHO).await, loaded(&*model, ECHO).await];
    let slow = Fault::Delay(Duration::from_secs(1));
    let engine = Faulty::new(model).at_random(7, 0.2, [Fault::Fail(timeout()), slow]);
    let pool = pool(engine, workers);
    while pool.size() > 0 {
        match pool.submit("work").await {
            Ok(answer) => assert_eq!(answer, Some("work".into())),
            Err(error) => assert!(
                matches!(error, PoolError::Work(WasmError::Timeout { .. })),
                "{error:?}"
            ),
        }
    }
    let error = pool.submit("work").await.unwrap_err();
    assert!(matches!(error, PoolError::NoWorkerLeft), "{error:?}");
}
