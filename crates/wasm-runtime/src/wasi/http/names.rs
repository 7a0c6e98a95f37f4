//! From names to addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;

/// Names that the system looks up at a time for all components: each has a thread meanwhile,
/// also when nobody waits for it any more.
const MAX_LOOKUPS: usize = 32;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

/// The same for each component, so that one whose names nobody answers for leaves the others
/// theirs.
const MAX_LOOKUPS_EACH: usize = 4;

/// Names whose addresses are not asked of the system, in lower case.
pub(crate) type HostNames = BTreeMap<String, Vec<IpAddr>>;

/// How a component comes from names to addresses.
pub(crate) struct Names {
    known: Arc<HostNames>,
    lookups: Arc<Semaphore>,
}

impl Names {
    pub(crate) fn new(known: &Arc<HostNames>) -> Self {
        Self {
            known: Arc::clone(known),
            lookups: Arc::new(Semaphore::new(MAX_LOOKUPS_EACH)),
        }
    }

    /// The addresses of a host. Nothing is kept: what was true of an address a moment ago is
    /// checked of the one that is connected to.
    pub(super) async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(addresses) = self.known.get(host) {
            let addresses = addresses.iter();
            return Ok(addresses.map(|ip| SocketAddr::new(*ip, port)).collect());
        }
        let own = turn(&self.lookups).await?;
        let shared = turn(&LOOKUPS).await?;
        let host = host.to_owned();
        let looked_up = spawn_blocking(move || {
            let _turns = (own, shared);
            let found = (host.as_str(), port).to_socket_addrs();
            found.map(Iterator::collect::<Vec<_>>)
        });
        looked_up.await.map_err(io::Error::other)?
    }
}

async fn turn(lookups: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    let turn = Arc::clone(lookups).acquire_owned().await;
    turn.map_err(io::Error::other)
}
