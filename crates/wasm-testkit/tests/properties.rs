//! Sequences of operations against the model: itself, and engines that are not quite
//! like it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "broken_engines/wrapper.rs"]
mod wrapper;

use std::sync::Arc;

use async_trait::async_trait;

use wasm_core::{
    ComponentHandle, ComponentMessage, ComponentUsage, HostServices, RuntimeEngine, Timestamp,
    WasmError,
};
use wasm_testkit::conformance::{Feature, Harness, Settings};
use wasm_testkit::properties::{Call, Counterexample, Plan, Sequence, config, everything, message};
use wasm_testkit::{ModelEngine, wasm_fixtures};

use wrapper::{Defect, Inner, Reply, With};

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
        &[Feature::Fuel]
    }
}

fn counterexample<D: Defect + Copy>(defect: D) -> Box<Counterexample> {
    let broken = Subject(move |inner| Arc::new(With { inner, defect }) as _);
    let found = Plan::default().run(&broken).unwrap_err();
    // What is printed is what was found.
    let again = found.sequence.compare(&broken).unwrap_err();
    assert_eq!(found.difference, again.to_string());
    found
}

#[test]
fn the_model_is_like_itself() {
    let plan = Plan {
        cases: 200,
        ..Plan::from_env()
    };
    plan.check(&Subject(|model| model));
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
    Plan::from_env().check(&Unmetered);
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
        .restart(0)
        .health(0)
        .metadata(0)
        .unload(0)
        .usage(0);
    sequence.check(&Unmetered);
    let printed = r#"#[test]
fn behaves_like_the_model() {
    use wasm_testkit::properties::{Call, Sequence, config, everything, message};
    use wasm_testkit::wasm_fixtures;

    Sequence::new()
        .load(0, wasm_fixtures::STORED_COUNTER, "demo/b/main", config(1048576, Some(7)).with_env("A", "b").with_config_data(vec![255]).with_permissions(everything(9)))
        .message(0, message("demo/b/main", "é\n"))
        .callback(1, message("demo/b/main", vec![7; 65]).with_message_type("text/plain").with_correlation_id("c-\"1\"").with_reply_to("demo/a/main".parse().unwrap()).with_timestamp(wasm_core::Timestamp { seconds: 1, nanoseconds: 2 }))
        .drop_message(2, message("demo/b/main", ""))
        .batch([Call::Restart(0), Call::Health(2)])
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
    let found = || counterexample(KeepsState);
    assert_eq!(found(), found());
}

/// Does not restart what works.
#[derive(Clone, Copy)]
struct KeepsState;

#[async_trait]
impl Defect for KeepsState {
    async fn restart(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        match inner.health(handle).await {
            Ok(_) => Ok(()),
            Err(_) => inner.restart_component(handle).await,
        }
    }
}

/// Counts the call that failed twice.
#[derive(Clone, Copy)]
struct CountsFailuresTwice;

#[async_trait]
impl Defect for CountsFailuresTwice {
    async fn usage(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
    ) -> Result<ComponentUsage, WasmError> {
        let mut usage = inner.usage(handle).await?;
        usage.calls += u64::from(usage.traps > 0);
        Ok(usage)
    }
}

/// Takes an empty answer for none.
#[derive(Clone, Copy)]
struct ForgetsEmptyAnswers;

#[async_trait]
impl Defect for ForgetsEmptyAnswers {
    async fn message(
        &self,
        inner: &Inner,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Reply {
        let answer = inner.call_handle_message(handle, message).await?;
        Ok(answer.filter(|payload| !payload.is_empty()))
    }
}

/// Says nothing of a `shutdown` that failed.
#[derive(Clone, Copy)]
struct HidesShutdowns;

#[async_trait]
impl Defect for HidesShutdowns {
    async fn unload(&self, inner: &Inner, handle: &ComponentHandle) -> Result<(), WasmError> {
        let _ = inner.unload_component(handle).await;
        Ok(())
    }
}

#[test]
fn what_differs_is_found_and_made_short() {
    let found = [
        (counterexample(KeepsState), 3),
        (counterexample(CountsFailuresTwice), 2),
        (counterexample(ForgetsEmptyAnswers), 2),
        (counterexample(HidesShutdowns), 2),
    ];
    for (counterexample, most) in found {
        let operations = counterexample.sequence.operations().len();
        assert!(operations <= most, "{counterexample}");
    }
}
