//! From names to addresses.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// Names that the system looks up at a time for all components: each has a thread meanwhile,
/// also when nobody waits for it any more.
const MAX_LOOKUPS: usize = 32;

static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(MAX_LOOKUPS)));

/// Names whose addresses are not asked of the system, in lower case.
pub(crate) type HostNames = BTreeMap<String, Vec<IpAddr>>;

/// The addresses of a host. Nothing is kept: what was true of an address a moment ago is
/// checked of the one that is connected to.
pub(super) async fn resolve(
    known: &HostNames,
    host: &str,
    port: u16,
) -> io::Result<Vec<SocketAddr>> {
    if let Some(addresses) = known.get(host) {
        let addresses = addresses.iter();
        return Ok(addresses.map(|ip| SocketAddr::new(*ip, port)).collect());
    }
    let lookups = Arc::clone(&LOOKUPS).acquire_owned().await;
    let turn = lookups.map_err(io::Error::other)?;
    let host = host.to_owned();
    let looked_up = spawn_blocking(move || {
        let _turn = turn;
        let found = (host.as_str(), port).to_socket_addrs();
        found.map(Iterator::collect::<Vec<_>>)
    });
    looked_up.await.map_err(io::Error::other)?
}
