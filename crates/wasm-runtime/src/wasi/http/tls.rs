//! Whom a component's requests over TLS trust: those whom this machine trusts.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use wasm_core::HttpOrigin;

static CONFIG: OnceCell<Arc<ClientConfig>> = OnceCell::const_new();

/// Speaks TLS with the host of this origin, whose certificate must be for it.
pub(super) async fn connect(
    origin: &HttpOrigin,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    let name = match origin.address() {
        Some(address) => ServerName::IpAddress(address.into()),
        None => ServerName::try_from(origin.host()).map_err(io::Error::other)?,
    };
    let config = CONFIG.get_or_try_init(config).await?;
    let connector = TlsConnector::from(Arc::clone(config));
    connector.connect(name, stream).await
}

/// Reads the certificates of the system, once: those that `SSL_CERT_FILE` and `SSL_CERT_DIR`
/// name, or those that its package of them has put where it does.
async fn config() -> io::Result<Arc<ClientConfig>> {
    let found = spawn_blocking(rustls_native_certs::load_native_certs);
    let found = found.await.map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    let (known, _) = roots.add_parsable_certificates(found.certs);
    if known == 0 {
        tracing::warn!(
            "no certificates are found that requests over TLS could trust (SSL_CERT_FILE names a \
             file of them)"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
