use std::sync::Arc;

use tokio::task::JoinSet;

use wasm_core::{ComponentState, HostServices, Resource, Trap, WasmError};
use wasm_fixtures::{
    ANSI_LOG, BAD_POINTER_REALLOC, BAD_UTF8_RESULT, COUNTER, ECHO, Fixture, GROW, GROW_FOREVER,
    GROW_SURVIVES, HUGE_STRING_RESULT, LOG_FLOOD, MANY_MEMORIES, RECURSE_FOREVER,
    RECURSE_THEN_HOSTCALL, SEND_FLOOD, SLEEP_FOREVER, SPIN, SPIN_IN_POST_RETURN, SPIN_IN_REALLOC,
    SPIN_IN_SHUTDOWN, STORAGE_FILL, STORED_COUNTER, TABLE_BOMB, TRAP,
};

use super::lab::{SHORT, all_permissions, config, id, permitted, timed};
use super::{Engine, Feature, Lab};
use crate::RecordingRouter;
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["isolation":
        "A trap, exhausted fuel, a passed deadline, a denied growth that the guest did not \
         survive or a panic in a host function fails the instance, and nothing else: the call \
         ends with the cause, the instance is dropped, and further calls end in \
         `WasmError::ComponentFailed` until `restart_component`." => [
            whatever_a_component_tries_its_neighbour_goes_on,
            the_stack_is_exhausted_by_the_guest_never_by_the_host,
        ],
        "Calls to different handles run in parallel." => [
            components_that_compute_keep_no_other_from_answering needs Feature::Parallel,
            replies_never_cross,
        ],
        "Keeps the data of components; each sees only what is its own." => [
            components_count_for_themselves,
        ],
        "Unique for the life of the engine that gave it." => [
            engines_know_nothing_of_each_other,
        ],
    ]
}

/// How a hostile component's message ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Time,
    Memory,
    Stack,
    Trap,
    Answer,
}

impl End {
    fn is(self, outcome: &Result<Option<String>, WasmError>) -> bool {
        match (self, outcome) {
            (Self::Time, Err(WasmError::Timeout { .. })) | (Self::Answer, Ok(_)) => true,
            (Self::Memory, Err(WasmError::ResourceLimitExceeded { resource, .. })) => {
                *resource == Resource::Memory
            }
            (Self::Stack, Err(WasmError::Trapped { trap, .. })) => *trap == Trap::StackOverflow,
            (Self::Trap, Err(WasmError::Trapped { trap, .. })) => *trap != Trap::StackOverflow,
            _ => false,
        }
    }
}

const ZOO: [(Fixture, End); 19] = [
    (SPIN, End::Time),
    (SPIN_IN_REALLOC, End::Time),
    (SPIN_IN_POST_RETURN, End::Time),
    (GROW_FOREVER, End::Time),
    (SLEEP_FOREVER, End::Time),
    (GROW, End::Memory),
    (TABLE_BOMB, End::Memory),
    (RECURSE_FOREVER, End::Stack),
    (TRAP, End::Trap),
    (HUGE_STRING_RESULT, End::Trap),
    (BAD_UTF8_RESULT, End::Trap),
    (BAD_POINTER_REALLOC, End::Trap),
    (GROW_SURVIVES, End::Answer),
    (MANY_MEMORIES, End::Answer),
    (LOG_FLOOD, End::Answer),
    (SEND_FLOOD, End::Answer),
    (STORAGE_FILL, End::Answer),
    (ANSI_LOG, End::Answer),
    (SPIN_IN_SHUTDOWN, End::Answer),
];

async fn whatever_a_component_tries_its_neighbour_goes_on<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(HostServices::default().with_router(router));
    let neighbour = bench.load(COUNTER, config()).await;
    let mut count = 0;
    for (fixture, end) in ZOO {
        // Short only for what has no other end, so that a busy machine changes nothing.
        let endless = matches!(end, End::Time) || fixture.name == SPIN_IN_SHUTDOWN.name;
        let limits = if endless { timed(SHORT) } else { config() };
        let config = limits.with_permissions(all_permissions());
        let handle = bench.load(fixture, config).await;
        let outcome = bench.send(&handle, "go").await;
        assert!(end.is(&outcome), "{}: {end:?}, {outcome:?}", fixture.name);

        count += 1;
        assert_eq!(bench.ask(&neighbour, "").await, count.to_string());

        let failed = matches!(bench.state(&handle).await, ComponentState::Failed);
        assert_eq!(failed, outcome.is_err(), "{}: failed", fixture.name);
        bench.restart(&handle).await;
        let state = bench.state(&handle).await;
        assert_eq!(state, ComponentState::Ready, "{}", fixture.name);
        // However its shutdown ends.
        drop(bench.engine.unload_component(&handle).await);
        bench.is_unknown(&handle).await;
    }
    let usage = bench.usage(&neighbour).await;
    assert_eq!((usage.traps, usage.timeouts, usage.restarts), (0, 0, 0));
}

async fn the_stack_is_exhausted_by_the_guest_never_by_the_host<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(RECURSE_THEN_HOSTCALL, config()).await;
    for depth in [100, 1_000, 10_000, 100_000, 1_000_000] {
        match bench.send(&handle, depth.to_string()).await {
            Ok(reply) => assert_eq!(reply.as_deref(), Some("back"), "from {depth}"),
            Err(error) => {
                assert!(
                    matches!(
                        error,
                        WasmError::Trapped {
                            trap: Trap::StackOverflow,
                            ..
                        }
                    ),
                    "{depth}: {error}"
                );
                bench.restart(&handle).await;
            }
        }
    }
}

/// More than the threads that a case has.
const SPINNERS: usize = 8;

async fn components_that_compute_keep_no_other_from_answering<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    let mut spinners = Vec::new();
    for n in 0..SPINNERS {
        let name = id(&format!("many/spin/{n}"));
        spinners.push(bench.load_as(&name, SPIN, timed(40 * SHORT)).await);
    }
    let mut running = Vec::new();
    for spin in &spinners {
        let mut call = bench.called(spin, "go");
        bench.begun(spin, call.as_mut()).await;
        running.push(call);
    }
    // By the threads on which the others compute.
    let counted = bench.spawn_send(&counter, "").await;
    assert!(
        matches!(&counted, Ok(Ok(Some(count))) if count == "1"),
        "{counted:?}"
    );
    for spin in &spinners {
        let state = bench.state(spin).await;
        assert_eq!(state, ComponentState::Busy, "{spin}, which computes");
    }
}

async fn replies_never_cross<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let mut handles = Vec::new();
    for n in 0..8 {
        let name = id(&format!("many/echo/{n}"));
        handles.push(bench.load_as(&name, ECHO, config()).await);
    }
    let mut tasks = JoinSet::new();
    for task in 0..8 {
        let (bench, handles) = (bench.clone(), handles.clone());
        tasks.spawn(async move {
            for n in 0..40 {
                let handle = &handles[(task * 3 + n) % handles.len()];
                let payload = format!("{task}:{n}:{}", "x".repeat(n * 7));
                assert_eq!(bench.ask(handle, payload.clone()).await, payload);
            }
        });
    }
    tasks.join_all().await;
    let mut calls = 0;
    for handle in &handles {
        calls += bench.usage(handle).await.calls;
    }
    assert_eq!(calls, 8 * 40);
}

async fn components_count_for_themselves<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let one = bench
        .load_as(&id("demo/a/main"), STORED_COUNTER, permitted())
        .await;
    let two = bench
        .load_as(&id("demo/b/main"), STORED_COUNTER, permitted())
        .await;
    for (handle, count) in [
        (&one, "1"),
        (&one, "2"),
        (&two, "1"),
        (&one, "3"),
        (&two, "2"),
    ] {
        assert_eq!(bench.ask(handle, "").await, count, "the count of {handle}");
    }
}

async fn engines_know_nothing_of_each_other<E: Engine + ?Sized>(lab: Lab<E>) {
    let (here, there) = (lab.bench(), lab.bench());
    let one = here.load(COUNTER, config()).await;
    let two = there.load(COUNTER, config()).await;
    for (bench, handle, count) in [(&here, &one, "1"), (&here, &one, "2"), (&there, &two, "1")] {
        assert_eq!(bench.ask(handle, "").await, count);
    }
    here.unload(&one).await;
    assert_eq!(there.ask(&two, "").await, "2");
}
