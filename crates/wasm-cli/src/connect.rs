//! Connections to a host by its name or address. Over TLS, if they are to be secure: its
//! certificate must be for its name, and of those whom this machine trusts.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use wasm_core::units::format_duration;

/// How long a host may take to accept a connection, and then to agree on TLS: a few ways there
/// and back, on which a packet may be lost twice.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// What a connection is read from and written to.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a host by its name or address, over TLS if it is to be secure.
pub(crate) async fn connect(host: &str, port: u16, is_secure: bool) -> io::Result<Box<dyn Stream>> {
    let stream = accepted(TcpStream::connect((host, port))).await?;
    match is_secure {
        true => Ok(Box::new(secured(host, stream).await?)),
        false => Ok(Box::new(stream)),
    }
}

/// A connection, unless nobody accepts it in time.
pub(crate) async fn accepted<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    in_time("the connection is not accepted", connecting).await
}

async fn in_time<T>(late: &str, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let too_late = |_| {
        let within = format_duration(CONNECT_TIME);
        io::Error::new(ErrorKind::TimedOut, format!("{late} within {within}"))
    };
    timeout(CONNECT_TIME, work).await.map_err(too_late)?
}

async fn secured(host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let found = spawn_blocking(rustls_native_certs::load_native_certs);
    let found = found.await.map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let config = builder.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connector = TlsConnector::from(Arc::new(config));
    let agreed = in_time("TLS is not agreed on", connector.connect(name, stream)).await;
    agreed.map_err(|error| {
        let of_tls = error.get_ref().and_then(|it| it.downcast_ref());
        match of_tls.map(refusal) {
            Some(words) => io::Error::new(error.kind(), words),
            None => error,
        }
    })
}

/// Why TLS was not agreed on, for people.
fn refusal(error: &rustls::Error) -> String {
    use CertificateError as Why;

    let why = match error {
        rustls::Error::InvalidCertificate(why) => why,
        rustls::Error::InvalidMessage(_) => return "what answers there is not TLS".to_owned(),
        other => return in_words(&other.to_string()),
    };
    match why {
        Why::UnknownIssuer => "this machine does not trust whoever made its certificate; \
                               SSL_CERT_FILE names a file with certificates to trust"
            .to_owned(),
        Why::Expired | Why::ExpiredContext { .. } => "its certificate has expired".to_owned(),
        Why::NotValidYet | Why::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        Why::NotValidForName => "its certificate is for another name".to_owned(),
        Why::NotValidForNameContext { presented, .. } => {
            let names: Vec<&str> = presented.iter().map(|it| inner(it)).collect();
            format!("its certificate is for other names: {}", names.join(", "))
        }
        // Known by its name alone: the type is that of a library below.
        Why::Other(other) if other.to_string() == "CaUsedAsEndEntity" => {
            "its certificate is one that signs others, and not a server's, which has the basic \
             constraint CA:FALSE"
                .to_owned()
        }
        other => {
            let name = match other {
                Why::Other(other) => other.to_string(),
                // What is beside the name are numbers of standards.
                other => format!("{other:?}"),
            };
            let end = name.find(|c: char| !c.is_ascii_alphanumeric());
            let name = &name[..end.unwrap_or(name.len())];
            format!("its certificate is not accepted: {}", in_words(name))
        }
    }
}

/// The name in `DnsName("localhost")` or `IpAddress(127.0.0.1)`.
fn inner(presented: &str) -> &str {
    let name = presented.split_once('(').map_or(presented, |(_, it)| it);
    name.trim_matches(['"', ')'])
}

/// Names of types, such as `BadSignature`, which the library has in place of words.
fn in_words(text: &str) -> String {
    let mut words = String::new();
    let mut is_in_word = false;
    for c in text.chars() {
        if c.is_ascii_uppercase() && is_in_word {
            words.push(' ');
        }
        words.push(c.to_ascii_lowercase());
        is_in_word = c.is_ascii_lowercase() || c.is_ascii_digit();
    }
    words
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use rustls::{AlertDescription, OtherError};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_accepts_in_time_or_not_at_all() {
        let error = accepted(pending::<io::Result<()>>()).await.unwrap_err();
        let told = "the connection is not accepted within 5s";
        assert_eq!(error.to_string(), told);
    }

    #[test]
    fn what_is_wrong_with_tls_is_told_in_words() {
        let other =
            |name: &str| CertificateError::Other(OtherError(Arc::new(io::Error::other(name))));
        for (error, told) in [
            (
                CertificateError::UnknownIssuer.into(),
                "this machine does not trust",
            ),
            (
                CertificateError::BadSignature.into(),
                "not accepted: bad signature",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("a.example").unwrap(),
                    presented: ["DnsName(\"b.example\")", "IpAddress(10.0.0.1)"]
                        .map(str::to_owned)
                        .into(),
                }
                .into(),
                "for other names: b.example, 10.0.0.1",
            ),
            (
                CertificateError::UnsupportedSignatureAlgorithmContext {
                    signature_algorithm_id: vec![6],
                    supported_algorithms: Vec::new(),
                }
                .into(),
                "not accepted: unsupported signature algorithm context",
            ),
            (other("CaUsedAsEndEntity").into(), "CA:FALSE"),
            (
                other("PathLenConstraintViolated").into(),
                "path len constraint violated",
            ),
            (
                rustls::Error::AlertReceived(AlertDescription::HandshakeFailure),
                "received fatal alert: handshake failure",
            ),
        ] {
            let refusal = refusal(&error);
            assert!(refusal.contains(told), "{refusal}");
        }
    }
}
