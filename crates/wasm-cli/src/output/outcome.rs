use std::env;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tokio::time::timeout;

use wasm_core::ComponentHandle;
use wasm_runtime::WasmtimeEngine;

use crate::output::report::{Problems, Report};
use crate::output::signals::{INTERRUPTED, Interruption, find_descriptors};

/// A message or call did not end well.
pub(crate) const FAILED: u8 = 1;
/// What was given cannot be used.
pub(crate) const BAD_INPUT: u8 = 2;

/// Why a command ended before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Bad input, as the reports say.
    BadInput(Problems),
    /// A call failed, as the report says.
    Failed(Report),
    /// Nobody reads standard output any more: there is nobody to tell, and nothing
    /// is wrong.
    OutputClosed,
    /// The user pressed Ctrl-C, or SIGTERM came.
    Interrupted,
}

impl Stop {
    pub(crate) fn into_exit_code(self) -> ExitCode {
        match self {
            Self::BadInput(problems) => {
                problems.print_last();
                ExitCode::from(BAD_INPUT)
            }
            Self::Failed(report) => {
                report.print_last();
                ExitCode::from(FAILED)
            }
            Self::OutputClosed => ExitCode::SUCCESS,
            Self::Interrupted => ExitCode::from(INTERRUPTED),
        }
    }
}

impl From<Report> for Stop {
    fn from(report: Report) -> Self {
        Self::BadInput(report.into())
    }
}

impl From<Problems> for Stop {
    fn from(problems: Problems) -> Self {
        Self::BadInput(problems)
    }
}

/// Only writing to standard output ends a command with a bare I/O error; what is
/// read has a name to report.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Failed(Report::error(format!(
                "standard output cannot be written: {error}"
            ))),
        }
    }
}

/// Runs a command that uses the engine.
pub(crate) fn block_on<F>(command: F) -> Result<ExitCode, Stop>
where
    F: Future<Output = Result<ExitCode, Stop>>,
{
    let threads = threads()?;
    let cannot = |error| Report::error(format!("no threads to work with: {error}"));
    try_to_start(threads + OTHERS).map_err(|error| {
        cannot(error).with_help(format!(
            "it takes {threads} and {OTHERS} more at the least: as many as `ulimit -u`, \
             `ulimit -v` and the container let it start, or fewer, as {THREADS} says"
        ))
    })?;
    find_descriptors().map_err(cannot)?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
        .map_err(cannot)?;
    let outcome = runtime.block_on(async {
        let _ends = heed_ends_of_children();
        // Whatever a command waits for besides what it wraps itself.
        unless_interrupted(command).await
    });
    // Work that blocks a thread cannot be woken up.
    runtime.shutdown_background();
    outcome
}

/// Whoever starts this may have it ignore the ends of processes that it starts: then nobody could
/// wait for a compiler or a tool.
#[cfg(unix)]
fn heed_ends_of_children() -> io::Result<impl Sized> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::child())
}

#[cfg(not(unix))]
fn heed_ends_of_children() {}

/// Threads besides, without which nothing can be done: for files, for standard output and error,
/// and for what stops guests.
const OTHERS: usize = 4;

/// Whether there can be so many threads. tokio waits for ever, and says nothing, if it can start
/// only some of its own.
fn try_to_start(threads: usize) -> io::Result<()> {
    // Until all are there, none of them ends.
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let started = (0..threads).map(|_| {
        let gate = Arc::clone(&gate);
        thread::Builder::new().spawn(move || drop(gate.lock()))
    });
    let started: io::Result<Vec<_>> = started.collect();
    drop(closed);
    for thread in started? {
        // It does nothing that could fail.
        let _ = thread.join();
    }
    Ok(())
}

/// Says how many threads run components, other than there are processors.
const THREADS: &str = "TOKIO_WORKER_THREADS";

/// One for each processor that the process may use. Unless it is said otherwise, two at the
/// least, so that one that is held up does not hold up everything.
pub(crate) fn threads() -> Result<usize, Report> {
    let Some(said) = env::var_os(THREADS) else {
        return Ok(thread::available_parallelism().map_or(2, |count| count.get().max(2)));
    };
    let count = said.to_str().and_then(|said| said.parse().ok());
    count
        .filter(|count| (1..=MAX_THREADS).contains(count))
        .ok_or_else(|| {
            Report::error(format!(
                "{THREADS} is {said:?}, and should be a number of threads from 1 to {MAX_THREADS}"
            ))
        })
}

/// More than the processors of any machine.
const MAX_THREADS: usize = 1024;

/// Stops on Ctrl-C and on SIGTERM. Of several, one within the other, the innermost does.
pub(crate) async fn unless_interrupted<T>(
    work: impl Future<Output = Result<T, Stop>>,
) -> Result<T, Stop> {
    let interruption = Interruption::new();
    tokio::select! {
        biased;
        result = work => result,
        () = interruption.comes() => Err(Stop::Interrupted),
    }
}

/// Unloads the component; a `shutdown` that goes wrong is worth a warning, no more.
pub(crate) async fn end<T>(
    engine: &WasmtimeEngine,
    handle: &ComponentHandle,
    outcome: &Result<T, Stop>,
) {
    // After Ctrl-C a call may still be running, and may have a long time to do so.
    const PATIENCE: Duration = Duration::from_secs(1);

    let unload = engine.unload_component(handle);
    if let Err(Stop::Interrupted) = outcome {
        let _ = timeout(PATIENCE, unload).await;
        return;
    }
    let unload = unless_interrupted(async { Ok(unload.await) });
    if let Ok(Err(error)) = unload.await {
        Report::warning(error.to_string()).tell().await;
    }
}
