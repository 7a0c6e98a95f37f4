//! Conservation, as a property over random applications: every message that a host
//! accepts is handled once or is a dead letter, and every request has one outcome.
//!
//! A seed says what an application is made of and what happens to it; a ledger around
//! the host's engine and router writes down what can be seen from outside, and a judge
//! reads it when all is over.

mod application;
mod judge;
mod ledger;
mod plan;
mod random;
pub(crate) mod timers;
mod watched;

use std::collections::BTreeMap;
use std::env;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use wasm_core::{ComponentStorage, ComponentTimers, HostServices, MessageRouter, RuntimeEngine};

use self::plan::Plan;

/// What applications run on.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) engine: fn(HostServices) -> Arc<dyn RuntimeEngine>,
    pub(crate) time: Time,
    /// Between the ledger and the host.
    pub(crate) router: fn(Arc<dyn MessageRouter>) -> Arc<dyn MessageRouter>,
    /// The same.
    pub(crate) around: fn(Arc<dyn RuntimeEngine>) -> Arc<dyn RuntimeEngine>,
    /// Between the ledger and the host's timers.
    pub(crate) timers: fn(Arc<dyn ComponentTimers>) -> Arc<dyn ComponentTimers>,
    /// Between the host and its store.
    pub(crate) storage: fn(Arc<dyn ComponentStorage>) -> Arc<dyn ComponentStorage>,
    pub(crate) redelivery: Redelivery,
    /// Whether the engine knows the component that sets timers.
    pub(crate) has_alarm: bool,
}

/// How dead letters are delivered again.
#[allow(
    dead_code,
    reason = "only some of those who include this file break it"
)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Redelivery {
    ByTheHost,
    /// The letter is delivered, and dead all the same.
    Keeps,
    /// The letter is neither.
    Loses,
}

/// How time goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Time {
    /// As fast as nothing happens, on one thread.
    Paused,
    /// As it does, with shorter times, on so many threads.
    Real(usize),
}

impl Setting {
    /// On engines that `engine` makes.
    pub(crate) fn new(engine: fn(HostServices) -> Arc<dyn RuntimeEngine>, time: Time) -> Self {
        Self {
            engine,
            time,
            router: |own| own,
            around: |engine| engine,
            timers: |own| own,
            storage: |own| own,
            redelivery: Redelivery::ByTheHost,
            has_alarm: false,
        }
    }

    /// How long a millisecond of a plan is.
    fn scale(&self) -> Duration {
        match self.time {
            Time::Paused => Duration::from_millis(1),
            Time::Real(_) => Duration::from_micros(100),
        }
    }

    fn time(&self, millis: u64) -> Duration {
        Duration::from_nanos(self.scale().as_nanos() as u64 * millis)
    }

    /// Whoever takes longer hangs.
    fn patience(&self) -> Duration {
        match self.time {
            Time::Paused => Duration::from_secs(3_600),
            Time::Real(_) => Duration::from_secs(60),
        }
    }

    fn longest_stop(&self) -> Duration {
        match self.time {
            Time::Paused => Duration::from_secs(30),
            Time::Real(_) => Duration::from_secs(20),
        }
    }

    fn slack(&self) -> Duration {
        match self.time {
            // Timers round up to milliseconds.
            Time::Paused => Duration::from_millis(2),
            Time::Real(_) => Duration::from_secs(5),
        }
    }

    fn is_one_thread(&self) -> bool {
        matches!(self.time, Time::Paused | Time::Real(1))
    }

    fn runtime(&self) -> Runtime {
        let mut builder = match self.time {
            Time::Paused | Time::Real(1) => Builder::new_current_thread(),
            Time::Real(threads) => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(threads);
                builder
            }
        };
        builder
            .enable_all()
            .start_paused(self.time == Time::Paused)
            .build()
            .unwrap()
    }
}

/// How often things happened, to see that applications are not all asleep.
pub(crate) type Tally = BTreeMap<String, u64>;

/// What is wrong with an application.
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) wrong: Vec<String>,
}

/// Runs the application of a seed.
pub(crate) fn run(seed: u64, setting: &Setting) -> Result<Tally, Broken> {
    let broken = |wrong| Broken { seed, wrong };
    let attempt = catch_unwind(AssertUnwindSafe(|| {
        let plan = Plan::new(seed);
        let runtime = setting.runtime();
        let verdict = runtime.block_on(application::run(&plan, setting));
        runtime.shutdown_background();
        verdict
    }));
    let verdict = attempt.map_err(|_| broken(vec!["panicked, see above".to_owned()]))?;
    match verdict.wrong.is_empty() {
        true => Ok(verdict.tally),
        false => Err(broken(verdict.wrong)),
    }
}

impl Broken {
    /// For whoever wants to know why, and to see it again.
    fn report(&self, test: &str) -> String {
        let mut report = format!(
            "the application of seed {} breaks the property:\n",
            self.seed
        );
        for wrong in &self.wrong {
            let _ = writeln!(report, "- {wrong}");
        }
        let _ = write!(
            report,
            "\n{}\nto repeat: WASM_HOST_SEED={} WASM_HOST_SEEDS=1 cargo test --workspace --test \
             conservation {test}",
            Plan::new(self.seed),
            self.seed
        );
        report
    }
}

/// Threads that run applications, which wait more than they compute where time is real.
const WORKERS: u64 = 6;

/// An application that is not over by then never is.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Runs so many applications, or those that `WASM_HOST_SEED` and `WASM_HOST_SEEDS` say.
///
/// # Panics
/// Over the first that breaks the property.
pub(crate) fn holds(test: &'static str, setting: Setting, applications: u64) -> Tally {
    let first = number("WASM_HOST_SEED").unwrap_or(0);
    let last = first + number("WASM_HOST_SEEDS").unwrap_or(applications);
    let next = Arc::new(AtomicU64::new(first));
    let (sender, outcomes) = mpsc::channel();
    for _ in 0..WORKERS {
        let (next, sender) = (Arc::clone(&next), sender.clone());
        thread::spawn(move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= last || sender.send(run(seed, &setting)).is_err() {
                    return;
                }
            }
        });
    }
    drop(sender);
    let mut tally = Tally::new();
    let mut done = 0;
    loop {
        match outcomes.recv_timeout(WATCHDOG) {
            Ok(Ok(counts)) => {
                done += 1;
                for (what, count) in counts {
                    *tally.entry(what).or_default() += count;
                }
            }
            Ok(Err(broken)) => panic!("{}", broken.report(test)),
            Err(RecvTimeoutError::Timeout) => {
                let seed = next.load(Ordering::Relaxed);
                panic!("an application does not end, of a seed shortly before {seed}");
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    assert_eq!(done, last - first, "applications that came to an end");
    tally.insert("applications".to_owned(), done);
    println!("from seed {first}:");
    for (what, count) in &tally {
        println!("{count:10} {what}");
    }
    tally
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{variable} is not a number: {text}")))
}
