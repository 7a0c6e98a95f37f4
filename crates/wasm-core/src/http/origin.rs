//! Where components send HTTP requests.

use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use thiserror::Error;

use super::address::is_public;
use crate::text::Quoted;

const MAX_NAME_BYTES: usize = 253;

/// Where an HTTP request is sent: a scheme, a host and a port, as in `https://api.example.com`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpOrigin {
    is_secure: bool,
    host: Host,
    port: u16,
}

/// An address is one however it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    /// In lower case, without a dot at the end.
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// `None` for what is neither. An address of IPv6 may be in brackets.
    fn of(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(is_plain);
        let is_name = name.len() <= MAX_NAME_BYTES && name.split('.').all(is_label);
        is_name.then_some(Self::Name(name))
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

fn default_port(is_secure: bool) -> u16 {
    if is_secure { 443 } else { 80 }
}

impl HttpOrigin {
    /// Over TLS or not, to a name or an address, at a port or that of the scheme; `None` for a
    /// host that is neither.
    pub fn new(is_secure: bool, host: &str, port: Option<u16>) -> Option<Self> {
        Some(Self {
            is_secure,
            host: Host::of(host)?,
            port: port.unwrap_or(default_port(is_secure)),
        })
    }

    /// Whether it is reached over TLS.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, where it is not named; `None` for one that is to be resolved.
    pub fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    /// The name or the address, as it is written without a port.
    pub fn host(&self) -> String {
        match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(address) => address.to_string(),
        }
    }
}

impl Display for HttpOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.host)?;
        match self.port == default_port(self.is_secure) {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

/// Where a permission lets a component send HTTP requests: `https://api.example.com`,
/// `http://localhost:*` at any port, `https://*.example.com` for all names below one, or
/// `https://*` for all names.
///
/// A name stands for no address that is this machine's, of a private network, of a link or of
/// nobody, whatever it resolves to: such an address is granted as it is, as in
/// `http://10.0.0.5:8080`, and those of this machine as `http://localhost:*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpPattern {
    is_secure: bool,
    hosts: Hosts,
    /// `None`: any.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Hosts {
    All,
    /// `.example.com`
    Below(String),
    One(Host),
}

impl Hosts {
    fn have(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::All, _) => true,
            (Self::Below(end), Host::Name(name)) => name.ends_with(end.as_str()),
            (Self::Below(_), Host::Address(_)) => false,
            (Self::One(one), host) => one == host,
        }
    }
}

impl HttpPattern {
    /// Whether requests may be sent to this origin, as far as its name tells.
    pub fn matches(&self, origin: &HttpOrigin) -> bool {
        self.is_about(origin) && self.hosts.have(&origin.host)
    }

    fn is_about(&self, origin: &HttpOrigin) -> bool {
        let is_port = self.port.is_none_or(|port| port == origin.port);
        self.is_secure == origin.is_secure && is_port
    }

    /// Whether it grants the address itself that an origin was resolved to, for its scheme and
    /// port.
    fn names(&self, origin: &HttpOrigin, address: IpAddr) -> bool {
        let is_named = match &self.hosts {
            Hosts::One(Host::Address(one)) => one.to_canonical() == address.to_canonical(),
            Hosts::One(Host::Name(name)) => {
                name == "localhost" && address.to_canonical().is_loopback()
            }
            Hosts::All | Hosts::Below(_) => false,
        };
        self.is_about(origin) && is_named
    }

    /// Whether one of `patterns` lets a request to `origin` be sent to this address of it.
    pub(crate) fn any_reaches(patterns: &[Self], origin: &HttpOrigin, address: IpAddr) -> bool {
        let is_granted = patterns.iter().any(|pattern| pattern.matches(origin));
        let is_named = || {
            patterns
                .iter()
                .any(|pattern| pattern.names(origin, address))
        };
        is_granted && (is_public(address) || is_named())
    }

    /// Whether everything that `other` grants is granted by this pattern, too.
    pub fn covers(&self, other: &Self) -> bool {
        let has_hosts = match (&self.hosts, &other.hosts) {
            // All names are not all addresses.
            (Hosts::All, Hosts::One(Host::Name(name))) => name != "localhost",
            (Hosts::All, Hosts::One(Host::Address(address))) => is_public(*address),
            (Hosts::All, _) => true,
            (Hosts::Below(end), Hosts::Below(other)) => other.ends_with(end.as_str()),
            (Hosts::Below(_), Hosts::One(host)) => self.hosts.have(host),
            (one, other) => one == other,
        };
        let has_ports = self.port.is_none() || self.port == other.port;
        self.is_secure == other.is_secure && has_ports && has_hosts
    }
}

impl FromStr for HttpPattern {
    type Err = InvalidHttpPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).ok_or_else(|| InvalidHttpPattern(text.to_owned()))
    }
}

impl HttpPattern {
    fn read(text: &str) -> Option<Self> {
        let (scheme, authority) = text.split_once("://")?;
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        // The last colon is one of an address in brackets, or before the port.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let port = match port {
            None => Some(default_port(is_secure)),
            Some("*") => None,
            Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
        };
        let hosts = match host.strip_prefix('*') {
            Some("") => Hosts::All,
            Some(end) => match Host::of(end.strip_prefix('.')?)? {
                Host::Name(name) => Hosts::Below(format!(".{name}")),
                Host::Address(_) => return None,
            },
            None => Hosts::One(Host::of(host)?),
        };
        Some(Self {
            is_secure,
            hosts,
            port,
        })
    }
}

impl Display for HttpPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_secure { "https" } else { "http" };
        match &self.hosts {
            Hosts::All => write!(f, "{scheme}://*")?,
            Hosts::Below(end) => write!(f, "{scheme}://*{end}")?,
            Hosts::One(host) => write!(f, "{scheme}://{host}")?,
        }
        match self.port {
            None => f.write_str(":*"),
            Some(port) if port == default_port(self.is_secure) => Ok(()),
            Some(port) => write!(f, ":{port}"),
        }
    }
}

/// A text that is no [`HttpPattern`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is nowhere to send requests: write `http://` or `https://`, a name, an address or \
     `*.` before a name, and if it is another than the scheme's, `:` and a port or `*`, as in \
     \"https://api.example.com\" or \"http://localhost:*\"",
    Quoted::new(.0)
)]
pub struct InvalidHttpPattern(String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::snapshot;

    fn pattern(text: &str) -> HttpPattern {
        text.parse().unwrap()
    }

    fn origin(text: &str) -> HttpOrigin {
        let (scheme, authority) = text.split_once("://").unwrap();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        HttpOrigin::new(scheme == "https", host, port).unwrap()
    }

    #[test]
    fn an_origin_is_where_a_connection_goes() {
        let parts = |text: &str| {
            let origin = origin(text);
            let address = origin.address().is_some();
            (origin.is_secure(), origin.host(), origin.port(), address)
        };
        let of = |is_secure, host: &str, port, is_address| {
            (is_secure, host.to_owned(), port, is_address)
        };
        for (text, expected) in [
            (
                "https://API.example.com.",
                of(true, "api.example.com", 443, false),
            ),
            (
                "http://api.example.com",
                of(false, "api.example.com", 80, false),
            ),
            ("http://10.0.0.1:8080", of(false, "10.0.0.1", 8080, true)),
            ("https://[::1]", of(true, "::1", 443, true)),
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_pattern_is_about_a_scheme_hosts_and_ports() {
        for (granted, sent, matches) in [
            ("https://api.example.com", "https://api.example.com", true),
            ("https://api.example.com", "https://API.example.com.", true),
            (
                "https://api.example.com",
                "https://api.example.com:443",
                true,
            ),
            (
                "https://api.example.com",
                "http://api.example.com:443",
                false,
            ),
            (
                "https://api.example.com",
                "https://api.example.com:8443",
                false,
            ),
            (
                "https://api.example.com",
                "https://api.example.com.evil.org",
                false,
            ),
            ("https://api.example.com", "https://xapi.example.com", false),
            ("https://*.example.com", "https://api.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://evilexample.com", false),
            ("https://*", "https://anything.org", true),
            ("https://*", "http://anything.org", false),
            ("http://localhost:*", "http://localhost:8080", true),
            ("http://localhost:*", "http://localhost", true),
            ("http://localhost:*", "http://127.0.0.1:8080", false),
            ("http://10.0.0.5:8080", "http://10.0.0.5:8080", true),
            ("http://10.0.0.5:8080", "http://10.0.0.5", false),
            ("http://[::1]:80", "http://[::1]", true),
            ("http://[::1]", "http://[0:0::1]", true),
        ] {
            assert_eq!(
                pattern(granted).matches(&origin(sent)),
                matches,
                "{granted} {sent}"
            );
        }
    }

    #[test]
    fn a_name_stands_for_public_addresses_only() {
        for (granted, sent, address, reaches) in [
            (&["https://a.org"][..], "https://a.org", "1.1.1.1", true),
            (&["https://a.org"], "https://a.org", "127.0.0.1", false),
            (
                &["https://a.org"],
                "https://a.org",
                "169.254.169.254",
                false,
            ),
            (&["https://a.org"], "https://a.org", "10.1.2.3", false),
            (
                &["https://a.org"],
                "https://a.org",
                "::ffff:10.1.2.3",
                false,
            ),
            (
                &["https://*"],
                "https://169.254.169.254",
                "169.254.169.254",
                false,
            ),
            (&["https://*"], "https://localhost", "127.0.0.1", false),
            (
                &["http://localhost:*"],
                "http://localhost:1",
                "127.0.0.1",
                true,
            ),
            (&["http://localhost:*"], "http://localhost:1", "::1", true),
            (
                &["http://localhost:*"],
                "http://localhost:1",
                "10.0.0.1",
                false,
            ),
            (&["http://10.0.0.5"], "http://10.0.0.5", "10.0.0.5", true),
            // Whoever is granted both reaches one as the other.
            (
                &["http://db", "http://10.0.0.5"],
                "http://db",
                "10.0.0.5",
                true,
            ),
            (
                &["http://db", "http://10.0.0.5"],
                "http://db",
                "10.0.0.6",
                false,
            ),
            (
                &["https://db", "http://10.0.0.5"],
                "https://db",
                "10.0.0.5",
                false,
            ),
            (
                &["http://db:1", "http://10.0.0.5:2"],
                "http://db:1",
                "10.0.0.5",
                false,
            ),
            (&["https://b.org"], "https://a.org", "1.1.1.1", false),
        ] {
            let granted: Vec<_> = granted.iter().map(|text| pattern(text)).collect();
            let address = address.parse().unwrap();
            let reached = HttpPattern::any_reaches(&granted, &origin(sent), address);
            assert_eq!(reached, reaches, "{granted:?} {sent} {address}");
        }
    }

    #[test]
    fn a_pattern_covers_what_it_grants_all_of() {
        for (wide, narrow, covers) in [
            ("https://*", "https://a.org", true),
            ("https://*", "https://*.a.org", true),
            ("https://*", "https://*", true),
            ("https://*", "https://localhost", false),
            ("https://*", "https://10.0.0.1", false),
            ("https://*", "https://1.1.1.1", true),
            ("https://*", "http://a.org", false),
            ("https://*:*", "https://a.org:8443", true),
            ("https://*", "https://a.org:8443", false),
            ("https://a.org", "https://a.org:*", false),
            ("https://*.a.org", "https://b.a.org", true),
            ("https://*.a.org", "https://*.b.a.org", true),
            ("https://*.a.org", "https://a.org", false),
            ("https://a.org", "https://*", false),
        ] {
            assert_eq!(
                pattern(wide).covers(&pattern(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in [
            "https://api.example.com",
            "http://localhost:*",
            "https://*.example.com:8443",
            "https://*",
            "http://[::1]:8080",
            "http://10.0.0.5",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("https://A.org.:443").to_string(), "https://a.org");
        assert_eq!(origin("http://A.org:80").to_string(), "http://a.org");
        assert_eq!(origin("http://[::1]:81").to_string(), "http://[::1]:81");
        for bad in [
            "",
            "a.org",
            "ftp://a.org",
            "https://",
            "https://a.org/",
            "https://a.org/x",
            "https://u@a.org",
            "https://a b",
            "https://a.org:",
            "https://a.org:0",
            "https://a.org:99999",
            "https://a..org",
            "https://*a.org",
            "https://*.1.1.1.1",
            "https://a.*.org",
            "https://[::1",
            "https://::1",
            "HTTPS://a.org",
            "*://a.org",
        ] {
            assert!(bad.parse::<HttpPattern>().is_err(), "{bad}");
        }
        let error = "a.org".parse::<HttpPattern>().unwrap_err();
        snapshot("invalid-http-pattern", [("InvalidHttpPattern", error)]);
    }
}
