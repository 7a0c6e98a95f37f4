use std::fmt::{self, Display};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use thiserror::Error;

use wasm_core::text::{EscapedPath, Quoted};

/// Where a gateway is reached: `127.0.0.1:7070`, `localhost:7070`, `[::1]:7070` or
/// `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// An address of this machine and a port; of the port 0, one that is free.
    Tcp(SocketAddr),
    /// A socket in the file system, which only its owner may connect to.
    Unix(PathBuf),
}

impl ListenAddress {
    /// Whether it is reached from this machine only.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl FromStr for ListenAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let is_path = !path.is_empty() && !path.contains('\0');
            return is_path
                .then(|| Self::Unix(Path::new(path).to_owned()))
                .ok_or_else(invalid);
        }
        let text = text.strip_prefix("http://").unwrap_or(text);
        let text = text.strip_suffix('/').unwrap_or(text);
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| invalid())?;
            return Ok(Self::Tcp(SocketAddr::new(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                port,
            )));
        }
        text.parse().map(Self::Tcp).map_err(|_| invalid())
    }
}

impl Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", EscapedPath(path)),
        }
    }
}

/// A text that is not a [`ListenAddress`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is no address: write an IP address with a port, such as 127.0.0.1:7070 or \
     localhost:7070, or unix:PATH",
    Quoted::new(.0)
)]
pub struct InvalidAddress(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_the_network_or_of_the_file_system() {
        for (text, shown, is_local) in [
            ("127.0.0.1:80", "http://127.0.0.1:80", true),
            ("127.1.2.3:80", "http://127.1.2.3:80", true),
            ("localhost:80", "http://127.0.0.1:80", true),
            ("http://localhost:80/", "http://127.0.0.1:80", true),
            ("[::1]:80", "http://[::1]:80", true),
            ("0.0.0.0:80", "http://0.0.0.0:80", false),
            ("[::]:80", "http://[::]:80", false),
            ("10.0.0.1:80", "http://10.0.0.1:80", false),
            ("unix:a/b.sock", "unix:a/b.sock", true),
        ] {
            let address: ListenAddress = text.parse().unwrap();
            assert_eq!(
                (address.to_string().as_str(), address.is_local()),
                (shown, is_local)
            );
        }
        for text in [
            "",
            "80",
            "localhost",
            "unix:",
            "example.com:80",
            "1.2.3.4",
            "https://1.2.3.4:5",
        ] {
            let error = text.parse::<ListenAddress>().unwrap_err();
            assert_eq!(error, InvalidAddress(text.to_owned()));
        }
    }
}
