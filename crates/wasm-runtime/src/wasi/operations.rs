//! Where operations on files block: threads of their own, which storage, standard
//! input and compiling do not share.

use std::error::Error as StdError;
use std::fmt::{self, Display};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tracing::Span;
use tracing::dispatcher::{get_default, with_default};

use wasm_core::ComponentId;

use crate::lines::COMPONENT_TARGET;

/// Operations of one component at a time. A call waits for each in turn; streams may
/// have some in the background.
pub(crate) const MAX_OPERATIONS: usize = 4;

/// Threads for the operations of all components together; what comes in addition
/// waits for one. Sixteen components can each have all of their operations hang before
/// those of others have to wait.
const MAX_THREADS: usize = 64;

/// A runtime for the sake of its blocking pool alone: nothing else ever runs on it. It
/// is never dropped, so no operation that hangs delays the end of the program.
static THREADS: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_current_thread()
        .thread_name("wasi-files")
        .max_blocking_threads(MAX_THREADS)
        .build()
});

/// The operations on files that one component has going, over all its instances.
#[derive(Debug)]
pub(crate) struct Operations {
    component: ComponentId,
    places: Arc<Semaphore>,
    given_up: Arc<AtomicUsize>,
}

impl Operations {
    pub(crate) fn new(component: ComponentId) -> Self {
        Self {
            component,
            places: Arc::new(Semaphore::new(MAX_OPERATIONS)),
            given_up: Arc::default(),
        }
    }

    /// Does `operation` on a thread that may block, and waits for it.
    ///
    /// # Errors
    /// [`OperationsHang`].
    pub(crate) async fn run<R: Send + 'static>(
        &self,
        operation: impl FnOnce() -> R + Send + 'static,
    ) -> wasmtime::Result<R> {
        self.start(operation).await?.await
    }

    /// Begins `operation` as soon as the component has a place for it.
    ///
    /// # Errors
    /// [`OperationsHang`].
    pub(crate) async fn start<R: Send + 'static>(
        &self,
        operation: impl FnOnce() -> R + Send + 'static,
    ) -> wasmtime::Result<Operation<R>> {
        if self.given_up.load(Ordering::Acquire) >= MAX_OPERATIONS {
            return Err(wasmtime::Error::new(OperationsHang));
        }
        let place = Arc::clone(&self.places).acquire_owned().await?;
        self.begin(place, operation)
    }

    fn begin<R: Send + 'static>(
        &self,
        place: OwnedSemaphorePermit,
        operation: impl FnOnce() -> R + Send + 'static,
    ) -> wasmtime::Result<Operation<R>> {
        let threads = THREADS
            .as_ref()
            .map_err(|error| wasmtime::format_err!("no threads for files: {error}"))?;
        let watch = Arc::new(Watch {
            settled: AtomicBool::new(false),
            given_up: Arc::clone(&self.given_up),
        });
        let end = End {
            watch: Arc::clone(&watch),
            _place: place,
        };
        // What it logs belongs to the call that began it.
        let (span, log) = (Span::current(), get_default(Clone::clone));
        let running = threads.spawn_blocking(move || {
            let _end = end;
            with_default(&log, || span.in_scope(operation))
        });
        Ok(Operation {
            running,
            watch,
            component: self.component.clone(),
        })
    }
}

/// Does something that nobody waits for, and that may block.
pub(super) fn do_aside(operation: impl FnOnce() + Send + 'static) {
    if let Ok(threads) = &*THREADS {
        threads.spawn_blocking(operation);
    }
}

/// Decides which came first: the end of an operation, or its being given up.
struct Watch {
    settled: AtomicBool,
    given_up: Arc<AtomicUsize>,
}

impl Watch {
    /// Whether nobody did so before.
    fn settle(&self) -> bool {
        !self.settled.swap(true, Ordering::AcqRel)
    }
}

/// Is dropped when the operation has ended, or will never begin.
struct End {
    watch: Arc<Watch>,
    _place: OwnedSemaphorePermit,
}

impl Drop for End {
    fn drop(&mut self) {
        if !self.watch.settle() {
            self.watch.given_up.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// An operation that was begun. Dropped before it has ended, it is given up: it goes on
/// in its thread, and its component is charged with it until it ends.
pub(crate) struct Operation<R> {
    running: JoinHandle<R>,
    watch: Arc<Watch>,
    component: ComponentId,
}

impl<R> Future for Operation<R> {
    type Output = wasmtime::Result<R>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.running)
            .poll(cx)
            .map_err(|error| wasmtime::format_err!("an operation on a file failed: {error}"))
    }
}

impl<R> Drop for Operation<R> {
    fn drop(&mut self) {
        if self.running.is_finished() {
            return;
        }
        self.watch.given_up.fetch_add(1, Ordering::AcqRel);
        if self.watch.settle() {
            // Not begun yet, it never will.
            self.running.abort();
            tracing::warn!(
                target: COMPONENT_TARGET, component = %self.component,
                "an operation on a file was given up before it had ended"
            );
        } else {
            self.watch.given_up.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

/// So many operations that calls gave up have not ended that there is no place for
/// another.
#[derive(Debug)]
pub(crate) struct OperationsHang;

impl Display for OperationsHang {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{MAX_OPERATIONS} operations on files that earlier calls gave up have not ended, \
             and a component may have no more (look at the folders granted by `wasi` in \
             [permissions])"
        )
    }
}

impl StdError for OperationsHang {}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};
    use std::time::{Duration, Instant};

    use super::*;

    fn operations() -> Operations {
        Operations::new("demo/files/main".parse().unwrap())
    }

    /// Waits for what happens on another thread.
    fn eventually(mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "it never came to hold");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[tokio::test]
    async fn operations_that_hang_end_the_component_and_are_forgiven_when_they_end() {
        let operations = operations();
        let mut held = Vec::new();
        for _ in 0..4 {
            let (hold, held_up) = mpsc::channel::<()>();
            let begun = Arc::new(AtomicBool::new(false));
            let begin = Arc::clone(&begun);
            let operation = operations.start(move || {
                begin.store(true, Ordering::Release);
                held_up.recv()
            });
            let operation = operation.await.unwrap();
            // Given up before it begins, it never would, and hold no place.
            eventually(|| begun.load(Ordering::Acquire));
            held.push(hold);
            drop(operation);
        }
        let error = operations.run(|| 1).await.unwrap_err();
        assert!(error.is::<OperationsHang>(), "{error}");
        // Another component is not held up.
        let other = Operations::new("demo/files/other".parse().unwrap());
        assert_eq!(other.run(|| 2).await.unwrap(), 2);
        drop(held);
        eventually(|| operations.given_up.load(Ordering::Acquire) == 0);
        assert_eq!(operations.run(|| 3).await.unwrap(), 3);
        assert_eq!(operations.places.available_permits(), 4);
    }

    #[tokio::test]
    async fn operations_of_a_running_call_wait_for_a_place() {
        let operations = operations();
        let (hold, held_up) = mpsc::channel::<()>();
        let first = operations.start(move || held_up.recv()).await.unwrap();
        let mut running = Vec::new();
        for number in 1..4 {
            running.push(operations.start(move || number).await.unwrap());
        }
        for (number, operation) in (1..).zip(running) {
            assert_eq!(operation.await.unwrap(), number);
        }
        drop(hold);
        first.await.unwrap().unwrap_err();
        eventually(|| operations.places.available_permits() == 4);
        assert_eq!(operations.given_up.load(Ordering::Acquire), 0);
    }

    #[tokio::test]
    async fn operations_of_all_components_have_so_many_threads() {
        let components: Vec<_> = (0..16).map(|_| operations()).collect();
        let (hold, held_up) = mpsc::channel::<()>();
        let held_up = Arc::new(Mutex::new(held_up));
        let mut hanging = Vec::new();
        for component in &components {
            for _ in 0..4 {
                let held_up = Arc::clone(&held_up);
                let wait = move || held_up.lock().unwrap().recv().is_ok();
                hanging.push(component.start(wait).await.unwrap());
            }
        }
        let begun = Arc::new(AtomicBool::new(false));
        let begin = Arc::clone(&begun);
        let other = operations();
        let waits = other.start(move || begin.store(true, Ordering::Release));
        let waits = waits.await.unwrap();
        // Tokio's own threads are free, as those for storage and standard input.
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100)))
            .await
            .unwrap();
        assert!(!begun.load(Ordering::Acquire));
        drop(hold);
        waits.await.unwrap();
        assert!(begun.load(Ordering::Acquire));
    }

    /// It needs no place, and nobody waits for it.
    #[test]
    fn what_is_done_aside_is_done() {
        let (tell, told) = mpsc::channel();
        do_aside(move || tell.send("done").unwrap());
        assert_eq!(told.recv_timeout(Duration::from_secs(10)), Ok("done"));
    }

    #[test]
    fn what_hangs_is_told_with_where_to_look() {
        let said = OperationsHang.to_string();
        assert!(said.starts_with("4 operations on files that"), "{said}");
        assert!(said.contains("granted by `wasi`"), "{said}");
    }

    #[tokio::test]
    async fn an_operation_that_panics_leaves_its_place() {
        let operations = operations();
        let error = operations.run(|| panic!("on purpose")).await.unwrap_err();
        assert!(error.to_string().contains("panic"), "{error}");
        eventually(|| operations.places.available_permits() == 4);
    }
}
