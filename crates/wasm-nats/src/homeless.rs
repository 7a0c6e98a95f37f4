//! Components that no running node may own, and that somebody should hear of: what is sent to them
//! waits.

use std::collections::BTreeSet;
use std::time::Duration;

use wasm_core::ComponentId;

use crate::claim::Claims;
use crate::connect::Connection;
use crate::protocol::balance::View;
use crate::view::Watched;

/// What this node knows of them.
#[derive(Debug, Default)]
pub(crate) struct Homeless {
    pools: BTreeSet<usize>,
    since: Duration,
    is_told: bool,
}

impl Homeless {
    /// Tells of components that nobody may own, once that has been so for as long as a lease:
    /// nodes come one after the other.
    pub(crate) fn look(&mut self, view: &View, connection: &Connection, now: Duration) {
        let pools = view.homeless();
        if pools != self.pools {
            (self.pools, self.since, self.is_told) = (pools, now, false);
        }
        if self.is_told || now.saturating_sub(self.since) < connection.terms.length {
            return;
        }
        self.is_told = true;
        let ids = connection.homeless(&self.pools);
        if let Some(first) = ids.first() {
            tracing::warn!(
                components = ids.len(),
                "no running node may own {first} (`--only`); what is sent to it waits"
            );
        }
    }
}

impl Connection {
    /// What this node decides by now.
    pub(crate) fn view(&self, watched: &Watched) -> View {
        let Claims {
            division, tenure, ..
        } = &*self.claims;
        let own = (self.incarnation.as_str(), self.only.as_slice());
        watched.view(division, own, self.terms, tenure.now())
    }

    /// The components in these pools.
    pub(crate) fn homeless(&self, pools: &BTreeSet<usize>) -> Vec<ComponentId> {
        if pools.is_empty() {
            return Vec::new();
        }
        let division = &self.claims.division;
        self.roster.of(|id| pools.contains(&division.pool_of(id)))
    }
}
