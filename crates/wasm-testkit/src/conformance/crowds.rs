//! What holds however many components and calls there are.

use std::collections::HashSet;

use tokio::task::JoinSet;

use wasm_core::{ComponentHandle, ComponentState};
use wasm_fixtures::{COUNTER, ECHO, INIT_SENDS, SENDER};

use super::lab::{begin, config, id, permitted};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["crowds":
        "Calls to different handles run in parallel." => [
            a_hundred_calls_are_made_at_once,
            calls_that_wait_for_one_component_keep_no_other_from_answering,
        ],
        "The same id and bytes may be loaded any number of times; each is an instance of its \
         own, with a number that the engine never gives again." => [
            a_hundred_components_are_loaded,
            equal_loads_at_once_are_instances_of_their_own,
        ],
        "A call that still waits for its turn is withdrawn, and the guest never sees it." => [
            any_number_of_waiting_calls_may_be_dropped,
        ],
    ]
}

async fn a_hundred_calls_are_made_at_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let mut calls = JoinSet::new();
    for n in 0..100 {
        let name = id(&format!("many/sender/{n}"));
        let sender = bench.load_as(&name, SENDER, permitted()).await;
        let bench = bench.clone();
        calls.spawn(async move { bench.tell(&sender, "demo/a/main hi").await });
    }
    // Until all of them are inside a call at once.
    router.gate.entered(100).await;
    router.gate.open(100);
    assert_eq!(calls.join_all().await, vec![None; 100]);
}

async fn calls_that_wait_for_one_component_keep_no_other_from_answering<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let counter = bench.load(COUNTER, config()).await;
    let mut calls: Vec<_> = (0..200)
        .map(|n| Box::pin(bench.send(&sender, format!("demo/a/main {n}"))))
        .collect();
    router.gate.entered_by(calls[0].as_mut()).await;
    for call in &mut calls[1..] {
        begin("a call behind another", call.as_mut()).await;
    }
    for count in ["1", "2", "3"] {
        assert_eq!(bench.ask(&counter, "").await, count);
    }
    let echo = bench.load(ECHO, config()).await;
    bench.restart(&echo).await;
    bench.unload(&echo).await;
    assert_eq!(bench.state(&sender).await, ComponentState::Busy);
    router.gate.open(calls.len());
    for call in calls {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    }
}

async fn a_hundred_components_are_loaded<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let mut handles = Vec::new();
    for _ in 0..100 {
        handles.push(bench.load(COUNTER, config()).await);
    }
    for (n, handle) in handles.iter().enumerate() {
        for count in 1..=1 + n % 3 {
            assert_eq!(bench.ask(handle, "").await, count.to_string());
        }
    }
    let numbers: HashSet<u64> = handles.iter().map(ComponentHandle::handle_id).collect();
    assert_eq!(numbers.len(), 100, "different numbers");
}

async fn equal_loads_at_once_are_instances_of_their_own<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let mut loads = JoinSet::new();
    for _ in 0..3 {
        let bench = bench.clone();
        loads.spawn(async move { bench.load(INIT_SENDS, permitted()).await });
    }
    // Each is inside `initialize`.
    router.gate.entered(3).await;
    router.gate.open(6);
    let handles = loads.join_all().await;
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(
            bench.tell(handle, "").await,
            None,
            "before its first callback"
        );
        if let Err(error) = bench.call_back(handle, n.to_string()).await {
            panic!("{error}");
        }
    }
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(bench.ask(handle, "").await, format!("-|-|{n}"));
    }
}

async fn any_number_of_waiting_calls_may_be_dropped<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::new();
    let bench = lab.bench_with(router.services());
    let sender = bench.load(SENDER, permitted()).await;
    let mut calls: Vec<_> = (0..100)
        .map(|n| Some(Box::pin(bench.send(&sender, format!("demo/a/main {n}")))))
        .collect();
    for call in calls.iter_mut().flatten() {
        begin("a call that is held up", call.as_mut()).await;
    }
    router.gate.entered(1).await;
    // From everywhere in the queue, its end included.
    let kept = |n: usize| n == 0 || n % 10 == 7;
    for (n, call) in calls.iter_mut().enumerate() {
        if !kept(n) {
            *call = None;
        }
    }
    router.gate.open(100);
    for call in calls.into_iter().flatten() {
        let outcome = call.await;
        assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    }
    assert_eq!(bench.tell(&sender, "demo/a/main last").await, None);
    let kept = (0..100).filter(|n| kept(*n)).map(|n| n.to_string());
    let expected: Vec<String> = kept.chain(["last".to_owned()]).collect();
    assert_eq!(router.accepted(), expected);
}
