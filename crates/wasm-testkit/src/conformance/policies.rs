//! Components with an instance for each call, and with several calls at a time.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentState, HostServices, InstancePolicy, LifecycleError, MemoryStorage,
    WasmError,
};
use wasm_fixtures::{
    CALLBACK, COUNTER, INIT_FAILS, INIT_ONCE, INIT_SENDS, SENDER, SHUTDOWN_FAILS, SHUTDOWN_SENDS,
    SLEEPER, TRAP, TRAP_IN_SHUTDOWN,
};

use super::lab::{SHORT, begin, config, failed_because, permitted, timed, until};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["policies":
        "before which it is initialized and after which it is shut down" => [
            each_call_has_an_instance_that_is_initialized needs Feature::Policies,
            each_call_has_an_instance_that_is_shut_down needs Feature::Policies,
        ],
        "no call sees what another has left in memory, and one that fails harms no other" => [
            a_message_finds_nothing_of_those_before_it needs Feature::Policies,
            a_message_finds_nothing_of_a_callback needs Feature::Policies,
            a_crash_harms_its_own_message needs Feature::Policies,
        ],
        "Where `initialize` goes wrong, the call ends in that; what `shutdown` answers changes \
         nothing." => [
            an_instance_that_does_not_start_harms_its_own_message needs Feature::Policies,
            a_shutdown_that_goes_wrong_costs_no_answer needs Feature::Policies,
        ],
        "The first instance is made when the component is loaded, so that what keeps it from \
         starting is known then." => [
            what_keeps_it_from_starting_is_known_when_it_is_loaded needs Feature::Policies,
        ],
        "A component that is loaded with more than one `concurrency` has so many turns: calls \
         begin in the order in which their futures were first polled as long as a turn is free, \
         and one more waits for the first that ends." => [
            as_many_calls_run_at_a_time_as_are_allowed needs Feature::Policies,
            those_that_wait_for_one_of_several_turns_keep_their_order needs Feature::Policies,
        ],
        "Calls that run at a time are in instances of their own." => [
            calls_at_a_time_share_no_memory needs Feature::Policies,
        ],
        "Restarting and unloading wait until no call runs." => [
            a_restart_waits_for_all_calls needs Feature::Policies,
            an_unloading_waits_for_all_calls needs Feature::Policies,
        ],
        "Where `renews_instances` holds, a call that fails its instance ends with the cause and \
         harms nothing else: the component stays ready, and the next call has another \
         instance." => [
            a_failure_beside_other_calls_harms_none_of_them needs Feature::Policies,
        ],
        "Only a restart that goes wrong fails it." => [
            a_restart_that_goes_wrong_fails_all_turns needs Feature::Policies,
        ],
        "Usage is that of all instances together." => [
            usage_is_that_of_all_instances needs Feature::Policies,
        ],
    ]
}

fn per_message(config: ComponentConfig) -> ComponentConfig {
    config.with_instances(InstancePolicy::PerMessage)
}

/// Three at a time, with both policies.
fn three_at_a_time() -> [ComponentConfig; 2] {
    let three = permitted().with_concurrency(3);
    [three.clone(), per_message(three)]
}

async fn each_call_has_an_instance_that_is_initialized<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    let handle = bench.load(INIT_SENDS, per_message(permitted())).await;
    let at_once = router.accepted().len();
    assert!(at_once > 0, "it was initialized when it was loaded");
    for _ in 0..3 {
        bench.tell(&handle, "").await;
    }
    let instances = router.accepted().len() / at_once;
    // The first one may have been used.
    assert!((3..=4).contains(&instances), "{instances} were initialized");
}

async fn each_call_has_an_instance_that_is_shut_down<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = GatedRouter::open();
    let bench = lab.bench_with(router.services());
    let handle = bench.load(SHUTDOWN_SENDS, per_message(permitted())).await;
    for n in 1..=3 {
        bench.tell(&handle, "").await;
        until(async || router.accepted().len() >= n).await;
    }
    bench.unload(&handle).await;
    let instances = router.accepted().len();
    assert!((3..=4).contains(&instances), "{instances} were shut down");
}

async fn a_message_finds_nothing_of_those_before_it<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, per_message(config())).await;
    for _ in 0..3 {
        assert_eq!(bench.ask(&counter, "").await, "1");
    }
}

async fn a_message_finds_nothing_of_a_callback<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(CALLBACK, per_message(permitted())).await;
    if let Err(error) = bench.call_back(&handle, "kept").await {
        panic!("{error}");
    }
    assert_eq!(bench.tell(&handle, "last").await, None);
}

async fn a_crash_harms_its_own_message<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let trap = bench.load(TRAP, per_message(config())).await;
    for _ in 0..3 {
        assert_eq!(bench.ask(&trap, "ok").await, "ok");
        let error = bench.fail(&trap, "x").await;
        assert!(matches!(error, WasmError::Trapped { .. }), "{error}");
        assert_eq!(bench.state(&trap).await, ComponentState::Ready);
    }
    let usage = bench.usage(&trap).await;
    assert_eq!((usage.calls, usage.traps, usage.restarts), (6, 3, 0));
}

/// Those that can store that they have begun.
fn with_storage() -> HostServices {
    HostServices::default().with_storage(Arc::new(MemoryStorage::new()))
}

#[track_caller]
fn not_initialized(error: &WasmError) {
    let WasmError::InitializationFailed { error, .. } = error else {
        panic!("it should not have been initialized, but: {error}");
    };
    let is_told = matches!(error, LifecycleError::InitializationFailed(_));
    assert!(is_told, "{error}");
}

async fn an_instance_that_does_not_start_harms_its_own_message<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(with_storage());
    let handle = bench.load(INIT_ONCE, per_message(permitted())).await;
    // It may be the first instance, which did start.
    let _ = bench.send(&handle, "").await;
    for _ in 0..2 {
        not_initialized(&bench.fail(&handle, "").await);
        assert_eq!(bench.state(&handle).await, ComponentState::Ready);
    }
}

async fn a_shutdown_that_goes_wrong_costs_no_answer<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for fixture in [SHUTDOWN_FAILS, TRAP_IN_SHUTDOWN] {
        let handle = bench.load(fixture, per_message(config())).await;
        for _ in 0..2 {
            bench.tell(&handle, "").await;
            assert_eq!(bench.state(&handle).await, ComponentState::Ready);
        }
    }
}

async fn what_keeps_it_from_starting_is_known_when_it_is_loaded<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let several = config().with_concurrency(2);
    for config in [per_message(config()), several.clone(), per_message(several)] {
        not_initialized(&bench.not_loaded(INIT_FAILS, config).await);
    }
}

async fn as_many_calls_run_at_a_time_as_are_allowed<E: Engine + ?Sized>(lab: Lab<E>) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let running = [1, 2, 3].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(3).await;
        let mut one_more = Box::pin(bench.send(&sender, "demo/a/main 4"));
        for _ in 0..10 {
            begin("a call beside as many as are allowed", one_more.as_mut()).await;
            yield_now().await;
        }
        assert_eq!(bench.state(&sender).await, ComponentState::Busy);
        assert_eq!(router.most_inside(), 3, "calls at once");
        router.gate.open(1);
        router.gate.entered_by(one_more.as_mut()).await;
        assert_eq!(router.most_inside(), 3, "calls at once");
        router.gate.open(3);
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
        let outcome = one_more.await;
        assert!(matches!(outcome, Ok(None)), "{outcome:?}");
    }
}

async fn those_that_wait_for_one_of_several_turns_keep_their_order<E: Engine + ?Sized>(
    lab: Lab<E>,
) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let running = [1, 2, 3].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(3).await;
        let mut waiting: Vec<_> = (4..10)
            .map(|n| bench.called(&sender, format!("demo/a/main {n}")))
            .collect();
        for call in &mut waiting {
            begin("a call beside as many as are allowed", call.as_mut()).await;
        }
        for n in 1..=9 {
            router.gate.open(1);
            until(async || router.accepted().len() == n).await;
            if n <= 6 {
                router.gate.entered(1).await;
            }
        }
        assert_eq!(router.arrived()[3..], ["4", "5", "6", "7", "8", "9"]);
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
    }
}

async fn calls_at_a_time_share_no_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let one = bench.usage(&sender).await.memory_bytes;
        assert!(one > 0, "memory of the first instance");
        let running = [1, 2, 3].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(3).await;
        assert_eq!(bench.usage(&sender).await.memory_bytes, 3 * one);
        router.gate.open(3);
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
    }
}

async fn a_restart_waits_for_all_calls<E: Engine + ?Sized>(lab: Lab<E>) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let running = [1, 2].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(2).await;
        let mut restart = bench.engine.restart_component(&sender);
        begin("a restart beside two calls", restart.as_mut()).await;
        router.gate.open(1);
        until(async || running.iter().any(JoinHandle::is_finished)).await;
        for _ in 0..10 {
            begin("a restart beside a call", restart.as_mut()).await;
            yield_now().await;
        }
        router.gate.open(1);
        let restarted = restart.await;
        assert!(matches!(restarted, Ok(())), "{restarted:?}");
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
        let usage = bench.usage(&sender).await;
        assert_eq!((usage.calls, usage.restarts), (2, 1));
    }
}

async fn an_unloading_waits_for_all_calls<E: Engine + ?Sized>(lab: Lab<E>) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let running = [1, 2].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(2).await;
        let mut unload = bench.engine.unload_component(&sender);
        begin("an unloading beside two calls", unload.as_mut()).await;
        router.gate.open(1);
        until(async || running.iter().any(JoinHandle::is_finished)).await;
        for _ in 0..10 {
            begin("an unloading beside a call", unload.as_mut()).await;
            yield_now().await;
        }
        router.gate.open(1);
        let unloaded = unload.await;
        assert!(matches!(unloaded, Ok(())), "{unloaded:?}");
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
        bench.is_unknown(&sender).await;
    }
}

async fn a_failure_beside_other_calls_harms_none_of_them<E: Engine + ?Sized>(lab: Lab<E>) {
    let several = timed(SHORT).with_concurrency(2);
    for config in [several.clone(), per_message(several)] {
        let bench = lab.bench();
        let sleeper = bench.load(SLEEPER, config).await;
        let millis = |time: Duration| time.as_millis().to_string();
        let late = bench.spawn_send(&sleeper, millis(10 * SHORT));
        sleep(SHORT * 3 / 4).await;
        // It ends when the other one has failed.
        let in_time = bench.spawn_send(&sleeper, millis(SHORT / 2));
        let late = late.await;
        assert!(
            matches!(late, Ok(Err(WasmError::Timeout { .. }))),
            "{late:?}"
        );
        let in_time = in_time.await;
        let awake = matches!(&in_time, Ok(Ok(Some(reply))) if reply == "awake");
        assert!(awake, "{in_time:?}");
        assert_eq!(bench.state(&sleeper).await, ComponentState::Ready);
        assert_eq!(bench.ask(&sleeper, "0").await, "awake");
        let usage = bench.usage(&sleeper).await;
        assert_eq!((usage.calls, usage.timeouts, usage.restarts), (3, 1, 0));
    }
}

async fn a_restart_that_goes_wrong_fails_all_turns<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(with_storage());
    let handle = bench.load(INIT_ONCE, permitted().with_concurrency(2)).await;
    let Err(cause) = bench.engine.restart_component(&handle).await else {
        panic!("it was restarted");
    };
    not_initialized(&cause);
    assert_eq!(bench.state(&handle).await, ComponentState::Failed);
    for _ in 0..2 {
        failed_because(&bench.fail(&handle, "").await, &cause);
    }
}

async fn usage_is_that_of_all_instances<E: Engine + ?Sized>(lab: Lab<E>) {
    for config in three_at_a_time() {
        let router = GatedRouter::new();
        let bench = lab.bench_with(router.services());
        let sender = bench.load(SENDER, config).await;
        let one = bench.usage(&sender).await;
        let running = [1, 2, 3].map(|n| bench.spawn_send(&sender, format!("demo/a/main {n}")));
        router.gate.entered(3).await;
        router.gate.open(3);
        for call in running {
            let outcome = call.await;
            assert!(matches!(outcome, Ok(Ok(None))), "{outcome:?}");
        }
        let usage = bench.usage(&sender).await;
        assert_eq!((usage.calls, usage.traps, usage.timeouts), (3, 0, 0));
        assert_eq!(usage.peak_memory_bytes, 3 * one.memory_bytes);
        let of_one_call = usage.last_call_fuel;
        assert!(
            usage.total_fuel >= one.total_fuel + of_one_call,
            "{usage:?}"
        );
    }
}
