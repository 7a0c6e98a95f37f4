//! What a component is: a state, made from its configuration, that handles messages.

use crate::config::Config;
use crate::error::Result;
use crate::health::HealthStatus;
use crate::message::{Answer, Message};
use crate::payload::Payload;

/// A component: what it does with a message, and with what else may come.
///
/// One value of the type lives as long as the instance. It is called by one message at a
/// time; what it keeps is lost when the instance is restarted, unless it is in
/// [`storage`](crate::storage).
///
/// ```
/// use wasm_guest::{Component, Message, Payload, Result};
///
/// #[derive(Default)]
/// struct Echo;
///
/// impl Component for Echo {
///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
///         Ok(Some(message.payload))
///     }
/// }
/// ```
pub trait Component: FromConfig + 'static {
    /// What it can be asked, for those who read its metadata.
    const OPERATIONS: &'static [&'static str] = &[];

    /// Whether it keeps anything from one message to the next, in itself or in storage.
    const STATEFUL: bool = true;

    /// Handles a message. The reply goes to whoever sent it, if they want one: to a request
    /// no reply is an empty answer.
    ///
    /// # Errors
    /// Whatever is returned with `?` is told to whoever sent the message. The component
    /// goes on as it is.
    fn handle(&mut self, message: Message) -> Result<Option<Payload>>;

    /// Takes the answer to a request that was made without
    /// [`then`](crate::Request::then); by default it is ignored.
    ///
    /// # Errors
    /// What goes wrong is logged by the host.
    ///
    /// ```
    /// use std::time::Duration;
    /// use wasm_guest::{Answer, Component, Message, Payload, Result, request, testing::Host};
    ///
    /// #[derive(Default)]
    /// struct Waiter(u64);
    ///
    /// impl Component for Waiter {
    ///     fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
    ///         request("demo/kitchen/main", message.payload, Duration::from_secs(1))?;
    ///         Ok(None)
    ///     }
    ///
    ///     fn answered(&mut self, answer: Answer) -> Result<()> {
    ///         self.0 += answer.outcome?.text()?.parse::<u64>()?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/waiter/main").with_request("demo/*/main");
    /// let mut waiter = host.start::<Waiter>().unwrap();
    /// waiter.handle("soup").unwrap();
    /// waiter.answer(&host.requests()[0], "7").unwrap();
    /// assert_eq!(waiter.state().0, 7);
    /// ```
    fn answered(&mut self, answer: Answer) -> Result<()> {
        let _ = answer;
        Ok(())
    }

    /// How it does; by default well.
    ///
    /// ```
    /// use wasm_guest::{Component, HealthStatus, Message, Payload, Result, testing::Host};
    ///
    /// #[derive(Default)]
    /// struct Stove(u64);
    ///
    /// impl Component for Stove {
    ///     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    ///         self.0 += 1;
    ///         Ok(None)
    ///     }
    ///
    ///     fn health(&self) -> HealthStatus {
    ///         if self.0 < 2 { HealthStatus::Healthy } else { HealthStatus::Degraded }
    ///     }
    /// }
    ///
    /// let mut stove = Host::new("demo/stove/main").start::<Stove>().unwrap();
    /// assert_eq!(stove.health(), HealthStatus::Healthy);
    /// stove.handle("soup").unwrap();
    /// stove.handle("cake").unwrap();
    /// assert_eq!(stove.health(), HealthStatus::Degraded);
    /// ```
    fn health(&self) -> HealthStatus {
        HealthStatus::Healthy
    }

    /// The last call: the host is about to give the component up. It can store and send, but
    /// makes no requests any more. By default there is nothing to do.
    ///
    /// # Errors
    /// What goes wrong is logged by the host, which gives the component up all the same.
    ///
    /// ```
    /// use wasm_guest::{Component, Message, Payload, Result, storage, testing::Host};
    ///
    /// #[derive(Default)]
    /// struct Till(u64);
    ///
    /// impl Component for Till {
    ///     fn handle(&mut self, _: Message) -> Result<Option<Payload>> {
    ///         self.0 += 1;
    ///         Ok(None)
    ///     }
    ///
    ///     fn shutdown(&mut self) -> Result<()> {
    ///         storage::set("coins", &self.0)?;
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let host = Host::new("demo/till/main").with_storage(1 << 10);
    /// let mut till = host.start::<Till>().unwrap();
    /// till.handle("a coin").unwrap();
    /// till.shutdown().unwrap();
    /// assert_eq!(host.stored("coins"), Some("1".into()));
    /// ```
    fn shutdown(&mut self) -> Result<()> {
        Ok(())
    }
}

/// How a component's state is made.
///
/// A type with a [`Default`] begins with that, whatever its configuration; any other says how
/// it is made:
///
/// ```
/// use wasm_guest::{Config, FromConfig, Result};
///
/// struct Greeter {
///     greeting: String,
/// }
///
/// impl FromConfig for Greeter {
///     fn from_config(config: &Config) -> Result<Self> {
///         let greeting = config.text()?.unwrap_or("hello").to_owned();
///         Ok(Self { greeting })
///     }
/// }
/// ```
///
/// With the feature `json`, a type that derives `Deserialize` is made by `config.json()`.
#[diagnostic::on_unimplemented(
    message = "how a `{Self}` is made is not known",
    note = "derive `Default` for it, or write `impl FromConfig for {Self}`"
)]
pub trait FromConfig: Sized {
    /// Makes the state of an instance that starts. All of the host is there for it already,
    /// storage and messages included.
    ///
    /// # Errors
    /// The component does not start; the host tells why.
    fn from_config(config: &Config) -> Result<Self>;
}

impl<T: Default> FromConfig for T {
    fn from_config(_: &Config) -> Result<Self> {
        Ok(Self::default())
    }
}
