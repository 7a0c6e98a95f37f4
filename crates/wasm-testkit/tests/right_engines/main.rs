//! Engines that do as they like wherever the contract lets them: suite and properties
//! must let every one of them pass, on a clock that is paused and on a real one.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod actors;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use wasm_core::{HostServices, RuntimeEngine};
use wasm_testkit::conformance::{Feature, Harness, Lab, Settings, cases};
use wasm_testkit::properties::Plan;
use wasm_testkit::{Conditions, ModelEngine, Time};

use actors::{Actors, Habits, Pause, scattered};

/// An engine of a make that is right.
#[derive(Clone, Copy)]
struct Right {
    make: fn(HostServices, Settings) -> Arc<dyn RuntimeEngine>,
    features: &'static [Feature],
}

impl Harness for Right {
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
        (self.make)(services, settings)
    }

    fn features(&self) -> &[Feature] {
        self.features
    }
}

/// Cases that are run at a time.
const WAITING: usize = 24;

/// In paused time the cases only compute; in real time they mostly wait.
fn keeps_the_contract(right: Right, time: Time) {
    let conditions = Conditions {
        time,
        ..Conditions::default()
    };
    let cases: Vec<_> = cases::<dyn RuntimeEngine>()
        .into_iter()
        .filter(|case| {
            case.needs()
                .is_none_or(|need| right.features.contains(&need))
        })
        .collect();
    let (next, broken) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let harness = Arc::new(right);
    thread::scope(|scope| {
        for _ in 0..WAITING {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let harness = Arc::clone(&harness);
                    if let Err(found) = case.run(conditions, move || Lab::new(harness)) {
                        broken.lock().unwrap().insert(case.name(), found.finding);
                    }
                }
            });
        }
    });
    let broken = broken.into_inner().unwrap();
    assert!(broken.is_empty(), "{broken:#?}");
}

fn is_like_the_model(right: Right, time: Time, cases: u32) {
    let plan = Plan {
        cases,
        time,
        ..Plan::from_env()
    };
    plan.check(&right);
}

macro_rules! right_engines {
    ($($(#[$doc:meta])* $name:ident = $right:expr;)*) => {$(
        $(#[$doc])*
        mod $name {
            use super::*;

            const RIGHT: Right = $right;

            #[test]
            fn keeps_the_contract_in_paused_time() {
                keeps_the_contract(RIGHT, Time::Paused);
            }

            #[test]
            #[ignore = "waits for seconds: .ci/run"]
            fn keeps_the_contract_in_real_time() {
                keeps_the_contract(RIGHT, Time::Real);
            }

            #[test]
            fn is_like_the_model_in_paused_time() {
                is_like_the_model(RIGHT, Time::Paused, 40);
            }

            #[test]
            fn is_like_the_model_in_real_time() {
                is_like_the_model(RIGHT, Time::Real, 3);
            }
        }
    )*};
}

/// All but those of an actor, which does one thing at a time.
const OF_ACTORS: &[Feature] = &[
    Feature::Fuel,
    Feature::MemoryCeiling,
    Feature::MessageBudget,
    Feature::HostPanics,
    Feature::Wasi,
    Feature::Parallel,
];

/// An engine of actors.
const fn acting(make: fn(HostServices, Settings) -> Arc<dyn RuntimeEngine>) -> Right {
    Right {
        make,
        features: OF_ACTORS,
    }
}

const fn right(make: fn(HostServices, Settings) -> Arc<dyn RuntimeEngine>) -> Right {
    Right {
        make,
        features: &Feature::ALL,
    }
}

fn actors(services: HostServices, settings: Settings, habits: Habits) -> Arc<dyn RuntimeEngine> {
    Arc::new(Actors::new(habits, services, settings))
}

right_engines! {
    /// One task and one queue for each component.
    one_actor_for_each_component = acting(|services, settings| {
        actors(services, settings, Habits::default())
    });

    /// Whatever is asked of it begins and is told some time later.
    delays_everything_at_random = acting(|services, settings| {
        let (before, after) = (Pause::UpTo(5), Pause::UpTo(5));
        actors(services, settings, Habits { before, after, ..Habits::default() })
    });

    /// Nothing is done at the first poll.
    yields_at_every_await = acting(|services, settings| {
        let (before, after) = (Pause::Yields(3), Pause::Yields(3));
        actors(services, settings, Habits { before, after, ..Habits::default() })
    });

    /// A call has long ended when its caller is told.
    answers_late = acting(|services, settings| {
        let after = Pause::Millis(30);
        actors(services, settings, Habits { after, ..Habits::default() })
    });

    /// It has nothing to do ahead of time, and all the more when it loads.
    compiles_when_it_loads = acting(|services, settings| {
        let (before, prepares) = (Pause::Millis(20), false);
        actors(services, settings, Habits { before, prepares, ..Habits::default() })
    });

    /// It frees a component in the background.
    drops_slowly = acting(|services, settings| {
        let frees_within = Duration::from_millis(50);
        actors(services, settings, Habits { frees_within, ..Habits::default() })
    });

    numbers_at_random = right(|services, settings| {
        let engine = ModelEngine::new(services).with_numbers(scattered);
        Arc::new(engine.with_memory_ceiling_bytes(settings.memory_ceiling_bytes))
    });

    numbers_from_the_largest_down = right(|services, settings| {
        let engine = ModelEngine::new(services).with_numbers(|count| u64::MAX - (count - 1));
        Arc::new(engine.with_memory_ceiling_bytes(settings.memory_ceiling_bytes))
    });

    checks_limits_after_bytes = acting(|services, settings| {
        let habits = Habits { bytes_first: true, ..Habits::default() };
        actors(services, settings, habits)
    });

    /// Declared as such: nobody runs beside a guest that computes.
    has_one_thread = Right {
        make: |services, settings| {
            let habits = Habits { one_thread: true, ..Habits::default() };
            actors(services, settings, habits)
        },
        features: &[
            Feature::Fuel,
            Feature::MemoryCeiling,
            Feature::MessageBudget,
            Feature::HostPanics,
            Feature::Wasi,
        ],
    };
}
