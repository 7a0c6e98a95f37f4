//! TLS from files, which are read again when they change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use wasm_core::text::EscapedPath;

/// How often it is looked whether the files are others.
const LOOK: Duration = Duration::from_secs(5);

/// A certificate and its key, as they are in two files.
#[derive(Debug)]
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<ServerConfig>>,
}

/// Why files cannot be used for TLS.
#[derive(Debug, Error)]
#[error("{} cannot be used for TLS: {reason}", EscapedPath(path))]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

impl Tls {
    /// Reads a chain of certificates, that of the server first, and its key, both in PEM.
    /// What is served is TLS 1.2 and 1.3. It blocks.
    ///
    /// # Errors
    /// [`TlsError`], for a file that cannot be read or has nothing of that kind, and for a key
    /// that is not that of the certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        Ok(Self {
            current: RwLock::new(Arc::new(config(certificate, key)?)),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reads the files whenever they change. Until both fit together, what was read before
    /// stays.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut known = self.stamps();
        loop {
            sleep(LOOK).await;
            let stamps = self.stamps();
            if stamps == known {
                continue;
            }
            let tls = Arc::clone(&self);
            match spawn_blocking(move || tls.read_again()).await {
                Ok(Ok(())) => known = stamps,
                Ok(Err(error)) => tracing::warn!("{error}; what was read before stays"),
                Err(_) => {}
            }
        }
    }

    fn read_again(&self) -> Result<(), TlsError> {
        let config = Arc::new(config(&self.certificate, &self.key)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    fn stamps(&self) -> [Option<SystemTime>; 2] {
        [&self.certificate, &self.key].map(|file| fs::metadata(file).ok()?.modified().ok())
    }
}

fn config(certificate: &Path, key: &Path) -> Result<ServerConfig, TlsError> {
    let error = |path: &Path, reason: String| TlsError {
        path: path.to_owned(),
        reason,
    };
    let chain = CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain: Vec<_> = chain.map_err(|it| error(certificate, it.to_string()))?;
    if chain.is_empty() {
        return Err(error(
            certificate,
            "there is no certificate in it".to_owned(),
        ));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|it| error(key, it.to_string()))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|it| error(certificate, it.to_string()))?;
    let mut config = builder
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|it| error(key, it.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
