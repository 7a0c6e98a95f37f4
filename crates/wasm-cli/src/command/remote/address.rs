//! Where a host is that is asked.

use std::fmt::{self, Display};
use std::str::FromStr;

use wasm_core::text::Quoted;
use wasm_gateway::ListenAddress;

/// As `up --listen` has it, or `https://NAME:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostAddress {
    Plain(ListenAddress),
    /// The name or the address, and the port.
    Tls(String, u16),
}

const HTTPS: &str = "https://";
const HTTPS_PORT: u16 = 443;

impl HostAddress {
    /// As `Host` names it.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Plain(ListenAddress::Tcp(address)) => address.to_string(),
            Self::Plain(ListenAddress::Unix(_)) => "localhost".to_owned(),
            Self::Tls(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tls(host, port) => format!("{host}:{port}"),
        }
    }
}

impl FromStr for HostAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some(rest) = text.strip_prefix(HTTPS) else {
            let address = text.parse().map(Self::Plain);
            return address.map_err(|error: wasm_gateway::InvalidAddress| {
                format!("{error}, or https://NAME:PORT")
            });
        };
        let invalid = || {
            let shown = Quoted::new(text);
            format!("{shown} is no address: write https:// with a name or an address, and a port")
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().map_err(|_| invalid())?)
            }
            _ => (authority, HTTPS_PORT),
        };
        let host = match host.strip_prefix('[') {
            Some(host) => host.strip_suffix(']').ok_or_else(invalid)?,
            None => host,
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
        match !host.is_empty() && host.bytes().all(is_plain) {
            true => Ok(Self::Tls(host.to_owned(), port)),
            false => Err(invalid()),
        }
    }
}

impl Display for HostAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => address.fmt(f),
            Self::Tls(..) => write!(f, "{HTTPS}{}", self.authority()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_one_of_up_or_of_a_name() {
        for (text, shown, authority) in [
            ("127.0.0.1:80", "http://127.0.0.1:80", "127.0.0.1:80"),
            ("unix:a.sock", "unix:a.sock", "localhost"),
            (
                "https://shop.example",
                "https://shop.example:443",
                "shop.example:443",
            ),
            (
                "https://shop.example:8443/",
                "https://shop.example:8443",
                "shop.example:8443",
            ),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
            ("https://10.0.0.1:1", "https://10.0.0.1:1", "10.0.0.1:1"),
        ] {
            let address: HostAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(address.authority(), authority);
        }
        for bad in [
            "",
            "shop.example",
            "https://",
            "https://a b",
            "https://a:x",
            "https://a/b",
        ] {
            assert!(bad.parse::<HostAddress>().is_err(), "{bad}");
        }
    }
}
