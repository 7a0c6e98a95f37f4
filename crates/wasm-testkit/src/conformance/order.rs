use std::future::poll_fn;
use std::task::Poll;

use tokio::task::{JoinSet, yield_now};

use wasm_core::{ComponentState, HealthStatus};
use wasm_fixtures::{CALLBACK, COUNTER, INIT_SENDS, SENDER, SHUTDOWN_SENDS};

use super::lab::{Bench, Called, begin, config, id, permitted, poll_once, until};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["order":
        "Calls to one handle run one at a time, in the order in which their futures were first \
         polled." => [
            calls_to_one_component_never_overlap,
            every_count_of_a_shared_counter_is_seen_by_one_caller,
            calls_run_in_the_order_in_which_they_were_first_polled,
            the_order_is_that_of_polling_not_of_calling,
            calls_of_all_kinds_wait_for_the_one_that_runs,
        ],
        "Calls to different handles run in parallel." => [
            calls_to_different_components_overlap,
            calls_to_instances_of_one_id_overlap,
            a_component_that_waits_keeps_no_other_from_anything,
            a_component_that_initializes_keeps_no_other_from_anything,
            a_component_that_shuts_down_keeps_no_other_from_anything,
        ],
        "Calls `health`: a call like any other, under the limits and in order." => [
            health_waits_for_its_turn,
        ],
        "Calls `metadata`: a call like any other, under the limits and in order." => [
            metadata_waits_for_its_turn,
        ],
    ]
}

async fn calls_to_one_component_never_overlap<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut calls = JoinSet::new();
    for n in 0..60 {
        let (bench, sender) = (bench.clone(), sender.clone());
        calls.spawn(async move { bench.tell(&sender, format!("demo/a/main {n}")).await });
    }
    let replies = calls.join_all().await;
    assert_eq!(replies, vec![None; 60]);
    assert_eq!(router.accepted().len(), 60);
    assert_eq!(router.most_inside(), 1, "calls at once");
}

async fn every_count_of_a_shared_counter_is_seen_by_one_caller<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (bench, counter) = (bench.clone(), counter.clone());
        calls.spawn(async move { bench.ask(&counter, "").await });
    }
    let mut seen: Vec<u64> = (calls.join_all().await)
        .iter()
        .filter_map(|count| count.parse().ok())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
}

/// Drives all of them, the last one first each time.
async fn finish_backwards(calls: Vec<Called<'_>>) {
    let mut calls: Vec<_> = calls.into_iter().map(Some).collect();
    poll_fn(|cx| {
        for slot in calls.iter_mut().rev() {
            if let Some(call) = slot
                && let Poll::Ready(outcome) = call.as_mut().poll(cx)
            {
                assert!(matches!(outcome, Ok(None)), "{outcome:?}");
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

async fn calls_run_in_the_order_in_which_they_were_first_polled<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    // More than a task of tokio does at a time.
    let order: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    let mut calls = Vec::new();
    for n in &order {
        let mut call = bench.called(&sender, format!("demo/a/main {n}"));
        begin("a call that is held up", call.as_mut()).await;
        calls.push(call);
    }
    router.gate.open(order.len());
    finish_backwards(calls).await;
    assert_eq!(router.accepted(), order);
}

async fn the_order_is_that_of_polling_not_of_calling<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut calls: Vec<_> = (0..10)
        .map(|n| bench.called(&sender, format!("demo/a/main {n}")))
        .collect();
    for call in calls.iter_mut().rev() {
        begin("a call that is held up", call.as_mut()).await;
    }
    router.gate.open(10);
    finish_backwards(calls).await;
    let expected: Vec<String> = (0..10).rev().map(|n| n.to_string()).collect();
    assert_eq!(router.accepted(), expected);
}

async fn calls_of_all_kinds_wait_for_the_one_that_runs<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let callback = bench.load(CALLBACK, permitted()).await;
    let running = bench.spawn_send(&callback, "demo/a/main question");
    router.gate.entered(1).await;
    let mut health = bench.engine.health(&callback);
    let mut kept = Box::pin(bench.call_back(&callback, "kept"));
    let mut metadata = bench.engine.metadata(&callback);
    let mut last = Box::pin(bench.send(&callback, "last"));
    let mut restart = bench.engine.restart_component(&callback);
    let mut forgotten = Box::pin(bench.send(&callback, "last"));
    for _ in 0..10 {
        begin("health beside a call", health.as_mut()).await;
        begin("a callback beside a call", kept.as_mut()).await;
        begin("metadata beside a call", metadata.as_mut()).await;
        begin("a message beside a call", last.as_mut()).await;
        begin("a restart beside a call", restart.as_mut()).await;
        begin("a message after a restart", forgotten.as_mut()).await;
        yield_now().await;
    }
    assert_eq!(
        bench.usage(&callback).await.calls,
        0,
        "calls that have ended"
    );
    router.gate.open(1);
    let outcomes = tokio::join!(forgotten, restart, last, metadata, kept, health, running);
    let (forgotten, restart, last, metadata, kept, health, running) = outcomes;
    assert!(matches!(running, Ok(Ok(Some(_)))), "{running:?}");
    assert!(matches!(health, Ok(HealthStatus::Healthy)), "{health:?}");
    assert!(matches!(kept, Ok(())), "{kept:?}");
    assert!(metadata.is_ok_and(|metadata| metadata.stateful));
    // After the callback, before the restart.
    assert!(
        matches!(&last, Ok(Some(kept)) if kept == "-|-|kept"),
        "{last:?}"
    );
    assert!(matches!(restart, Ok(())), "{restart:?}");
    assert!(matches!(forgotten, Ok(None)), "{forgotten:?}");
}

async fn calls_to_different_components_overlap<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let mut calls = JoinSet::new();
    for n in 0..20 {
        let name = id(&format!("many/sender/{n}"));
        let sender = bench.load_as(&name, SENDER, permitted()).await;
        let bench = bench.clone();
        calls.spawn(async move { bench.tell(&sender, "demo/a/main hi").await });
    }
    // Until all of them are inside a call at once.
    router.gate.entered(20).await;
    assert_eq!(router.accepted(), [""; 0]);
    router.gate.open(20);
    assert_eq!(calls.join_all().await, vec![None; 20]);
}

async fn calls_to_instances_of_one_id_overlap<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let one = bench.load(SENDER, permitted()).await;
    let two = bench.load(SENDER, permitted()).await;
    let calls = [&one, &two].map(|handle| bench.spawn_send(handle, "demo/a/main hi"));
    router.gate.entered(2).await;
    router.gate.open(2);
    for call in calls {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
    }
}

async fn a_component_that_waits_keeps_no_other_from_anything<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    lives_a_whole_life(&bench).await;
    let again = bench.load(SENDER, config()).await;
    bench.unload(&again).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Busy);
    router.gate.open(1);
    let outcome = running.await;
    assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
}

/// Does with a component all that can be done with one.
async fn lives_a_whole_life<E: Engine + ?Sized>(bench: &Bench<E>) {
    let counter = bench.load(COUNTER, config()).await;
    assert_eq!(bench.ask(&counter, "").await, "1");
    let health = bench.engine.health(&counter).await;
    assert!(matches!(health, Ok(HealthStatus::Healthy)), "{health:?}");
    bench.restart(&counter).await;
    bench.unload(&counter).await;
}

async fn a_component_that_initializes_keeps_no_other_from_anything<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let loading = {
        let bench = bench.clone();
        tokio::spawn(async move { bench.load(INIT_SENDS, permitted()).await })
    };
    router.gate.entered(1).await;
    lives_a_whole_life(&bench).await;
    assert!(!loading.is_finished(), "loaded before it was initialized");
    // It sends twice.
    router.gate.open(2);
    let handle = match loading.await {
        Ok(handle) => handle,
        Err(error) => panic!("{error}"),
    };
    router.gate.entered(1).await;
    let mut restart = bench.engine.restart_component(&handle);
    router.gate.entered_by(restart.as_mut()).await;
    lives_a_whole_life(&bench).await;
    router.gate.open(2);
    let restart = restart.await;
    assert!(matches!(restart, Ok(())), "{restart:?}");
}

async fn a_component_that_shuts_down_keeps_no_other_from_anything<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let handle = bench.load(SHUTDOWN_SENDS, permitted()).await;
    let mut unload = bench.engine.unload_component(&handle);
    router.gate.entered_by(unload.as_mut()).await;
    lives_a_whole_life(&bench).await;
    let early = poll_once(unload.as_mut()).await;
    assert!(early.is_none(), "unloaded before it was shut down");
    router.gate.open(1);
    let unloaded = unload.await;
    assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
}

async fn health_waits_for_its_turn<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut health = bench.engine.health(&sender);
    for _ in 0..10 {
        begin("health beside a call", health.as_mut()).await;
        yield_now().await;
    }
    router.gate.open(1);
    let health = health.await;
    assert!(matches!(health, Ok(HealthStatus::Healthy)), "{health:?}");
    until(async || running.is_finished()).await;
    assert_eq!(bench.usage(&sender).await.calls, 2);
}

async fn metadata_waits_for_its_turn<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let running = bench.spawn_send(&sender, "demo/a/main hi");
    router.gate.entered(1).await;
    let mut metadata = bench.engine.metadata(&sender);
    for _ in 0..10 {
        begin("metadata beside a call", metadata.as_mut()).await;
        yield_now().await;
    }
    router.gate.open(1);
    match metadata.await {
        Ok(metadata) => assert!(!metadata.stateful),
        Err(error) => panic!("metadata was not told: {error}"),
    }
    until(async || running.is_finished()).await;
    assert_eq!(bench.usage(&sender).await.calls, 2);
}
