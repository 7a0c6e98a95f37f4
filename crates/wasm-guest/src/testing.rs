//! A host in memory, to test a component with `cargo test` and nothing else.
//!
//! A [`Host`] has what the component may do, from its `Component.toml` or step by step; what
//! is denied there is denied here, in the same words. It starts an [`Instance`], which is
//! sent messages, whose requests are answered, and whose clock is turned by the test. What
//! the component did is asked of the host.
//!
//! ```
//! use wasm_guest::testing::Host;
//! use wasm_guest::{Component, LogLevel, Message, Payload, Result, log, send, storage};
//!
//! #[derive(Default)]
//! struct Kitchen;
//!
//! impl Component for Kitchen {
//!     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
//!         let dish = message.payload.text()?;
//!         let cooked = storage::get::<u64>(dish)?.unwrap_or(0) + 1;
//!         storage::set(dish, &cooked)?;
//!         log!(info, "{dish} number {cooked}");
//!         send(&message.sender, dish)?;
//!         Ok(None)
//!     }
//! }
//!
//! let host = Host::new("demo/kitchen/main")
//!     .with_storage(1 << 20)
//!     .with_log(LogLevel::Info)
//!     .with_send("test/*/*");
//! let mut kitchen = host.start::<Kitchen>().unwrap();
//! assert_eq!(kitchen.handle("soup").unwrap(), None);
//! assert_eq!(host.sent()[0].payload, "soup");
//! assert_eq!(host.logged(), ["info: soup number 1"]);
//! assert_eq!(host.stored("soup"), Some("1".into()));
//! ```
//!
//! What a component costs is not known here: `memory`, `fuel` and `timeout` of `[resources]`
//! hold in the engine only, and `airssys-wasm test` shows what they do.

mod grants;
mod manifest;
pub(crate) mod world;

use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt::{self, Debug, Display};
use std::mem::take;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::call::Running;
use crate::component::Component;
use crate::error::Result;
use crate::health::HealthStatus;
use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::message::{Answer, CorrelationId, Message, RequestError};
use crate::messaging::MessagingError;
use crate::payload::Payload;
use crate::pending;

use grants::{Pattern, check_id};
use manifest::Manifest;
pub use world::{Asked, Sent};
use world::{Open, World, call};

/// Who sends what [`Instance::handle`] delivers.
const TESTER: &str = "test/test/main";

/// A host in memory for one component. Clones are the same host.
#[derive(Clone)]
pub struct Host {
    world: Rc<RefCell<World>>,
}

impl Host {
    /// A host that grants nothing, and has no configuration.
    ///
    /// # Panics
    /// For what is no id.
    ///
    /// ```
    /// use wasm_guest::{storage, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main");
    /// let denied = host.within(|| storage::exists("a")).unwrap_err();
    /// assert!(denied.to_string().contains("not granted by `storage` in [permissions]"));
    /// ```
    pub fn new(id: &str) -> Self {
        let world = World::new(valid_id(id));
        Self {
            world: Rc::new(RefCell::new(world)),
        }
    }

    /// A host as the manifest at this path has it: the id, `[permissions]`, `[config]` and
    /// `[env]`. Paths are relative to the crate's folder, where `cargo test` runs.
    ///
    /// Of anything else in it nothing is said; `airssys-wasm check` knows it all.
    ///
    /// # Errors
    /// What is wrong in the manifest, or that it cannot be read.
    ///
    /// ```
    /// use wasm_guest::testing::Host;
    ///
    /// # let folder = std::env::temp_dir().join(format!("wasm-guest-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// # let manifest = folder.join("Component.toml");
    /// # std::fs::write(&manifest, "[component]\nid = \"demo/till/main\"\nwasm = \"till.wasm\"\n\
    /// #     [resources]\nmemory = \"512KiB\"\nfuel = 1_000\ntimeout = \"1s\"\n").unwrap();
    /// let host = Host::load(&manifest).unwrap();
    /// assert_eq!(host.within(wasm_guest::own_id).to_string(), "demo/till/main");
    /// # std::fs::remove_dir_all(folder).unwrap();
    ///
    /// let error = Host::load("no/Component.toml").err().unwrap();
    /// assert!(error.to_string().starts_with("no/Component.toml: "));
    /// ```
    pub fn load(manifest: impl AsRef<Path>) -> Result<Self, InvalidManifest> {
        let file = manifest.as_ref();
        let read = Manifest::read(file).map_err(|problem| InvalidManifest {
            file: file.to_owned(),
            problem,
        })?;
        let mut world = World::new(read.id);
        world.grants = read.grants;
        world.config = read.config;
        Ok(Self {
            world: Rc::new(RefCell::new(world)),
        })
    }

    fn with(self, change: impl FnOnce(&mut World)) -> Self {
        change(&mut self.world.borrow_mut());
        self
    }

    /// Grants `send` for this pattern besides others.
    ///
    /// # Panics
    /// For what is no pattern.
    ///
    /// ```
    /// use wasm_guest::{send, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main").with_send("demo/*/main");
    /// assert!(host.within(|| send("demo/till/main", "7")).is_ok());
    /// assert!(host.within(|| send("other/till/main", "7")).is_err());
    /// ```
    #[must_use]
    pub fn with_send(self, pattern: &str) -> Self {
        let pattern = valid_pattern(pattern);
        self.with(|world| world.grants.send.push(pattern))
    }

    /// Grants `request` for this pattern besides others.
    ///
    /// # Panics
    /// For what is no pattern.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use wasm_guest::{request, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main").with_request("demo/till/main");
    /// let second = Duration::from_secs(1);
    /// assert!(host.within(|| request("demo/till/main", "soup", second)).is_ok());
    /// ```
    #[must_use]
    pub fn with_request(self, pattern: &str) -> Self {
        let pattern = valid_pattern(pattern);
        self.with(|world| world.grants.request.push(pattern))
    }

    /// Grants `broadcast` for this pattern besides others.
    ///
    /// # Panics
    /// For what is no pattern.
    ///
    /// ```
    /// use wasm_guest::{broadcast, testing::Host};
    ///
    /// let host = Host::new("demo/boss/main").with_broadcast("demo/*/main");
    /// assert!(host.within(|| broadcast(["demo/ann/main"], "closing")).is_ok());
    /// ```
    #[must_use]
    pub fn with_broadcast(self, pattern: &str) -> Self {
        let pattern = valid_pattern(pattern);
        self.with(|world| world.grants.broadcast.push(pattern))
    }

    /// Grants storage of so many bytes.
    ///
    /// ```
    /// use wasm_guest::storage::{self, StorageError};
    /// use wasm_guest::testing::Host;
    ///
    /// let host = Host::new("demo/shop/main").with_storage(300);
    /// host.within(|| storage::set("soup", &7u64)).unwrap();
    /// let full = host.within(|| storage::set("cake", &4u64));
    /// assert_eq!(full, Err(StorageError::QuotaExceeded));
    /// ```
    #[must_use]
    pub fn with_storage(self, quota_bytes: u64) -> Self {
        self.with(|world| world.grants.storage = Some(quota_bytes))
    }

    /// Grants a log that keeps lines of this level and what matters more.
    ///
    /// ```
    /// use wasm_guest::{LogLevel, log, testing::Host};
    ///
    /// let host = Host::new("demo/shop/main").with_log(LogLevel::Warn);
    /// host.within(|| log!(info, "soup"));
    /// assert!(host.logged().is_empty());
    /// assert_eq!(host.denied(), ["log at info: not granted by `log` in [permissions]"]);
    /// ```
    #[must_use]
    pub fn with_log(self, level: LogLevel) -> Self {
        self.with(|world| world.grants.log = Some(level))
    }

    /// Gives the component a configuration, as `[config]` does.
    ///
    /// ```
    /// use wasm_guest::{Component, Config, FromConfig, Message, Payload, Result, testing::Host};
    ///
    /// struct Greeter(String);
    ///
    /// impl FromConfig for Greeter {
    ///     fn from_config(config: &Config) -> Result<Self> {
    ///         Ok(Self(config.text()?.unwrap_or("hello").to_owned()))
    ///     }
    /// }
    ///
    /// impl Component for Greeter {
    ///     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    ///         Ok(Some(self.0.clone().into()))
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/greeter/main").with_config("hi");
    /// let mut greeter = host.start::<Greeter>().unwrap();
    /// assert_eq!(greeter.handle("").unwrap(), Some("hi".into()));
    /// ```
    #[must_use]
    pub fn with_config(self, data: impl Into<Payload>) -> Self {
        self.with(|world| world.config.data = Some(data.into()))
    }

    /// Gives the component a variable, as `[env]` does.
    ///
    /// ```
    /// use wasm_guest::{Component, Config, FromConfig, Message, Payload, Result, testing::Host};
    ///
    /// struct Named(String);
    ///
    /// impl FromConfig for Named {
    ///     fn from_config(config: &Config) -> Result<Self> {
    ///         Ok(Self(config.variable("NAME").unwrap_or_default().to_owned()))
    ///     }
    /// }
    ///
    /// impl Component for Named {
    ///     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    ///         Ok(None)
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/named/main").with_variable("NAME", "ann");
    /// assert_eq!(host.start::<Named>().unwrap().state().0, "ann");
    /// ```
    #[must_use]
    pub fn with_variable(self, name: &str, value: &str) -> Self {
        let variable = (name.to_owned(), value.to_owned());
        self.with(|world| world.config.variables.push(variable))
    }

    /// Sets the clock: the time since the Unix epoch.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use wasm_guest::{now, testing::Host};
    ///
    /// let host = Host::new("demo/shop/main").with_time(Duration::from_secs(5));
    /// assert_eq!(host.within(now).as_secs(), 5);
    /// ```
    #[must_use]
    pub fn with_time(self, since_epoch: Duration) -> Self {
        self.with(|world| world.now = since_epoch)
    }

    /// Has another component be there, for [`components`](crate::components) to list. Messages
    /// are accepted for any component, whether there or not.
    ///
    /// # Panics
    /// For what is no id.
    ///
    /// ```
    /// use wasm_guest::{component_info, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main")
    ///     .with_send("demo/*/*")
    ///     .with_component("demo/till/main");
    /// assert!(host.within(|| component_info("demo/till/main")).is_ok());
    /// ```
    #[must_use]
    pub fn with_component(self, id: &str) -> Self {
        let id = valid_id(id);
        self.with(|world| world.others.extend([id]))
    }

    /// Has every message and request to a component fail from now on.
    ///
    /// # Panics
    /// For what is no id.
    ///
    /// ```
    /// use wasm_guest::{MessagingError, send, testing::Host};
    ///
    /// let host = Host::new("demo/waiter/main").with_send("demo/*/*");
    /// host.refuse("demo/till/main", MessagingError::QueueFull);
    /// let refused = host.within(|| send("demo/till/main", "7"));
    /// assert_eq!(refused, Err(MessagingError::QueueFull));
    /// ```
    pub fn refuse(&self, to: &str, error: MessagingError) {
        self.world.borrow_mut().refused.insert(valid_id(to), error);
    }

    /// Starts the component. What an earlier instance stored is there, its open requests are
    /// not.
    ///
    /// # Errors
    /// What [`FromConfig`](crate::FromConfig) returns.
    ///
    /// ```
    /// # use wasm_guest::{Component, Message, Payload, Result, storage, testing::Host};
    /// #[derive(Default)]
    /// struct Counter;
    ///
    /// impl Component for Counter {
    ///     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    ///         let count = storage::get::<u64>("count")?.unwrap_or(0) + 1;
    ///         storage::set("count", &count)?;
    ///         Ok(Some(count.to_string().into()))
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/counter/main").with_storage(1 << 20);
    /// let mut counter = host.start::<Counter>().unwrap();
    /// counter.handle("").unwrap();
    /// let mut restarted = host.start::<Counter>().unwrap();
    /// assert_eq!(restarted.handle("").unwrap(), Some("2".into()));
    /// ```
    pub fn start<C: Component>(&self) -> Result<Instance<C>> {
        let config = {
            let mut world = self.world.borrow_mut();
            world.begin_instance();
            world.config.clone()
        };
        let running = call(&self.world, || Running::start(&config))?;
        Ok(Instance {
            host: self.clone(),
            running,
        })
    }

    /// Calls a function as a part of the component, with the budgets of one call: what it
    /// sends, stores and logs goes to this host. What is given to
    /// [`then`](crate::Request::then) in it is never called.
    ///
    /// ```
    /// use wasm_guest::{storage, testing::Host};
    ///
    /// fn next_number() -> Result<u64, storage::StorageError> {
    ///     let number = storage::get("number")?.unwrap_or(1);
    ///     storage::set("number", &(number + 1))?;
    ///     Ok(number)
    /// }
    ///
    /// let host = Host::new("demo/till/main").with_storage(1 << 20);
    /// assert_eq!(host.within(next_number), Ok(1));
    /// assert_eq!(host.within(next_number), Ok(2));
    /// ```
    pub fn within<R>(&self, run: impl FnOnce() -> R) -> R {
        let outcome = call(&self.world, run);
        pending::discard();
        outcome
    }

    /// What was sent since this was last asked, broadcasts included.
    ///
    /// ```
    /// # use wasm_guest::{send, testing::Host};
    /// let host = Host::new("demo/waiter/main").with_send("demo/*/*");
    /// host.within(|| send("demo/till/main", "7")).unwrap();
    /// assert_eq!(host.sent().len(), 1);
    /// assert_eq!(host.sent().len(), 0);
    /// ```
    pub fn sent(&self) -> Vec<Sent> {
        take(&mut self.world.borrow_mut().sent)
    }

    /// The requests that were made since this was last asked and not cancelled.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wasm_guest::{request, testing::Host};
    /// let host = Host::new("demo/waiter/main").with_request("demo/*/*");
    /// host.within(|| request("demo/till/main", "soup", Duration::from_secs(1))).unwrap();
    /// assert_eq!(host.requests()[0].to.name, "till");
    /// ```
    pub fn requests(&self) -> Vec<Asked> {
        take(&mut self.world.borrow_mut().asked)
    }

    /// The lines that were logged since this was last asked: `level: text key=value`.
    ///
    /// ```
    /// # use wasm_guest::{LogLevel, log, testing::Host};
    /// let host = Host::new("demo/waiter/main").with_log(LogLevel::Info);
    /// host.within(|| log!(warn, "no {}", "soup"; table = 4));
    /// assert_eq!(host.logged(), ["warn: no soup table=4"]);
    /// ```
    pub fn logged(&self) -> Vec<String> {
        take(&mut self.world.borrow_mut().logged)
    }

    /// What was denied since this was last asked.
    ///
    /// ```
    /// # use wasm_guest::{send, testing::Host};
    /// let host = Host::new("demo/waiter/main");
    /// host.within(|| send("demo/till/main", "7")).unwrap_err();
    /// assert_eq!(
    ///     host.denied(),
    ///     ["send to demo/till/main: not granted by `send` in [permissions]"]
    /// );
    /// ```
    pub fn denied(&self) -> Vec<String> {
        take(&mut self.world.borrow_mut().denied)
    }

    /// What the component keeps under a key.
    ///
    /// ```
    /// # use wasm_guest::testing::Host;
    /// let host = Host::new("demo/shop/main");
    /// assert_eq!(host.stored("soup"), None);
    /// ```
    pub fn stored(&self, key: &str) -> Option<Payload> {
        let world = self.world.borrow();
        world.store.get(key).map(|value| value.clone().into())
    }

    /// Has something be stored for the component, whatever its quota.
    ///
    /// ```
    /// # use wasm_guest::testing::Host;
    /// let host = Host::new("demo/shop/main");
    /// host.store("soup", "7");
    /// assert_eq!(host.stored("soup"), Some("7".into()));
    /// ```
    pub fn store(&self, key: &str, value: impl Into<Payload>) {
        let value = value.into().into_bytes();
        self.world.borrow_mut().store.insert(key.to_owned(), value);
    }
}

impl Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Host({})", self.world.borrow().id)
    }
}

/// A component that runs in a [`Host`].
pub struct Instance<C> {
    host: Host,
    running: Running<C>,
}

impl<C: Component> Instance<C> {
    fn call<R>(&mut self, run: impl FnOnce(&mut Running<C>) -> R) -> R {
        let running = &mut self.running;
        call(&self.host.world, || run(running))
    }

    /// Delivers a message from `test/test/main`; the reply, if there is one.
    ///
    /// # Errors
    /// What the component returns.
    ///
    /// ```
    /// # use wasm_guest::{Component, Message, Payload, Result, testing::Host};
    /// # #[derive(Default)]
    /// # struct Echo;
    /// # impl Component for Echo {
    /// #     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    /// #         Ok(Some(message.payload))
    /// #     }
    /// # }
    /// let mut echo = Host::new("demo/echo/main").start::<Echo>().unwrap();
    /// assert_eq!(echo.handle("hello").unwrap(), Some("hello".into()));
    /// ```
    pub fn handle(&mut self, payload: impl Into<Payload>) -> Result<Option<Payload>> {
        let mut message = Message::new(valid_id(TESTER), payload);
        message.timestamp = self.host.world.borrow().now;
        self.handle_message(message)
    }

    /// Delivers a message of any sender.
    ///
    /// # Errors
    /// What the component returns.
    ///
    /// ```
    /// # use wasm_guest::{Component, Message, Payload, Result, testing::Host};
    /// # #[derive(Default)]
    /// # struct Polite;
    /// # impl Component for Polite {
    /// #     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    /// #         Ok(Some(message.sender.name.into()))
    /// #     }
    /// # }
    /// let mut polite = Host::new("demo/polite/main").start::<Polite>().unwrap();
    /// let message = Message::new("demo/ann/main".parse().unwrap(), "hello");
    /// assert_eq!(polite.handle_message(message).unwrap(), Some("ann".into()));
    /// ```
    pub fn handle_message(&mut self, message: Message) -> Result<Option<Payload>> {
        self.call(|running| running.handle(message))
    }

    /// Answers a request.
    ///
    /// # Errors
    /// What the component returns.
    ///
    /// # Panics
    /// If the request is not open: it is answered, cancelled or overdue.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wasm_guest::{Answer, Component, Message, Payload, Result, request, testing::Host};
    /// #[derive(Default)]
    /// struct Asker { answers: Vec<Answer> }
    ///
    /// impl Component for Asker {
    ///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    ///         request("demo/till/main", message.payload, Duration::from_secs(1))?;
    ///         Ok(None)
    ///     }
    ///
    ///     fn answered(&mut self, answer: Answer) -> Result<()> {
    ///         self.answers.push(answer);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/asker/main").with_request("demo/till/main");
    /// let mut asker = host.start::<Asker>().unwrap();
    /// asker.handle("soup").unwrap();
    /// asker.answer(&host.requests()[0], "7").unwrap();
    /// assert_eq!(asker.state().answers[0].outcome, Ok("7".into()));
    /// ```
    pub fn answer(&mut self, asked: &Asked, reply: impl Into<Payload>) -> Result<()> {
        self.close(asked, Ok(reply.into()))
    }

    /// Has a request fail.
    ///
    /// # Errors
    /// What the component returns.
    ///
    /// # Panics
    /// If the request is not open.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wasm_guest::{Component, Message, Payload, RequestError, Result, request};
    /// # use wasm_guest::testing::Host;
    /// # #[derive(Default)]
    /// # struct Asker;
    /// # impl Component for Asker {
    /// #     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    /// #         request("demo/till/main", message.payload, Duration::from_secs(1))?
    /// #             .then(|_: &mut Self, answer| Ok(drop(answer.outcome?)));
    /// #         Ok(None)
    /// #     }
    /// # }
    /// let host = Host::new("demo/asker/main").with_request("demo/till/main");
    /// let mut asker = host.start::<Asker>().unwrap();
    /// asker.handle("soup").unwrap();
    /// let gone = RequestError::Failed("gone".to_owned());
    /// let told = asker.fail(&host.requests()[0], gone).unwrap_err();
    /// assert_eq!(told.to_string(), "the request failed: gone");
    /// ```
    pub fn fail(&mut self, asked: &Asked, error: RequestError) -> Result<()> {
        self.close(asked, Err(error))
    }

    fn close(&mut self, asked: &Asked, outcome: Result<Payload, RequestError>) -> Result<()> {
        let open = self.host.world.borrow_mut().close(&asked.id);
        let Some(open) = open else {
            panic!(
                "{} to {} is not open: it is answered, cancelled or overdue",
                asked.id, asked.to
            );
        };
        self.deliver(asked.id.clone(), open, outcome)
    }

    fn deliver(
        &mut self,
        request: CorrelationId,
        open: Open,
        outcome: Result<Payload, RequestError>,
    ) -> Result<()> {
        let timestamp = self.host.world.borrow().now;
        self.call(|running| {
            running.answer(Answer {
                request,
                sender: open.to,
                outcome,
                timestamp,
            })
        })
    }

    /// Turns the clock forward. Requests that are overdue on the way are answered so, one
    /// after the other, when their time is up.
    ///
    /// # Errors
    /// What the component returns; the clock stops there then.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use wasm_guest::{Component, Message, Payload, Result, now, testing::Host};
    /// # #[derive(Default)]
    /// # struct Clock;
    /// # impl Component for Clock {
    /// #     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    /// #         Ok(Some(now().as_secs().to_string().into()))
    /// #     }
    /// # }
    /// let host = Host::new("demo/clock/main").with_time(Duration::ZERO);
    /// let mut clock = host.start::<Clock>().unwrap();
    /// clock.advance(Duration::from_secs(60)).unwrap();
    /// assert_eq!(clock.handle("").unwrap(), Some("60".into()));
    /// ```
    pub fn advance(&mut self, by: Duration) -> Result<()> {
        let until = self.host.world.borrow().now + by;
        loop {
            let overdue = self.host.world.borrow_mut().next_overdue(until);
            let Some((request, open)) = overdue else {
                return Ok(());
            };
            self.deliver(request, open, Err(RequestError::TimedOut))?;
        }
    }

    /// The component itself.
    ///
    /// ```
    /// # use wasm_guest::{Component, Message, Payload, Result, testing::Host};
    /// # #[derive(Default)]
    /// # struct Counter { count: u64 }
    /// # impl Component for Counter {
    /// #     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    /// #         self.count += 1;
    /// #         Ok(None)
    /// #     }
    /// # }
    /// let mut counter = Host::new("demo/counter/main").start::<Counter>().unwrap();
    /// counter.handle("").unwrap();
    /// assert_eq!(counter.state().count, 1);
    /// ```
    pub fn state(&self) -> &C {
        self.running.state()
    }

    /// How it does.
    ///
    /// ```
    /// # use wasm_guest::{Component, HealthStatus, Message, Payload, Result, testing::Host};
    /// # #[derive(Default)]
    /// # struct Echo;
    /// # impl Component for Echo {
    /// #     fn handle(&mut self, message: Message) -> Result<Option<Payload>> { Ok(None) }
    /// # }
    /// let mut echo = Host::new("demo/echo/main").start::<Echo>().unwrap();
    /// assert_eq!(echo.health(), HealthStatus::Healthy);
    /// ```
    pub fn health(&mut self) -> HealthStatus {
        self.call(|running| running.health())
    }

    /// Makes the last call.
    ///
    /// # Errors
    /// What the component returns.
    ///
    /// ```
    /// # use wasm_guest::{Component, LogLevel, Message, Payload, Result, log, testing::Host};
    /// # #[derive(Default)]
    /// # struct Polite;
    /// # impl Component for Polite {
    /// #     fn handle(&mut self, message: Message) -> Result<Option<Payload>> { Ok(None) }
    /// #     fn shutdown(&mut self) -> Result<()> {
    /// #         log!(info, "good bye");
    /// #         Ok(())
    /// #     }
    /// # }
    /// let host = Host::new("demo/polite/main").with_log(LogLevel::Info);
    /// host.start::<Polite>().unwrap().shutdown().unwrap();
    /// assert_eq!(host.logged(), ["info: good bye"]);
    /// ```
    pub fn shutdown(mut self) -> Result<()> {
        self.host.world.borrow_mut().is_shutting_down = true;
        self.call(Running::shutdown)
    }
}

impl<C> Debug for Instance<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Instance({})", self.host.world.borrow().id)
    }
}

/// Why a `Component.toml` was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidManifest {
    file: PathBuf,
    problem: String,
}

impl Display for InvalidManifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.problem)
    }
}

impl StdError for InvalidManifest {}

fn valid_id(text: &str) -> ComponentId {
    let id = text
        .parse::<ComponentId>()
        .map_err(|error| error.to_string());
    let id = id.and_then(|id| check_id(&id).map(|()| id));
    id.unwrap_or_else(|problem| panic!("{problem}"))
}

fn valid_pattern(text: &str) -> Pattern {
    Pattern::read(text).unwrap_or_else(|problem| panic!("{problem}"))
}
