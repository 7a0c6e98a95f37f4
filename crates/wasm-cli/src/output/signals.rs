//! Ctrl-C, SIGTERM and SIGHUP. A thread of its own hears them, whatever the others wait for.
//! SIGXFSZ, which is taken so that it ends nothing.

use std::future::pending;
use std::io;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::process;
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::sleep;

/// As shells report a program that was ended by SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// A program that does not notice a signal in this time is busy with something that
/// cannot be interrupted, such as a folder on a network that is gone.
const NOTICED: Duration = Duration::from_secs(1);
/// For what is printed already, when a second signal ends the program at once.
const AT_ONCE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    has_come: bool,
    is_taken: bool,
    /// How many wait for a signal, one within the other.
    depth: usize,
}

fn state() -> &'static watch::Sender<State> {
    static STATE: OnceLock<watch::Sender<State>> = OnceLock::new();
    STATE.get_or_init(watch::Sender::default)
}

/// Of the thread that hears signals.
static HEARING: OnceLock<Handle> = OnceLock::new();

/// From now on, the first signal is what an [`Interruption`] waits for, and the second ends
/// the program; and a file that would be larger than the program may write one, as
/// `ulimit -f` says, is an error of that write.
///
/// `finish` is called before the program ends at once, with the time that there is for what
/// is printed already.
pub(crate) fn listen(finish: fn(Duration)) {
    let thread = thread::Builder::new().name("signals".to_owned());
    let (ready, is_ready) = mpsc::channel();
    // Without this thread, the system ends the program.
    let _ = thread.spawn(move || {
        if find_descriptors().is_err() {
            return;
        }
        if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
            let _ = HEARING.set(runtime.handle().clone());
            runtime.block_on(obey(ready, finish));
        }
    });
    // Nothing is written before, whatever became of the thread.
    let _ = is_ready.recv();
}

async fn obey(ready: mpsc::Sender<()>, finish: fn(Duration)) {
    survive_large_files();
    let listener = Listener::new();
    drop(ready);
    let Some(mut listener) = listener else {
        return;
    };
    listener.next().await;
    state().send_modify(|state| state.has_come = true);
    let unnoticed = async {
        sleep(NOTICED).await;
        if state().borrow().is_taken {
            pending::<()>().await;
        }
    };
    tokio::select! {
        () = listener.next() => {}
        () = unnoticed => {}
    }
    finish(AT_ONCE);
    process::exit(i32::from(INTERRUPTED));
}

/// Waits for the first signal. It is for the innermost of those who wait for it: what
/// is around that waits for what it makes of it.
#[derive(Debug)]
pub(crate) struct Interruption {
    depth: usize,
}

impl Interruption {
    /// Within those that are there already.
    pub(crate) fn new() -> Self {
        let mut depth = 0;
        state().send_modify(|state| {
            state.depth += 1;
            depth = state.depth;
        });
        Self { depth }
    }

    pub(crate) async fn comes(&self) {
        let mut changes = state().subscribe();
        let is_for_this =
            |state: &State| state.has_come && !state.is_taken && state.depth == self.depth;
        // The sender is never dropped.
        let _ = changes.wait_for(is_for_this).await;
        state().send_modify(|state| state.is_taken = true);
    }
}

impl Drop for Interruption {
    fn drop(&mut self) {
        state().send_modify(|state| state.depth -= 1);
    }
}

/// Whether a signal came; if so, the program is about to end.
pub(crate) fn take() -> bool {
    let has_come = state().borrow().has_come;
    if has_come {
        state().send_modify(|state| state.is_taken = true);
    }
    has_come
}

/// Whether a runtime of tokio can open what it hears signals with: it panics where it cannot.
#[cfg(unix)]
pub(crate) fn find_descriptors() -> io::Result<()> {
    let as_many: io::Result<Vec<_>> = (0..4).map(|_| UnixStream::pair()).collect();
    as_many.map(drop)
}

#[cfg(not(unix))]
pub(crate) fn find_descriptors() -> io::Result<()> {
    Ok(())
}

/// Takes the signal that would end the program, or else its components could: by writing
/// more into a file than the program may. It is not ignored, which those who compile would
/// inherit.
#[cfg(unix)]
fn survive_large_files() {
    /// The number that Linux, macOS and the BSDs give it.
    const SIGXFSZ: i32 = 25;
    // The handler stays when this is dropped.
    let _ = signal(SignalKind::from_raw(SIGXFSZ));
}

#[cfg(not(unix))]
fn survive_large_files() {}

#[cfg(unix)]
struct Listener {
    interrupt: Signal,
    /// What a service manager or a container runtime ends a program with.
    terminate: Signal,
}

#[cfg(unix)]
impl Listener {
    fn new() -> Option<Self> {
        Some(Self {
            interrupt: signal(SignalKind::interrupt()).ok()?,
            terminate: signal(SignalKind::terminate()).ok()?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Listener;

#[cfg(not(unix))]
impl Listener {
    fn new() -> Option<Self> {
        Some(Self)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    }
}

/// SIGHUP, which ends nothing from when this is made.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Hangups(Option<Signal>);

#[cfg(unix)]
impl Hangups {
    pub(crate) fn new() -> Self {
        let _hearing = HEARING.get().map(Handle::enter);
        // There is no runtime at all where no thread could be started.
        let can_hear = Handle::try_current().is_ok();
        Self(
            can_hear
                .then(|| signal(SignalKind::hangup()).ok())
                .flatten(),
        )
    }

    /// Those that came since the one before are one.
    pub(crate) async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        pending::<()>().await;
    }
}

#[cfg(not(unix))]
#[derive(Debug)]
pub(crate) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) async fn next(&mut self) {
        pending::<()>().await;
    }
}
