use std::any::Any;
use std::env;
use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

/// One thing that an implementation of a contract must do.
///
/// `S` is what the case is given to try, such as a fresh storage; `F` names what
/// not every implementation has to be able to do.
pub struct Case<S, F> {
    name: &'static str,
    sentence: &'static str,
    needs: Option<F>,
    run: fn(S) -> Pin<Box<dyn Future<Output = ()>>>,
}

impl<S, F> Clone for Case<S, F>
where
    F: Copy,
{
    fn clone(&self) -> Self {
        *self
    }
}

impl<S, F: Copy> Copy for Case<S, F> {}

impl<S, F: Debug> Debug for Case<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("sentence", &self.sentence)
            .field("needs", &self.needs)
            .finish_non_exhaustive()
    }
}

/// How cases are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conditions {
    /// What a timer of tokio follows.
    pub time: Time,
    /// How long a case may take on a real clock before it is said to hang.
    pub patience: Duration,
}

impl Default for Conditions {
    /// The time of the machine, and a minute for each case.
    fn default() -> Self {
        Self {
            time: Time::Real,
            patience: Duration::from_secs(60),
        }
    }
}

/// What a timer of tokio follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// The clock of the machine, on a runtime of several threads.
    Real,
    /// A clock that jumps to the next timer as soon as everybody waits for one, on a
    /// runtime of one thread. For implementations that know no other time: no case
    /// takes longer than its computations, and one in which nobody will ever do
    /// anything again is found out at once.
    Paused,
}

/// Longer than any limit that a component can be given, with two days to spare.
const VIRTUAL_PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// A case that an implementation failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The name of the case.
    pub case: &'static str,
    /// What it proves, as the contract says it.
    pub sentence: &'static str,
    /// What came instead.
    pub finding: String,
}

impl Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "broken sentence: {}\n{}: {}",
            self.sentence, self.case, self.finding
        )
    }
}

impl StdError for Broken {}

impl<S: 'static, F: Copy> Case<S, F> {
    pub(crate) const fn new(
        name: &'static str,
        sentence: &'static str,
        needs: Option<F>,
        run: fn(S) -> Pin<Box<dyn Future<Output = ()>>>,
    ) -> Self {
        Self {
            name,
            sentence,
            needs,
            run,
        }
    }

    /// `theme::what_must_hold`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What it proves, quoted from the documentation of the trait; links are left
    /// out.
    pub fn sentence(&self) -> &'static str {
        self.sentence
    }

    /// Without which it cannot be tried.
    pub fn needs(&self) -> Option<F> {
        self.needs
    }

    /// Tries it on what `make` makes, in an async runtime of its own.
    ///
    /// # Errors
    /// What was found instead of what the sentence says. A case that does not end is
    /// given up, and its thread left behind.
    pub fn run(
        &self,
        conditions: Conditions,
        make: impl FnOnce() -> S + Send + 'static,
    ) -> Result<(), Broken> {
        let (tell, told) = sync_channel(1);
        let run = self.run;
        let attempt = move || {
            let finding = catch_unwind(AssertUnwindSafe(|| attempt(conditions, make, run)));
            // Nobody listens any more when it took too long.
            let _ = tell.send(finding.unwrap_or_else(|panic| Err(panic_message(&*panic))));
        };
        let thread = thread::Builder::new().name(self.name.to_owned());
        let finding = match thread.spawn(attempt) {
            Ok(_) => told.recv_timeout(conditions.patience),
            Err(error) => Ok(Err(format!("no thread could be started: {error}"))),
        };
        let finding = finding.unwrap_or_else(|error| match error {
            RecvTimeoutError::Timeout => Err(hangs(conditions.patience)),
            RecvTimeoutError::Disconnected => Err("its thread ended without a word".to_owned()),
        });
        finding.map_err(|finding| Broken {
            case: self.name,
            sentence: self.sentence,
            finding,
        })
    }
}

fn attempt<S>(
    conditions: Conditions,
    make: impl FnOnce() -> S,
    run: fn(S) -> Pin<Box<dyn Future<Output = ()>>>,
) -> Result<(), String> {
    let runtime = runtime(conditions.time)
        .map_err(|error| format!("no async runtime could be made: {error}"))?;
    let outcome = runtime.block_on(async {
        let case = AssertUnwindSafe(run(make()));
        match conditions.time {
            Time::Real => {
                case.0.await;
                Ok(())
            }
            Time::Paused => timeout(VIRTUAL_PATIENCE, case.0)
                .await
                .map_err(|_| "it hangs: everybody waits for somebody else".to_owned()),
        }
    });
    // What a guest left running in the background must not hold up the others.
    runtime.shutdown_background();
    outcome
}

fn runtime(time: Time) -> std::io::Result<Runtime> {
    match time {
        Time::Real => Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build(),
        Time::Paused => Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build(),
    }
}

fn hangs(patience: Duration) -> String {
    format!("it hangs: it was not done after {patience:?}")
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "it panicked without a message".to_owned()
    }
}

/// A test program made of suites: the `main` of a test target with
/// `harness = false`.
///
/// It takes the arguments of any test program, such as a filter, `--list` and
/// `--test-threads`. A case that needs what is not declared is listed as ignored,
/// with the name of what it needs.
#[derive(Debug)]
pub struct Runner {
    arguments: Arguments,
    conditions: Conditions,
    trials: Vec<Trial>,
}

impl Runner {
    /// With the arguments of this process. Prints help and exits when they say so.
    pub fn from_args() -> Self {
        Self {
            arguments: Arguments::from_args(),
            conditions: Conditions::default(),
            trials: Vec::new(),
        }
    }

    /// For the suites that are added from here on.
    #[must_use]
    pub fn under(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    /// Adds the cases of a suite, each of which is given what `make` makes, as
    /// `name::case`.
    #[must_use]
    pub fn suite<S, F>(
        mut self,
        name: &str,
        cases: Vec<Case<S, F>>,
        declared: &[F],
        make: impl Fn() -> S + Send + Sync + 'static,
    ) -> Self
    where
        S: 'static,
        F: Copy + PartialEq + Debug + Send + 'static,
    {
        let (make, conditions) = (Arc::new(make), self.conditions);
        for case in cases {
            let make = Arc::clone(&make);
            let trial = move || case.run(conditions, move || make()).map_err(Into::into);
            let mut trial = Trial::test(format!("{name}::{}", case.name), trial);
            if let Some(needed) = case.needs
                && !declared.contains(&needed)
            {
                trial = trial
                    .with_kind(format!("needs {needed:?}"))
                    .with_ignored_flag(true);
            }
            self.trials.push(trial);
        }
        self
    }

    /// Runs what the arguments select, as many cases at a time as `--test-threads` or else
    /// `RUST_TEST_THREADS` says.
    #[must_use]
    pub fn run(mut self) -> ExitCode {
        let threads = env::var("RUST_TEST_THREADS").ok();
        let threads = threads.and_then(|threads| threads.parse().ok());
        self.arguments.test_threads = self.arguments.test_threads.or(threads);
        libtest_mimic::run(&self.arguments, self.trials).exit_code()
    }
}

/// The cases of a theme, each sentence with those that prove it:
///
/// ```text
/// cases!["theme":
///     "A sentence of the contract." => [first, second needs Feature::Fuel],
/// ]
/// ```
macro_rules! cases {
    ($theme:literal: $($sentence:literal => [$($case:ident $(needs $needed:expr)?),+ $(,)?]),+ $(,)?) => {
        vec![$($(
            $crate::suite::Case::new(
                concat!($theme, "::", stringify!($case)),
                $sentence,
                $crate::suite::cases!(@needs $($needed)?),
                |subject| Box::pin($case(subject)),
            )
        ),+),+]
    };
    (@needs) => { None };
    (@needs $needed:expr) => { Some($needed) };
}

pub(crate) use cases;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    async fn is_one(number: u32) {
        assert_eq!(number, 1, "the number");
    }

    async fn sleeps(_: u32) {
        sleep(Duration::from_secs(24 * 60 * 60)).await;
    }

    async fn hangs(_: u32) {
        pending::<()>().await;
    }

    async fn blocks(_: u32) {
        thread::sleep(Duration::from_secs(3600));
    }

    fn cases() -> [Case<u32, Infallible>; 4] {
        let cases: Vec<_> = cases!["numbers":
            "It is one." => [is_one, sleeps],
            "It ends." => [hangs, blocks],
        ];
        cases.try_into().unwrap()
    }

    fn paused() -> Conditions {
        Conditions {
            time: Time::Paused,
            patience: Duration::from_secs(60),
        }
    }

    #[test]
    fn a_failure_says_which_sentence_was_broken() {
        let [case, ..] = cases();
        assert_eq!(case.run(Conditions::default(), || 1), Ok(()));
        let broken = case.run(paused(), || 2).unwrap_err();
        let text = broken.to_string();
        let start = "broken sentence: It is one.\nnumbers::is_one: ";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("the number"), "{text}");
    }

    #[test]
    fn paused_time_passes_at_once_and_a_hang_is_found_out_at_once() {
        let [_, sleeps, hangs, _] = cases();
        assert_eq!(sleeps.run(paused(), || 1), Ok(()));
        let finding = hangs.run(paused(), || 1).unwrap_err().finding;
        assert_eq!(finding, "it hangs: everybody waits for somebody else");
    }

    #[test]
    fn a_case_that_blocks_its_thread_is_given_up() {
        let [.., blocks] = cases();
        let conditions = Conditions {
            time: Time::Real,
            patience: Duration::from_millis(50),
        };
        let finding = blocks.run(conditions, || 1).unwrap_err().finding;
        assert_eq!(finding, "it hangs: it was not done after 50ms");
    }
}
