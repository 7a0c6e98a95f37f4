//! How many may connect.

use clap::Args;

use wasm_gateway::GatewayLimits;

/// Bounds on who connects, at each address that is listened at.
#[derive(Debug, Args)]
pub(crate) struct ConnectionFlags {
    /// Connections that may be open at a time, of which half may be streams of events
    /// [default: 1024]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections: Option<u32>,

    /// Connections that one address may have open, so that one client does not take all; a
    /// proxy in front is one client [default: 256]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    connections_of_address: Option<u32>,
}

impl ConnectionFlags {
    pub(crate) fn limits(&self) -> GatewayLimits {
        let mut limits = GatewayLimits::default();
        if let Some(count) = self.connections {
            let count = count as usize;
            limits = limits
                .with_connections(count)
                .with_event_streams(count.div_ceil(2));
        }
        if let Some(count) = self.connections_of_address {
            limits = limits.with_connections_of_address(count as usize);
        }
        limits
    }
}
