//! What all that a node does at the same time knows.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;

use crate::connect::Connection;
use crate::tenure::Tenure;
use crate::view::Watched;

/// Its connection, what it sees of the others, and how it is itself.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) connection: Connection,
    pub(crate) watched: Arc<Watched>,
    /// Of the latest renewal.
    pub(crate) renewed: Mutex<u64>,
    /// It gives back all that it owns, and should be given nothing.
    pub(crate) is_leaving: AtomicBool,
    /// Another process has the name of this node.
    pub(crate) is_replaced: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn tenure(&self) -> &Arc<Tenure> {
        &self.connection.claims.tenure
    }

    pub(crate) fn now(&self) -> Duration {
        self.tenure().now()
    }
}
