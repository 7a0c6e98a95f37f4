use std::net::IpAddr;

use thiserror::Error;

use crate::{Capability, ComponentHandle};

/// Has the last word on what a component may do.
///
/// A host call is allowed when the component's [`Permissions`](crate::Permissions)
/// grant it *and* the validator does not object. The permissions are fixed at
/// load; a validator can take them back while the component runs, never add to
/// them.
///
/// It is asked at every host call of the contract's interfaces that needs a
/// capability, and of the sockets of WASI, inside the guest's call: it answers from
/// memory, at once. What else is granted of WASI is fixed when an instance is made and
/// not asked about.
pub trait SecurityValidator: Send + Sync {
    /// # Errors
    /// [`CapabilityDenied`] is told to the component as the error of its call; the
    /// component goes on.
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied>;

    /// Told of every refusal, its own and those by the permissions the component
    /// was loaded with: for an audit. Answers at once, like
    /// [`validate`](Self::validate).
    fn denied(&self, _component: &ComponentHandle, _denied: &CapabilityDenied) {}
}

/// Objects to nothing: the permissions alone decide.
#[derive(Debug, Clone, Copy, Default)]
pub struct PermissionsOnly;

impl SecurityValidator for PermissionsOnly {
    fn validate(&self, _: &ComponentHandle, _: &Capability) -> Result<(), CapabilityDenied> {
        Ok(())
    }
}

/// A host call that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("permission denied: {capability}: {reason}")]
pub struct CapabilityDenied {
    /// What was asked for.
    pub capability: Capability,
    /// Why it is refused, and what would grant it.
    pub reason: String,
}

impl CapabilityDenied {
    /// The refusal of what the manifest does not grant.
    pub fn not_granted(capability: Capability) -> Self {
        let reason = match &capability {
            Capability::HttpAddress(_, address) => format!(
                "it is an address of this machine, of a private network, of a link or of nobody, \
                 which only an address itself grants in `http` of [permissions], as \
                 \"http://{}:*\" or \"http://localhost:*\"",
                bracketed(*address)
            ),
            Capability::TcpSocket | Capability::Connect(_) => {
                let address = match &capability {
                    Capability::Connect(address) => address.to_string(),
                    _ => "ADDRESS:PORT".to_owned(),
                };
                format!("not granted by `wasi` in [permissions], as {{ connect = \"{address}\" }}")
            }
            Capability::Bind(_) | Capability::UdpSocket => {
                "nothing grants it; `connect` in `wasi` of [permissions] grants addresses to \
                 connect to over TCP"
                    .to_owned()
            }
            Capability::LookUp(_) => {
                "nothing grants it; `connect` in `wasi` of [permissions] grants addresses, and \
                 `http` what is reached by name"
                    .to_owned()
            }
            _ => format!(
                "not granted by `{}` in [permissions]",
                capability.manifest_key()
            ),
        };
        Self { capability, reason }
    }
}

/// As it is written in a URL.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{every, snapshot};
    use crate::{ComponentId, HttpOrigin, LogLevel};

    #[test]
    fn a_refusal_names_the_key_that_would_grant() {
        let target = ComponentId::new("demo", "b", "main").unwrap();
        let capabilities = every!(
            Capability,
            Send(target.clone()),
            Request(target.clone()),
            Broadcast(target),
            Storage,
            Log(LogLevel::Warn),
            Http(HttpOrigin::new(true, "api.example.com", None).unwrap()),
            HttpAddress(
                HttpOrigin::new(false, "a.example.com", Some(8080)).unwrap(),
                [169, 254, 169, 254].into()
            ),
            Import("acme:shop/catalog@1.0.0".to_owned()),
            TcpSocket,
            Connect(([0, 0, 0, 0, 0, 0, 0, 1], 6379).into()),
            Bind(([0, 0, 0, 0], 80).into()),
            UdpSocket,
            LookUp("a.example.com\n".to_owned()),
        );
        let denied = capabilities.map(|(name, what)| (name, CapabilityDenied::not_granted(what)));
        snapshot("capability-denied", denied);
    }

    #[test]
    fn permissions_only_adds_no_objection() {
        let id = ComponentId::new("demo", "a", "main").unwrap();
        let handle = ComponentHandle::new(id, 1);
        assert_eq!(
            PermissionsOnly.validate(&handle, &Capability::Storage),
            Ok(())
        );
    }
}
