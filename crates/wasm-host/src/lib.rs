//! The system around an engine: components that talk, remember and recover.
//!
//! A [`Host`] gives each component a mailbox and a task that delivers what waits in it,
//! one message after the other; it keeps what they store, holds them to the permissions
//! that they were given, restarts those that fail, and replaces them while messages
//! arrive. It is generic over the engine: programs wire it to one that runs
//! WebAssembly, tests to a model.
//!
//! | to | see |
//! |---|---|
//! | put a host together | [`HostBuilder`], [`HostLimits`] |
//! | read an application from a folder | [`read_application`], [`ApplicationFolder`] |
//! | load, replace, restart, unload | [`Host`], [`Component`] |
//! | keep data for longer than the process | [`RedbStorage`] |
//! | see what happens | [`Host::events`], [`Host::status`], [`Host::dead_letters`] |
//! | see it without every message | [`Events::with_messages`], [`HandledMessages`] |
//! | measure it | the spans `message` of `tracing`, the metrics below |
//!
//! `docs/embedding.md` in the repository is the guide, with a whole program.
//!
//! # A message's way
//!
//! Whoever sends, a component or the program around the host, is told at once whether
//! the message is accepted: that its recipient is there and has room. An accepted
//! message is handed to the component once, in the order in which the mailbox took it,
//! or becomes a [`DeadLetter`] that tells why. One that fails its component is not
//! delivered again, unless an operator [asks for it](Host::redeliver), once. A request that
//! nobody waits for any more when its turn has not come yet is not handled
//! ([`Event::Withdrawn`]).
//!
//! A component handles one message at a time, or as many as its configuration
//! [says](wasm_core::ComponentConfig::with_concurrency): only with one are the messages of a
//! sender handled one after the other. Where instances [are
//! renewed](wasm_core::ComponentConfig::renews_instances), one that fails costs its message
//! and nothing else.
//!
//! A component that [sleeps](Phase::Asleep) has neither an instance nor a task, and the next
//! message wakes it. So a host may have many more components than instances.
//!
//! A request is a message whose sender gets exactly one callback with the correlation
//! id that it was given: the answer, or an error with the content type [`ERROR_TYPE`].
//! A request belongs to the instance that made it and ends with it. Nobody waits while
//! a component handles something, so a circle of requests cannot lock up, and messages
//! that cause messages end at a limit of [hops](HostLimits::hops).
//!
//! # Metrics
//!
//! Through the facade `metrics`; a recorder must be installed before components are
//! loaded, and is told what each is if it is there when the host starts.
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `wasm_messages_total` | counter | `component`, `kind` (`message`, `request`, `callback`, `timer`, `call`), `outcome` (`answered`, `guest-error`, `failed`) |
//! | `wasm_refused_total` | counter | `component`, `reason` for which its sender was told that a queue is full (`mailbox-messages`, `mailbox-bytes`, `queued-bytes`, `open-requests`) |
//! | `wasm_wait_seconds`, `wasm_call_seconds` | histogram | `component` |
//! | `wasm_dead_letters_total` | counter | `component`, `cause`, as [`DeadLetterCause::as_str`] says |
//! | `wasm_denied_total` | counter | `component`, `capability` |
//! | `wasm_failures_total`, `wasm_restarts_total`, `wasm_wakes_total`, `wasm_redelivered_total` | counter | `component` |
//! | `wasm_withdrawn_total` | counter | `component`, `because` (`timed-out`, `given-up`) |

/// The example there is compiled, and run where it can be.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod application;
mod builder;
mod caught;
mod component;
mod error;
mod host;
mod limits;
mod lock;
mod post;
mod storage;
mod watch;

pub use application::{
    ApplicationErrors, ApplicationFolder, ApplicationProblem, ComponentFiles, Found, GrantedFile,
    LeftOut, ManifestLine, ManifestText, Overlap, Separation, check_own_file, open_regular_file,
    read_application, read_bounded, read_secrets, written_through,
};
pub use builder::HostBuilder;
pub use caught::is_panic_caught;
pub use component::Component;
pub use component::status::{ComponentStatus, Phase};
pub use error::HostError;
pub use host::{Host, LoadingAll};
pub use limits::{BudgetExceeded, HostLimits};
pub use post::answer::{ERROR_TYPE, Outcome, RequestError};
pub use post::arrival::{Arrival, NotTaken};
pub use post::call::PendingCall;
pub use post::carrier::{Carried, Carrier};
pub use post::letter::LetterKind;
pub use post::receipt::Receipt;
pub use post::reply::{Asker, ReplyTo};
pub use post::timers::{component_of_timer, timers_owner};
pub use storage::{
    RedbStorage, StorageConfig, StorageOpenError, StoreContents, StoreDraft, StoreReader,
    StoredEntry,
};
pub use watch::dead_letter::{DeadLetter, DeadLetterCause};
pub use watch::event::{Event, EventClass, Reply, WithdrawnBecause};
pub use watch::event_log::{HandledMessages, MessageSwitch};
pub use watch::events::Events;
