use std::fmt::{self, Display};

/// A method of one of the traits of `wasm-core`, named and printed as there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is documented at its trait")]
pub enum Method {
    LoadComponent,
    UnloadComponent,
    CallHandleMessage,
    CallHandleCallback,
    RestartComponent,
    Health,
    Metadata,
    /// Of an engine or of a storage.
    Usage,
    Send,
    Request,
    CancelRequest,
    Broadcast,
    Get,
    Set,
    Delete,
    Exists,
    ListKeys,
    LoadBytes,
    PrepareComponent,
}

impl Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::LoadComponent => "load_component",
            Self::UnloadComponent => "unload_component",
            Self::CallHandleMessage => "call_handle_message",
            Self::CallHandleCallback => "call_handle_callback",
            Self::RestartComponent => "restart_component",
            Self::Health => "health",
            Self::Metadata => "metadata",
            Self::Usage => "usage",
            Self::Send => "send",
            Self::Request => "request",
            Self::CancelRequest => "cancel_request",
            Self::Broadcast => "broadcast",
            Self::Get => "get",
            Self::Set => "set",
            Self::Delete => "delete",
            Self::Exists => "exists",
            Self::ListKeys => "list_keys",
            Self::LoadBytes => "load_bytes",
            Self::PrepareComponent => "prepare_component",
        })
    }
}
