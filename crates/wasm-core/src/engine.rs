use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentUsage, HealthStatus, MessagePayload, Preparation, WasmError,
};

/// Runs components.
///
/// An engine that is dropped drops its components without calling their `shutdown`.
///
/// # The contract
///
/// *Budgets.* Every call starts with the full fuel and time of the component's
/// [`ResourceLimits`](crate::ResourceLimits); time counts from when the guest
/// begins, not while the call waits for its turn. Memory is a total over all
/// memories and tables of the instance. This holds for every export and while
/// instantiating. A guest is never stopped before its time is up; on a machine that
/// has time for it, it is stopped within 10 ms after.
///
/// *Order.* Calls to one handle run one at a time, in the order in which their
/// futures were first polled. Calls to different handles run in parallel. Where an
/// engine has one thread for all its guests, one that computes may hold up the others
/// until it waits or ends.
///
/// *Several at a time.* A component that is loaded with more than one
/// [`concurrency`](crate::ComponentConfig::with_concurrency) has so many turns: calls begin in
/// the order in which their futures were first polled as long as a turn is free, and one more
/// waits for the first that ends. Calls that run at a time are in instances of their own.
/// Restarting and unloading wait until no call runs. An engine that has one resident instance
/// for each component refuses to load others, with
/// [`WasmError::Unsupported`].
///
/// *Renewed instances.* Where
/// [`renews_instances`](crate::ComponentConfig::renews_instances) holds, a call that fails its
/// instance ends with the cause and harms nothing else: the component stays ready, and the next
/// call has another instance. Only a restart that goes wrong fails it. Usage is that of all
/// instances together.
///
/// *Hops.* What a guest sends while it handles a message or a callback has one more of the
/// [`hops`](crate::ComponentMessage::hops) than that, and so has what it sends in the
/// `initialize` and the `shutdown` of an instance that was made for it; what it sends in any
/// other call has one.
///
/// *Begun.* A call has begun once its guest is entered; until it ends,
/// [`usage`](Self::usage) says [`ComponentState::Busy`](crate::ComponentState::Busy).
/// Before that it waits for its turn. An engine may let it wait although nothing is
/// ahead of it, and may answer some time after it has ended.
///
/// *Answers.* A guest that returns an error has answered: the call ends in
/// [`WasmError::GuestError`] and the component stays ready.
///
/// *Failure.* A trap, exhausted fuel, a passed deadline, a denied growth that the
/// guest did not survive or a panic in a host function fails the instance, and
/// nothing else: the call ends with the cause, the instance is dropped, and further
/// calls end in [`WasmError::ComponentFailed`] until
/// [`restart_component`](Self::restart_component). A growth that was denied is what a
/// call ends with only if the guest gave up in the same call, by `unreachable` or over
/// something that the host refused: other traps, and those of later calls, are told as
/// what they are.
///
/// *Shutting down.* A request that a component makes during its `shutdown` is
/// refused with [`MessagingError::InvalidMessage`](crate::MessagingError::InvalidMessage)
/// and does not reach the router: whoever asked would not be there for the answer.
/// Whatever else it may do, it may do then too.
///
/// *Cancellation.* Dropping the future of a call that has begun does no harm: the
/// call ends in the background within its deadline, its answer is discarded, and
/// the component stays as that call left it. A call that still waits for its turn
/// is withdrawn, and the guest never sees it. A future that is kept without being
/// polled holds nobody up either: once it has been polled, its call takes place.
///
/// *Unknown handles.* Every call ends in [`WasmError::ComponentNotFound`], except
/// for [`unload_component`](Self::unload_component).
#[async_trait]
pub trait RuntimeEngine: Send + Sync {
    /// Does ahead of time what loading does before it runs any of the component. While
    /// what is returned is held, loads of the same bytes skip that, whatever their ids
    /// and configurations. So a new version can be compiled while the old one serves.
    ///
    /// Calls and loads go on meanwhile. Dropping the future leaves nothing behind. An
    /// engine that has nothing to do ahead of time need not implement this; one that
    /// wraps another forwards it.
    ///
    /// # Errors
    /// The one that [`load_component`](Self::load_component) would end in, where that
    /// is known without running the component.
    async fn prepare_component(
        &self,
        _id: &ComponentId,
        _bytes: Bytes,
        _config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        Ok(Preparation::default())
    }

    /// Validates, links, instantiates and calls `initialize`, all under the limits.
    ///
    /// The same id and bytes may be loaded any number of times; each is an instance
    /// of its own, with a number that the engine never gives again. Numbers come in no
    /// given order. A component that does not export `component-lifecycle` is loaded
    /// without `initialize`. If any step fails or the future is dropped, nothing is left
    /// behind.
    ///
    /// # Errors
    /// One for which [`WasmError::is_load_error`] holds, or a trap or a limit: an
    /// initial memory over the limit, a start function or `initialize` that goes wrong.
    /// Of several things that are wrong, any one is told.
    /// [`WasmError::Unsupported`] where the engine cannot run.
    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError>;

    /// Lets the running call end, withdraws the waiting ones, calls `shutdown` and
    /// frees everything. Each of several instances is shut down, whatever the `shutdown`
    /// of another ends in. An unknown handle is fine. What is freed may be freed a little
    /// later.
    ///
    /// From the first poll on, further calls are
    /// [`WasmError::ComponentNotFound`]. Dropping the future does not stop the
    /// unloading.
    ///
    /// # Errors
    /// What `shutdown` ended with. The component is unloaded all the same.
    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError>;

    /// Calls `handle-message`; `None` is a guest that has no reply.
    ///
    /// # Errors
    /// See the contract above; [`WasmError::ExportNotFound`] when the component has
    /// no `component-lifecycle`.
    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError>;

    /// Calls `handle-callback` with the answer to a request that the component made.
    ///
    /// # Errors
    /// As [`call_handle_message`](Self::call_handle_message).
    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError>;

    /// Puts a fresh, initialized instance under the same handle, whether the old
    /// one has failed or not; one that has not is shut down first, whatever its
    /// `shutdown` answers. Counters go on, memory starts anew.
    ///
    /// Takes its turn among the calls. Dropping the future does not stop it.
    ///
    /// # Errors
    /// As [`load_component`](Self::load_component); the component is failed then.
    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError>;

    /// Calls `health`: a call like any other, under the limits and in order.
    ///
    /// # Errors
    /// As [`call_handle_message`](Self::call_handle_message).
    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError>;

    /// Calls `metadata`: a call like any other, under the limits and in order.
    ///
    /// # Errors
    /// As [`call_handle_message`](Self::call_handle_message).
    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError>;

    /// Answers at once, also while a call runs or the component has failed. At once means
    /// that it waits for no guest and no service; its first poll need not be enough.
    ///
    /// # Errors
    /// [`WasmError::ComponentNotFound`] only.
    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError>;
}
