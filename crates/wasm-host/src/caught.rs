//! Panics of libraries and of code of the embedder, which are an error to whoever asked and harm
//! nobody else.

use std::any::Any;
use std::cell::Cell;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use wasm_core::text::Escaped;

thread_local! {
    /// Whether this thread is in a call of [`caught`], and asked about a panic there.
    static STATE: Cell<State> = const { Cell::new(State::Outside) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Outside,
    Inside,
    Panicking,
}

/// Whether a panic of this thread would be caught by this crate and told as an error,
/// with its cause: redb asserts what a damaged file may break, and a closure that is given to
/// [`Host::call`](crate::Host::call) may panic, as may a [`Receipt`](crate::Receipt) or an
/// [`Asker`](crate::Asker).
///
/// For the panic hook of a program, which runs on the thread that panics, whether or not
/// the panic is caught, and asks once. Without it, it prints a crash that is none. A
/// second panic before the first was caught is one that ends the process, and is not
/// caught:
///
/// ```
/// let print = std::panic::take_hook();
/// std::panic::set_hook(Box::new(move |panic| {
///     if !wasm_host::is_panic_caught() {
///         print(panic);
///     }
/// }));
/// ```
pub fn is_panic_caught() -> bool {
    let asked = STATE.try_with(|state| {
        let inside = state.get() == State::Inside;
        if inside {
            state.set(State::Panicking);
        }
        inside
    });
    // A thread that is being torn down is in no call.
    asked.unwrap_or(false)
}

/// What `work` returns, or the text that it panicked with.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _guard = Guard::enter();
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text_of(&*panic))
}

/// What `work` ends with, or the text that it panicked with.
pub(crate) async fn caught_future<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let mut work = pin!(work);
    poll_fn(|cx| match caught(|| work.as_mut().poll(cx)) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// What code of the embedder returns. A panic of it the operator is told of, with `what` it is; to
/// whoever calls it is nothing, also to one that ends because of another panic.
pub(crate) fn isolated<T>(what: &str, work: impl FnOnce() -> T) -> Option<T> {
    without_panic(what, caught(work))
}

/// The same of what it ends with.
pub(crate) async fn isolated_future<T>(what: &str, work: impl Future<Output = T>) -> Option<T> {
    without_panic(what, caught_future(work).await)
}

fn without_panic<T>(what: &str, outcome: Result<T, String>) -> Option<T> {
    let tell = |text: &String| tracing::error!("{what} panicked: {}", Escaped::new(text));
    outcome.inspect_err(tell).ok()
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).to_owned(),
        (_, Some(text)) => text.clone(),
        _ => "without a message".to_owned(),
    }
}

/// With the state before.
struct Guard(State);

impl Guard {
    fn enter() -> Self {
        Self(STATE.replace(State::Inside))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        STATE.set(self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_known_to_be_caught_where_it_happens() {
        assert!(!is_panic_caught());
        let inside = caught(|| {
            assert_eq!(caught(|| panic!("inner")), Err::<(), _>("inner".to_owned()));
            let elsewhere = std::thread::spawn(is_panic_caught).join().unwrap();
            // The second time it is another panic, during the first.
            (is_panic_caught(), is_panic_caught(), elsewhere)
        });
        assert_eq!(inside, Ok((true, false, false)));
        let number = 7;
        assert_eq!(caught(|| panic!("{number}")), Err::<(), _>("7".to_owned()));
        assert!(!is_panic_caught());
    }

    #[test]
    fn what_is_called_during_a_panic_may_panic() {
        struct Ending<'a>(&'a Cell<bool>);

        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                assert_eq!(isolated("a test", || panic!("second")), None::<()>);
                self.0.set(true);
            }
        }

        let has_ended = Cell::new(false);
        let first: Result<(), _> = caught(|| {
            let _ending = Ending(&has_ended);
            panic!("first")
        });
        assert_eq!(first, Err("first".to_owned()));
        assert!(has_ended.get());
    }
}
