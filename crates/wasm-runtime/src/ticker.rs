//! The clock by which running guests are looked at.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::{Engine, EngineWeak};

use wasm_core::WasmError;

/// How often a running guest is looked at: the precision of a timeout, and how
/// long a guest keeps its thread from other tasks.
const TICK: Duration = Duration::from_millis(1);

/// After so many ticks in which no guest has run the clock rests.
const QUIET_TICKS: u32 = 100;

/// How often it ticks while it rests. A guest that runs wakes it; this is for one that goes on
/// after a host function has kept its thread for longer than the quiet ticks.
const REST: Duration = Duration::from_millis(50);

/// One for all engines of the process, so that who runs a guest need not know which it is.
static CLOCK: Clock = Clock::new();

struct Clock {
    /// A guest has run since the last tick.
    wanted: AtomicBool,
    rests: AtomicBool,
    state: Mutex<State>,
}

struct State {
    /// There is one as long as there are engines.
    thread: Option<Thread>,
    engines: Vec<EngineWeak>,
}

/// Advances the epoch until the engine and all its stores are gone.
///
/// A thread of its own, because a task could be starved by the very guest that it
/// should stop.
pub(crate) fn start_ticker(engine: &Engine) -> Result<(), WasmError> {
    CLOCK
        .start(engine.weak())
        .map_err(|error| WasmError::EngineInitialization {
            reason: format!("the thread that stops guests could not be started: {error}"),
            source: Some(Arc::new(error)),
        })
}

/// A guest runs from now on. It costs two looks at memory that hardly ever changes.
pub(crate) fn guest_runs() {
    CLOCK.want();
}

impl Clock {
    const fn new() -> Self {
        Self {
            wanted: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            state: Mutex::new(State {
                thread: None,
                engines: Vec::new(),
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&'static self, engine: EngineWeak) -> io::Result<()> {
        let mut state = self.state();
        if state.thread.is_none() {
            let ticker = thread::Builder::new().name("wasm-epoch".to_owned());
            let ticking = ticker.spawn(|| self.run())?;
            state.thread = Some(ticking.thread().clone());
        }
        state.engines.push(engine);
        Ok(())
    }

    /// Who wants it to tick says so before looking whether it rests, and it rests before
    /// looking whether somebody does: one of the two sees the other.
    fn want(&self) {
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::SeqCst);
        }
        if self.rests.load(Ordering::SeqCst)
            && self.rests.swap(false, Ordering::SeqCst)
            && let Some(thread) = &self.state().thread
        {
            thread.unpark();
        }
    }

    fn run(&self) {
        let mut quiet_ticks = 0_u32;
        while self.tick() {
            quiet_ticks = match self.wanted.swap(false, Ordering::SeqCst) {
                true => 0,
                false => quiet_ticks.saturating_add(1),
            };
            if quiet_ticks < QUIET_TICKS {
                thread::sleep(TICK);
                continue;
            }
            self.rests.store(true, Ordering::SeqCst);
            if !self.wanted.load(Ordering::SeqCst) {
                thread::park_timeout(REST);
            }
            self.rests.store(false, Ordering::SeqCst);
        }
    }

    /// Whether there is an engine left.
    fn tick(&self) -> bool {
        let mut state = self.state();
        state.engines.retain(|engine| {
            let engine = engine.upgrade();
            engine.is_some_and(|engine| {
                engine.increment_epoch();
                true
            })
        });
        if state.engines.is_empty() {
            state.thread = None;
        }
        state.thread.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    static TESTED: Clock = Clock::new();

    fn within_a_minute(is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < Duration::from_secs(60));
            thread::sleep(TICK);
        }
    }

    #[test]
    fn it_rests_while_no_guest_runs_and_ends_with_the_last_engine() {
        let rests = || TESTED.rests.load(Ordering::SeqCst);
        for _ in 0..2 {
            let engine = Engine::default();
            TESTED.start(engine.weak()).unwrap();
            within_a_minute(rests);
            TESTED.want();
            assert!(!rests());
            within_a_minute(rests);
            drop(engine);
            within_a_minute(|| TESTED.state().thread.is_none());
        }
    }
}
