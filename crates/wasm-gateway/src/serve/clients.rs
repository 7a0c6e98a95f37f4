//! How many connections each address has, so that one client does not take them all.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of a listener, by whose they are.
#[derive(Debug)]
pub(crate) struct Clients {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of one connection among those of its client, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    clients: Arc<Clients>,
    client: Option<IpAddr>,
}

impl Clients {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
        })
    }

    /// Nothing if it has as many as one may have. Who has no address, as at a socket in the file
    /// system, may have all.
    pub(crate) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let client = address.map(client_of);
        if let Some(client) = client {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let count = open.get(&client).copied().unwrap_or(0);
            if count >= self.most {
                return None;
            }
            open.insert(client, count + 1);
        }
        let clients = Arc::clone(self);
        Some(Place { clients, client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client else {
            return;
        };
        let open = &self.clients.open;
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&client) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&client)),
        }
    }
}

/// Whoever has one address of a network of IPv6 has all of its last 64 bits.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            Ipv6Addr::from_bits(network).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_so_many() {
        let clients = Clients::new(2);
        let enter = |address: &str| clients.enter(Some(address.parse().unwrap()));
        let first = enter("10.0.0.1").unwrap();
        let _second = enter("::ffff:10.0.0.1").unwrap();
        assert!(enter("10.0.0.1").is_none());
        let _other = enter("10.0.0.2").unwrap();
        drop(first);
        assert!(enter("10.0.0.1").is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = Clients::new(1);
        let enter = |address: &str| clients.enter(Some(address.parse().unwrap()));
        let _first = enter("2001:db8:1:2::3").unwrap();
        assert!(enter("2001:db8:1:2:ffff::4").is_none());
        assert!(enter("2001:db8:1:3::3").is_some());
    }

    #[test]
    fn who_has_no_address_may_have_all() {
        let clients = Clients::new(1);
        let places: Vec<_> = (0..3).map(|_| clients.enter(None).unwrap()).collect();
        assert!(clients.open.lock().unwrap().is_empty());
        drop(places);
    }

    #[test]
    fn nothing_is_kept_of_who_has_gone() {
        let clients = Clients::new(8);
        let places: Vec<_> = (0..8)
            .map(|n| {
                clients
                    .enter(Some(IpAddr::from([10, 0, 0, n % 4])))
                    .unwrap()
            })
            .collect();
        assert_eq!(clients.open.lock().unwrap().len(), 4);
        drop(places);
        assert!(clients.open.lock().unwrap().is_empty());
    }
}
