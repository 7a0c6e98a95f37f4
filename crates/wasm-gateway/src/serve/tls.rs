//! TLS from files, which are read again when they change.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use blake3::Hash;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, RootCertStore, ServerConfig};
use thiserror::Error;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use wasm_core::text::{EscapedPath, without_mark};
use wasm_host::{open_regular_file, read_bounded};

use crate::serve::pem;

/// How often it is looked what the files have.
const LOOK: Duration = Duration::from_secs(5);

/// A file of more is something else: chains have some kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// A certificate and its key, as they are in two files.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files had when they were read last, or why they were not.
    seen: Mutex<Result<[Hash; 2], String>>,
}

/// Why files cannot be used for TLS.
#[derive(Debug, Error)]
#[error("{} cannot be used for TLS: {reason}", EscapedPath(path))]
pub struct TlsError {
    path: PathBuf,
    reason: String,
}

#[derive(Debug)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What is in the files.
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// Reads a chain of certificates, that of the server first, and its key, both in PEM and in
    /// regular files of at most 1 MiB. What is served is TLS 1.2 and 1.3. It blocks.
    ///
    /// # Errors
    /// [`TlsError`], for a file that cannot be read or has nothing of that kind, and for a key
    /// that is not that of the certificate.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let contents = files.read()?;
        Ok(Self {
            current: RwLock::new(Arc::new(files.config(&contents)?)),
            seen: Mutex::new(Ok(contents.digests())),
            files,
        })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current))
    }

    /// Reads the files again and again. Until both fit together, what was read before stays.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            sleep(LOOK).await;
            let tls = Arc::clone(&self);
            if let Ok(Err(error)) = spawn_blocking(move || tls.look()).await {
                tracing::warn!("{error}; what was read before stays");
            }
        }
    }

    /// Takes what the files have now, if that is something else than when they were looked at
    /// last, so that an error is told once.
    fn look(&self) -> Result<(), TlsError> {
        let read = self.files.read();
        let now = match &read {
            Ok(contents) => Ok(contents.digests()),
            Err(error) => Err(error.to_string()),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(());
        }
        *seen = now;
        let config = Arc::new(self.files.config(&read?)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |path: &Path| {
            let content =
                open_regular_file(path).and_then(|file| read_bounded(file, MAX_FILE_BYTES));
            content
                .map(without_mark)
                .map_err(|error| unusable(path, error.to_string()))
        };
        Ok(Contents {
            certificate: read(&self.certificate)?,
            key: read(&self.key)?,
        })
    }

    fn config(&self, contents: &Contents) -> Result<ServerConfig, TlsError> {
        let in_certificate = |reason| unusable(&self.certificate, reason);
        let in_key = |reason| unusable(&self.key, reason);
        let chain = pem::certificates(&contents.certificate).map_err(in_certificate)?;
        let key = pem::key(&contents.key).map_err(in_key)?;
        let provider = Arc::new(ring::default_provider());
        let refused = refused_because(&chain, &provider).map_err(in_certificate)?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| in_certificate(error.to_string()))?;
        let config = builder.with_no_client_auth().with_single_cert(chain, key);
        let mut config = config.map_err(|error| {
            in_key(match error {
                rustls::Error::InconsistentKeys(_) => {
                    let certificate = EscapedPath(&self.certificate);
                    format!("it is not the key of the certificate in {certificate} (`--tls-key`)")
                }
                other => told(&other),
            })
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        if let Some(reason) = refused {
            let path = EscapedPath(&self.certificate);
            tracing::warn!("{path}: clients will refuse the certificate: {reason}");
        }
        Ok(config)
    }
}

impl Contents {
    fn digests(&self) -> [Hash; 2] {
        [&self.certificate, &self.key].map(|content| blake3::hash(content))
    }
}

fn unusable(path: &Path, reason: String) -> TlsError {
    TlsError {
        path: path.to_owned(),
        reason,
    }
}

/// Why clients refuse the first certificate although they trust whoever signed it, as far as it
/// says itself.
///
/// # Errors
/// Why it is none.
fn refused_because(
    chain: &[CertificateDer<'_>],
    provider: &CryptoProvider,
) -> Result<Option<String>, String> {
    let Some(first) = chain.first() else {
        return Ok(None);
    };
    let first = ParsedCertificate::try_from(first)
        .map_err(|error| format!("the first certificate cannot be used: {}", told(&error)))?;
    // What it says is looked at before whoever signed it.
    let nobody = RootCertStore::empty();
    let algorithms = provider.signature_verification_algorithms.all;
    let now = UnixTime::now();
    match verify_server_cert_signed_by_trust_anchor(&first, &nobody, &[], now, algorithms) {
        Ok(()) | Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Ok(None)
        }
        Err(error) => Ok(Some(told(&error))),
    }
}

/// What is wrong with a certificate or a key.
fn told(error: &rustls::Error) -> String {
    let error = match error {
        rustls::Error::InvalidCertificate(error) => error,
        rustls::Error::General(reason) => return reason.clone(),
        other => return other.to_string(),
    };
    let CertificateError::Other(other) = error else {
        return error.to_string();
    };
    match other.0.downcast_ref() {
        Some(webpki::Error::CaUsedAsEndEntity) => {
            "it is that of an authority (CA:TRUE), which signs those of servers; `openssl req \
             -x509 -addext basicConstraints=critical,CA:FALSE` makes one of a server (`--tls-cert`)"
        }
        Some(webpki::Error::UnsupportedCertVersion) => {
            "it is not of version 3 of X.509; `openssl x509 -req -extfile` makes it one, with \
             a file of extensions such as `subjectAltName` (`--tls-cert`)"
        }
        _ => return other.to_string(),
    }
    .to_owned()
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::{self, File};
    use std::process::Command;
    use std::sync::mpsc::channel;
    use std::thread;

    use tempfile::{TempDir, tempdir};

    use super::*;

    /// A certificate of itself and its key, of this name.
    fn make(folder: &TempDir, name: &str, constraints: &str) -> [PathBuf; 2] {
        let files = ["pem", "key"].map(|it| folder.path().join(format!("{name}.{it}")));
        let constraints = format!("basicConstraints=critical,{constraints}");
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "1"])
            .args(["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=it"])
            .args(["-addext", &constraints, "-out"])
            .arg(&files[0])
            .arg("-keyout")
            .arg(&files[1])
            .output()
            .expect("openssl is there");
        assert!(made.status.success(), "{made:?}");
        files
    }

    /// Within a minute, or it waits for ever.
    fn within<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = channel();
        thread::spawn(move || sender.send(act()));
        let ended = done.recv_timeout(Duration::from_secs(60));
        ended.expect("it ends within a minute")
    }

    fn pipe(folder: &TempDir) -> PathBuf {
        let pipe = folder.path().join("pipe");
        let made = Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .expect("mkfifo is there");
        assert!(made.success());
        pipe
    }

    #[test]
    fn what_files_have_now_is_taken_and_what_is_wrong_is_told_once() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "it", "CA:FALSE");
        let tls = Arc::new(Tls::read(&certificate, &key).unwrap());
        let current = || Arc::as_ptr(&tls.current.read().unwrap()).addr();
        let look = || {
            let tls = Arc::clone(&tls);
            within(move || tls.look().map_err(|error| error.to_string()))
        };
        let first = current();
        look().unwrap();
        assert_eq!(current(), first);
        for (written, told) in [("rubbish", "no certificate"), ("other", "no certificate")] {
            fs::write(&certificate, written).unwrap();
            let error = look().unwrap_err();
            assert!(error.contains(told), "{error}");
            look().unwrap();
        }
        fs::rename(pipe(&folder), &certificate).unwrap();
        let error = look().unwrap_err();
        assert!(error.contains("it is not a regular file"), "{error}");
        look().unwrap();
        assert_eq!(current(), first);
        // Another pair, and one that is as old.
        fs::remove_file(&certificate).unwrap();
        let [old, _] = make(&folder, "it", "CA:FALSE");
        look().unwrap();
        let second = current();
        assert_ne!(second, first);
        let age = fs::metadata(old).unwrap().modified().unwrap();
        for (new, at) in make(&folder, "new", "CA:FALSE")
            .iter()
            .zip([&certificate, &key])
        {
            File::options()
                .write(true)
                .open(new)
                .unwrap()
                .set_modified(age)
                .unwrap();
            fs::rename(new, at).unwrap();
        }
        look().unwrap();
        assert_ne!(current(), second);
    }

    #[test]
    fn what_has_no_end_is_not_read() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "it", "CA:FALSE");
        let large = folder.path().join("large");
        fs::write(&large, vec![b'\n'; MAX_FILE_BYTES as usize + 1]).unwrap();
        for (path, told) in [
            (pipe(&folder), "it is not a regular file but a pipe (FIFO)"),
            (
                PathBuf::from("/dev/zero"),
                "it is not a regular file but a device",
            ),
            (
                large,
                "it has 1048577B, more than the 1MiB that it may have",
            ),
        ] {
            for [certificate, key] in [[&path, &key], [&certificate, &path]] {
                let (certificate, key) = (certificate.clone(), key.clone());
                let error = within(move || Tls::read(&certificate, &key).unwrap_err());
                let named = EscapedPath(&path);
                let whole = format!("{named} cannot be used for TLS: {told}");
                assert_eq!(error.to_string(), whole);
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_certificate_or_key() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "it", "CA:FALSE");
        for path in [&certificate, &key] {
            let text = fs::read_to_string(path).unwrap();
            fs::write(path, format!("\u{feff}{text}")).unwrap();
        }
        Tls::read(&certificate, &key).unwrap();
    }

    #[test]
    fn what_clients_will_refuse_is_known() {
        let folder = tempdir().unwrap();
        for (constraints, told) in [("CA:FALSE", None), ("CA:TRUE", Some("an authority"))] {
            let [certificate, _] = make(&folder, "it", constraints);
            let chain = pem::certificates(&fs::read(certificate).unwrap()).unwrap();
            let refused = refused_because(&chain, &ring::default_provider()).unwrap();
            assert_eq!(refused.is_some(), told.is_some(), "{refused:?}");
            let refused = refused.unwrap_or_default();
            assert!(refused.contains(told.unwrap_or_default()), "{refused}");
        }
    }
}
