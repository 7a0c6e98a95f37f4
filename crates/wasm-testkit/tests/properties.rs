//! Sequences of operations against the model: itself, and engines that are not quite
//! like it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "few of its closures are enough here")]
#[path = "broken_engines/wrong.rs"]
mod wrong;

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::future::poll_fn;
use std::mem::{Discriminant, discriminant};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tokio::runtime::Handle;
use tokio::sync::Mutex as FairMutex;

use wasm_core::{
    ComponentHandle, ComponentId, ComponentMessage, CorrelationId, HostServices, MessageRouter,
    MessagingError, NoOtherComponents, PermissionsOnly, ResourceLimits, RuntimeEngine, Timestamp,
    Trap, WasmError,
};
use wasm_testkit::conformance::{Feature, Harness, Settings};
use wasm_testkit::properties::{
    Call, Counterexample, Plan, Sequence, Trouble, config, config_within, everything, message,
    sequences, strategies,
};
use wasm_testkit::{ManualClock, ModelEngine, RecordingRouter, Time, wasm_fixtures};

use wrong::{Kept, OnDrop, Wrong};

struct Subject<F>(F);

impl<F> Harness for Subject<F>
where
    F: Fn(Arc<dyn RuntimeEngine>) -> Arc<dyn RuntimeEngine> + Send + Sync + 'static,
{
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, _: Settings) -> Arc<dyn RuntimeEngine> {
        (self.0)(Arc::new(ModelEngine::new(services)))
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

/// A wrong engine.
struct Broken<S = ()>(fn(Wrong) -> Wrong<S>);

impl<S: Send + Sync + 'static> Harness for Broken<S> {
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
        (self.0)(Wrong::around_the_model(services, settings)).build()
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

fn counterexample(broken: fn(Wrong) -> Wrong) -> Box<Counterexample> {
    let broken = Broken(broken);
    let plan = Plan {
        cases: 1_000,
        ..Plan::default()
    };
    let found = plan.run(&broken).unwrap_err();
    // What is printed is what was found.
    let again = found.sequence.compare(&broken).unwrap_err();
    assert_eq!(found.difference, again.to_string());
    found
}

#[test]
fn the_model_is_like_itself() {
    for time in [Time::Real, Time::Paused] {
        let plan = Plan {
            cases: 24,
            time,
            ..Plan::from_env()
        };
        plan.check(&Subject(|model| model));
    }
}

/// Without fuel, a sequence that spins would not end in time.
struct Unmetered;

impl Harness for Unmetered {
    type Engine = ModelEngine;

    fn engine(&self, services: HostServices, _: Settings) -> Arc<ModelEngine> {
        Arc::new(ModelEngine::new(services))
    }

    fn features(&self) -> &[Feature] {
        &[]
    }
}

#[test]
fn an_engine_without_fuel_is_not_made_to_spin() {
    let plan = Plan {
        cases: 24,
        ..Plan::from_env()
    };
    plan.check(&Unmetered);
}

#[test]
fn a_sequence_has_all_its_operations_until_it_is_made_shorter() {
    let mut runner = TestRunner::deterministic();
    for operations in [0, 1, 3, 50] {
        let mut tree = sequences(operations, &Feature::ALL, Time::Real)
            .new_tree(&mut runner)
            .unwrap();
        let length = |tree: &dyn ValueTree<Value = Sequence>| tree.current().operations().len();
        assert_eq!(length(&tree), operations);
        for left_out in 1..=operations {
            assert!(tree.simplify());
            assert_eq!(length(&tree), operations - left_out);
        }
        // Whatever is made of the last, the rest stays left out.
        assert_eq!(tree.complicate(), operations > 0);
        while tree.simplify() {
            assert!(length(&tree) <= 1);
        }
    }
}

fn cases<T: Debug>(strategy: impl Strategy<Value = T>) -> usize {
    let mut runner = TestRunner::deterministic();
    let drawn = (0..1_000).map(|_| strategy.new_tree(&mut runner).unwrap().current());
    let cases: HashSet<Discriminant<T>> = drawn.map(|value| discriminant(&value)).collect();
    cases.len()
}

#[test]
fn every_case_of_an_error_comes_up() {
    assert_eq!(cases(strategies::wasm_errors()), 17);
    assert_eq!(cases(strategies::defects()), 11);
    assert_eq!(cases(strategies::traps()), 12);
    assert_eq!(cases(strategies::guest_errors()), 7);
    assert_eq!(cases(strategies::lifecycle_errors()), 5);
    assert_eq!(cases(strategies::messaging_errors()), 5);
    assert_eq!(cases(strategies::storage_errors()), 5);
    assert_eq!(cases(strategies::limits_errors()), 4);
}

#[test]
fn what_is_sent_is_delivered_and_answered() {
    let permitted = || config(1 << 20, None).with_permissions(everything(0));
    let sequence = Sequence::new()
        .load(0, wasm_fixtures::CALLBACK, "demo/a/main", permitted())
        .load(1, wasm_fixtures::ECHO, "demo/b/main", permitted())
        .message(0, message("demo/a/main", "demo/b/main hello"))
        .deliver()
        .message(0, message("demo/a/main", "last"));
    sequence.check(&Subject(|model| model));
    let broken = Broken(|wrong| wrong.on_callback(|_, _, _| async { Ok(()) }));
    let difference = sequence.compare(&broken).unwrap_err();
    assert_eq!(difference.place, 5);
    assert_eq!(difference.expected, "answered \"request-1|-|hello\"");
    assert_eq!(difference.found, "answered nothing");
}

#[test]
fn components_with_one_id_share_a_store() {
    let permitted = |quota| config(1 << 20, None).with_permissions(everything(quota));
    let load = |sequence: Sequence, slot, quota| {
        sequence.load(slot, wasm_fixtures::STORE, "demo/a/main", permitted(quota))
    };
    let sequence = load(load(Sequence::new(), 0, 290), 1, 280)
        .message(0, message("demo/a/main", "set a 1"))
        .message(1, message("demo/a/main", "usage"));
    let broken = Broken(|wrong| wrong.answering(|_, _, reply| reply.map(|_| None)));
    let difference = sequence.compare(&broken).unwrap_err();
    assert_eq!(difference.expected, "answered \"258 280 1\"");
}

#[test]
fn what_hangs_is_stopped_at_its_deadline() {
    Sequence::new()
        .load(
            0,
            wasm_fixtures::SPIN,
            "demo/a/main",
            config_within(20, 1 << 20, None),
        )
        .message(0, message("demo/b/main", "hello"))
        .message(0, message("demo/b/main", "hello"))
        .check(&Unmetered);
}

#[test]
fn a_sequence_prints_as_the_test_that_makes_it() {
    let sender = "demo/b/main";
    let envelope = message(sender, vec![7; 65])
        .with_message_type("text/plain")
        .with_correlation_id("c-\"1\"")
        .with_reply_to("demo/a/main".parse().unwrap())
        .with_timestamp(Timestamp {
            seconds: 1,
            nanoseconds: 2,
        });
    let configured = config(1 << 20, Some(7))
        .with_env("A", "b")
        .with_config_data(vec![0xff])
        .with_permissions(everything(9));
    let sequence = Sequence::new()
        .load(0, wasm_fixtures::STORED_COUNTER, sender, configured)
        .message(0, message(sender, "é\n"))
        .callback(1, envelope)
        .drop_message(2, message(sender, ""))
        .batch([Call::Restart(0), Call::Health(2)])
        .held([Call::Metadata(0), Call::Health(0)], [1])
        .troubled(Trouble::Denial, Call::Health(0))
        .load_prepared(3, wasm_fixtures::TRUNCATED, sender, config(1 << 20, None))
        .deliver()
        .set_clock(Timestamp {
            seconds: 3,
            nanoseconds: 0,
        })
        .load(
            1,
            wasm_fixtures::SPIN,
            sender,
            config_within(20, 1 << 20, None),
        )
        .restart(0)
        .health(0)
        .metadata(0)
        .unload(0)
        .usage(0);
    sequence.check(&Unmetered);
    let printed = r#"#[test]
fn behaves_like_the_model() {
    use wasm_testkit::properties::{Call, Sequence, Trouble, config, config_within, everything, message};
    use wasm_testkit::wasm_fixtures;

    Sequence::new()
        .load(0, wasm_fixtures::STORED_COUNTER, "demo/b/main", config(1048576, Some(7)).with_env("A", "b").with_config_data(vec![255]).with_permissions(everything(9)))
        .message(0, message("demo/b/main", "é\n"))
        .callback(1, message("demo/b/main", vec![7; 65]).with_message_type("text/plain").with_correlation_id("c-\"1\"").with_reply_to("demo/a/main".parse().unwrap()).with_timestamp(wasm_core::Timestamp { seconds: 1, nanoseconds: 2 }))
        .drop_message(2, message("demo/b/main", ""))
        .batch([Call::Restart(0), Call::Health(2)])
        .held([Call::Metadata(0), Call::Health(0)], [1])
        .troubled(Trouble::Denial, Call::Health(0))
        .load_prepared(3, wasm_fixtures::TRUNCATED, "demo/b/main", config(1048576, None))
        .deliver()
        .set_clock(wasm_core::Timestamp { seconds: 3, nanoseconds: 0 })
        .load(1, wasm_fixtures::SPIN, "demo/b/main", config_within(20, 1048576, None))
        .restart(0)
        .health(0)
        .metadata(0)
        .unload(0)
        .usage(0)
        .check(&Mine);
}
"#;
    assert_eq!(sequence.to_string(), printed);
    let short = Sequence::new().restart(0).to_string();
    assert!(
        short.contains("use wasm_testkit::properties::Sequence;\n\n"),
        "{short}"
    );
}

#[test]
fn the_same_seed_makes_the_same_sequences() {
    let found = || counterexample(keeps_state);
    assert_eq!(found(), found());
}

/// Does not restart what works.
fn keeps_state(wrong: Wrong) -> Wrong {
    wrong.on_restart(|right, handle| async move {
        match right.health(&handle).await {
            Ok(_) => Ok(()),
            Err(_) => right.restart_component(&handle).await,
        }
    })
}

/// Counts the call that failed twice.
fn counts_failures_twice(wrong: Wrong) -> Wrong {
    wrong.reporting(|(), _, usage| usage.calls += u64::from(usage.traps > 0))
}

/// Takes an empty answer for none.
fn forgets_empty_answers(wrong: Wrong) -> Wrong {
    wrong.answering(|_, _, reply| Ok(reply?.filter(|payload| !payload.is_empty())))
}

/// Says nothing of a `shutdown` that failed.
fn hides_shutdowns(wrong: Wrong) -> Wrong {
    wrong.on_unload(|right, handle| async move {
        let _ = right.unload_component(&handle).await;
        Ok(())
    })
}

#[test]
fn what_differs_is_found_and_made_short() {
    let found = [
        (counterexample(keeps_state), 3),
        (counterexample(counts_failures_twice), 2),
        (counterexample(forgets_empty_answers), 2),
        (counterexample(hides_shutdowns), 2),
    ];
    for (counterexample, most) in found {
        let operations = counterexample.sequence.operations().len();
        assert!(operations <= most, "{counterexample}");
    }
}

/// Takes callbacks ahead of the messages that wait.
fn calls_back_first(wrong: Wrong) -> Wrong<Kept<Arc<FairMutex<()>>>> {
    let queues = Kept::<Arc<FairMutex<()>>>::default();
    wrong
        .keeping(queues)
        .on_message(|right, handle, message| async move {
            let queue = right.kept.get(&handle);
            let _turn = queue.lock().await;
            right.call_handle_message(&handle, message).await
        })
}

/// Makes a message that waited when it was dropped.
fn withdraws_nothing(wrong: Wrong) -> Wrong {
    wrong.on_message(|right, handle, message| async move {
        let mut call = Box::pin(async move { right.call_handle_message(&handle, message).await });
        match poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await {
            Poll::Ready(reply) => reply,
            Poll::Pending => tokio::spawn(call).await.unwrap(),
        }
    })
}

/// Starts a component over whose running message is dropped.
fn starts_over(wrong: Wrong) -> Wrong {
    wrong.on_message(|right, handle, message| async move {
        let (again, of, runtime) = (right.clone(), handle.clone(), Handle::current());
        let mut dropped = OnDrop(Some(move || {
            runtime.spawn(async move { again.restart_component(&of).await });
        }));
        let reply = right.call_handle_message(&handle, message).await;
        dropped.0 = None;
        reply
    })
}

/// Lets a message take whole seconds.
fn rounds_deadlines_up(wrong: Wrong) -> Wrong {
    wrong
        .configuring(|config, _| {
            let limits = config.limits;
            let seconds = limits.timeout().as_millis().div_ceil(1_000) as u64;
            let (memory, seconds) = (limits.memory_bytes(), Duration::from_secs(seconds));
            config.limits = ResourceLimits::new(memory, seconds, limits.fuel()).unwrap();
        })
        .answering(|right, handle, mut reply| {
            if let Err(WasmError::Timeout { limit, .. }) = &mut reply {
                *limit = right.timeout(handle);
            }
            reply
        })
}

/// Keeps an instance of which a host function has panicked.
fn keeps_what_panicked(wrong: Wrong) -> Wrong {
    wrong.on_message(|right, handle, message| async move {
        let reply = right.call_handle_message(&handle, message).await;
        let panicked = |error: &WasmError| match error {
            WasmError::Trapped { trap, .. } => matches!(trap, Trap::HostPanic(_)),
            _ => false,
        };
        if reply.as_ref().is_err_and(panicked) {
            right.restart_component(&handle).await?;
        }
        reply
    })
}

/// Loads what was prepared under an id, whatever it is given.
fn loads_what_was_prepared(wrong: Wrong) -> Wrong<Mutex<HashMap<ComponentId, Bytes>>> {
    let prepared = Mutex::<HashMap<ComponentId, Bytes>>::default();
    wrong
        .keeping(prepared)
        .on_prepare(|right, id, bytes, config| async move {
            let prepared = right.prepare_component(&id, bytes.clone(), &config).await?;
            right.kept.lock().unwrap().insert(id, bytes);
            Ok(prepared)
        })
        .on_load(|right, id, bytes, config| async move {
            let prepared = right.kept.lock().unwrap().get(&id).cloned();
            right
                .load_component(&id, prepared.unwrap_or(bytes), config)
                .await
        })
}

/// A router of whose errors one is as good as another.
struct Flattens(Arc<dyn MessageRouter>);

fn flat<T>(_: MessagingError) -> Result<T, MessagingError> {
    Err(MessagingError::DeliveryFailed("for some reason".to_owned()))
}

#[async_trait]
impl MessageRouter for Flattens {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.0.send(from, message).await.or_else(flat)
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.0.request(from, message, timeout).await.or_else(flat)
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.0.cancel_request(from, request).await.or_else(flat)
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        self.0.broadcast(from, messages).await.or_else(flat)
    }
}

fn flattens_refusals(wrong: Wrong) -> Wrong {
    wrong.serving(|services| {
        let router = Arc::new(Flattens(services.router.clone()));
        services.with_router(router)
    })
}

/// Whether a wrong engine falls in paused time at a seed, beside others.
fn falls<S: Send + Sync + 'static>(seed: u64, wrong: fn(Wrong) -> Wrong<S>) -> JoinHandle<bool> {
    let plan = Plan {
        cases: 1,
        seed,
        time: Time::Paused,
        ..Plan::default()
    };
    thread::spawn(move || plan.run(&Broken(wrong)).is_err())
}

#[test]
fn each_wrong_engine_falls_at_its_seed() {
    let validates_nothing =
        |wrong: Wrong| wrong.serving(|services| services.with_validator(Arc::new(PermissionsOnly)));
    let shows_nobody = |wrong: Wrong| {
        wrong.serving(|services| services.with_directory(Arc::new(NoOtherComponents)))
    };
    let knows_no_time =
        |wrong: Wrong| wrong.serving(|services| services.with_clock(Arc::new(ManualClock::new())));
    let loses_callbacks = |wrong: Wrong| wrong.on_callback(|_, _, _| async { Ok(()) });
    let found = [
        ("counts failures twice", falls(0, counts_failures_twice)),
        ("keeps state", falls(0, keeps_state)),
        ("forgets empty answers", falls(0, forgets_empty_answers)),
        ("hides shutdowns", falls(38, hides_shutdowns)),
        ("loses callbacks", falls(0, loses_callbacks)),
        ("calls back first", falls(60, calls_back_first)),
        ("withdraws nothing", falls(5, withdraws_nothing)),
        ("starts over", falls(1, starts_over)),
        ("rounds deadlines up", falls(6, rounds_deadlines_up)),
        ("keeps what panicked", falls(2, keeps_what_panicked)),
        ("loads what was prepared", falls(0, loads_what_was_prepared)),
        ("flattens refusals", falls(7, flattens_refusals)),
        ("validates nothing", falls(33, validates_nothing)),
        ("shows nobody", falls(6, shows_nobody)),
        ("knows no time", falls(7, knows_no_time)),
    ];
    for (name, falls) in found {
        assert!(falls.join().unwrap(), "{name}");
    }
}

/// Calls other services than it was given.
struct Misled(fn(HostServices) -> HostServices);

impl Harness for Misled {
    type Engine = ModelEngine;

    fn engine(&self, services: HostServices, _: Settings) -> Arc<ModelEngine> {
        Arc::new(ModelEngine::new((self.0)(services)))
    }

    fn features(&self) -> &[Feature] {
        &[Feature::Fuel]
    }
}

#[test]
fn what_components_ask_of_their_host_is_compared() {
    let misled: [fn(HostServices) -> HostServices; 2] = [
        |services| services.with_router(Arc::new(RecordingRouter::new())),
        |services| services.with_clock(Arc::new(ManualClock::new())),
    ];
    for others in misled {
        let counterexample = Plan::default().run(&Misled(others)).unwrap_err();
        let operations = counterexample.sequence.operations().len();
        assert!(operations <= 3, "{counterexample}");
    }
}
