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
    fn answered(&mut self, answer: Answer) -> Result<()> {
        let _ = answer;
        Ok(())
    }

    /// How it does; by default well.
    fn health(&self) -> HealthStatus {
        HealthStatus::Healthy
    }

    /// The last call: the host is about to give the component up. It can store and send, but
    /// makes no requests any more. By default there is nothing to do.
    ///
    /// # Errors
    /// What goes wrong is logged by the host, which gives the component up all the same.
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
