use std::time::Duration;

/// What those who reach a host from outside may use together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayLimits {
    /// Connections that are open at a time. One more is told that there is no room, and closed.
    pub connections: usize,
    /// Those of one address of the network, and of IPv6 those of its first 64 bits, so that one
    /// client does not take all. A proxy in front is one client.
    pub connections_of_address: usize,
    /// Streams of events among them.
    pub event_streams: usize,
    /// How long the head of a request may take, and how long a connection may be without one.
    pub header_time: Duration,
    /// How long the body of a request may take.
    pub body_time: Duration,
    /// How long a client may send nothing of a body that a component waits for.
    pub pause_time: Duration,
    /// How long a component that is uploaded may take to arrive.
    pub upload_time: Duration,
    /// How long a client may take nothing of what is written to it.
    pub stall_time: Duration,
    /// The payload of a message, in bytes.
    pub body_bytes: usize,
    /// A component that is uploaded with its manifest and configuration, in bytes. One is
    /// uploaded at a time.
    pub upload_bytes: usize,
    /// Payloads that are being received, all together, in bytes.
    pub received_bytes: usize,
    /// How long a request waits for its answer where it does not say.
    pub request_time: Duration,
    /// The longest that a request may ask to wait.
    pub max_request_time: Duration,
    /// How long requests may go on when a server ends.
    pub drain_time: Duration,
}

impl Default for GatewayLimits {
    /// 1,024 connections, of which 256 may be of one address and 512 streams of events; 10
    /// seconds for a head, 30 for a body, 5 for a client that sends nothing of it to a component
    /// that waits, 30 for one that takes nothing, 5 minutes for an upload; 1 MiB for a message, 64 MiB for a
    /// component and 64 MiB for what is being received; 10 seconds for an answer, at most 10
    /// minutes; 10 seconds to end.
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_of_address: 256,
            event_streams: 512,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(30),
            pause_time: Duration::from_secs(5),
            upload_time: Duration::from_secs(300),
            stall_time: Duration::from_secs(30),
            body_bytes: 1 << 20,
            upload_bytes: 64 << 20,
            received_bytes: 64 << 20,
            request_time: Duration::from_secs(10),
            max_request_time: Duration::from_secs(600),
            drain_time: Duration::from_secs(10),
        }
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $setter:ident $field:ident: $type:ty),* $(,)?) => {
        impl GatewayLimits {$(
            $(#[$doc])*
            #[must_use]
            pub fn $setter(mut self, $field: $type) -> Self {
                self.$field = $field;
                self
            }
        )*}
    };
}

setters! {
    /// Replaces [`connections`](Self::connections).
    with_connections connections: usize,
    /// Replaces [`connections_of_address`](Self::connections_of_address).
    with_connections_of_address connections_of_address: usize,
    /// Replaces [`event_streams`](Self::event_streams).
    with_event_streams event_streams: usize,
    /// Replaces [`header_time`](Self::header_time).
    with_header_time header_time: Duration,
    /// Replaces [`body_time`](Self::body_time).
    with_body_time body_time: Duration,
    /// Replaces [`pause_time`](Self::pause_time).
    with_pause_time pause_time: Duration,
    /// Replaces [`upload_time`](Self::upload_time).
    with_upload_time upload_time: Duration,
    /// Replaces [`stall_time`](Self::stall_time).
    with_stall_time stall_time: Duration,
    /// Replaces [`body_bytes`](Self::body_bytes).
    with_body_bytes body_bytes: usize,
    /// Replaces [`upload_bytes`](Self::upload_bytes).
    with_upload_bytes upload_bytes: usize,
    /// Replaces [`received_bytes`](Self::received_bytes).
    with_received_bytes received_bytes: usize,
    /// Replaces [`request_time`](Self::request_time).
    with_request_time request_time: Duration,
    /// Replaces [`max_request_time`](Self::max_request_time).
    with_max_request_time max_request_time: Duration,
    /// Replaces [`drain_time`](Self::drain_time).
    with_drain_time drain_time: Duration,
}
