//! TLS from files, which are read again when they change.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use blake3::Hash;
use metrics::{describe_gauge, gauge};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::ring;
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
    current: RwLock<Served>,
    /// What the files had when they were read last, or why they were not.
    seen: Mutex<Result<[Hash; 2], String>>,
    /// Why clients refuse what is served, as it was told last.
    refused: Mutex<Option<CertificateError>>,
}

/// What a connection begins with.
#[derive(Debug)]
struct Served {
    config: Arc<ServerConfig>,
    /// The certificate of the server itself.
    certificate: CertificateDer<'static>,
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
    /// that is not that of the certificate. One that clients will refuse, such as one that has
    /// expired, is told of in the log.
    pub fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let files = Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        let contents = files.read()?;
        let tls = Self {
            current: RwLock::new(files.served(&contents)?),
            seen: Mutex::new(Ok(contents.digests())),
            refused: Mutex::new(None),
            files,
        };
        tls.examine(UnixTime::now());
        Ok(tls)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(&current.config))
    }

    /// Reads the files again and again. Until both fit together, what was read before stays. It
    /// is measured from when to when the certificate is valid, and told when it expires.
    pub(crate) async fn follow(self: Arc<Self>) {
        loop {
            let tls = Arc::clone(&self);
            let looked = spawn_blocking(move || {
                let looked = tls.look();
                tls.examine(UnixTime::now());
                looked
            });
            if let Ok(Err(error)) = looked.await {
                tracing::warn!("{error}; what was read before stays");
            }
            sleep(LOOK).await;
        }
    }

    /// Tells why clients refuse what is served, once for each reason, and measures for how long
    /// they do not.
    fn examine(&self, now: UnixTime) {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        let path = EscapedPath(&self.files.certificate);
        if let Some(reason) = self.newly_refused(&current.certificate, now) {
            tracing::warn!("{path}: clients will refuse the certificate: {reason}");
        }
        if let Some([not_before, not_after]) = validity(&current.certificate) {
            let file = path.to_string();
            describe_gauge!(
                "wasm_tls_not_before_seconds",
                "From when a certificate is valid, in seconds of Unix time."
            );
            describe_gauge!(
                "wasm_tls_not_after_seconds",
                "Until when a certificate is valid, in seconds of Unix time."
            );
            gauge!("wasm_tls_not_before_seconds", "file" => file.clone()).set(not_before as f64);
            gauge!("wasm_tls_not_after_seconds", "file" => file).set(not_after as f64);
        }
    }

    fn newly_refused(&self, certificate: &CertificateDer<'_>, now: UnixTime) -> Option<String> {
        let refused = refused_because(certificate, now);
        let mut told = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = |error: &Option<CertificateError>| error.as_ref().map(mem::discriminant);
        if kind(&told) == kind(&refused) {
            return None;
        }
        told.clone_from(&refused);
        refused.map(|error| reason_of(&error))
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
        let served = self.files.served(&read?)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = served;
        // Of another certificate everything is told anew.
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
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

    fn served(&self, contents: &Contents) -> Result<Served, TlsError> {
        let in_certificate = |reason| unusable(&self.certificate, reason);
        let in_key = |reason| unusable(&self.key, reason);
        let chain = pem::certificates(&contents.certificate).map_err(in_certificate)?;
        let key = pem::key(&contents.key).map_err(in_key)?;
        let Some(certificate) = chain.first().cloned() else {
            return Err(in_certificate("there is no certificate in it".to_owned()));
        };
        ParsedCertificate::try_from(&certificate).map_err(|error| {
            let reason = told(&error);
            in_certificate(format!("the first certificate cannot be used: {reason}"))
        })?;
        let provider = Arc::new(ring::default_provider());
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
        Ok(Served {
            config: Arc::new(config),
            certificate,
        })
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

/// Why clients refuse a certificate at a time although they trust whoever signed it, as far as
/// it says itself.
fn refused_because(certificate: &CertificateDer<'_>, at: UnixTime) -> Option<CertificateError> {
    let certificate = ParsedCertificate::try_from(certificate).ok()?;
    // What it says is looked at before whoever signed it, and when it is valid first of all.
    let nobody = RootCertStore::empty();
    let algorithms = ring::default_provider().signature_verification_algorithms;
    let verified =
        verify_server_cert_signed_by_trust_anchor(&certificate, &nobody, &[], at, algorithms.all);
    match verified {
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => None,
        Err(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    }
}

/// From when to when it is valid, in seconds since 1970.
fn validity(certificate: &CertificateDer<'_>) -> Option<[u64; 2]> {
    let at = |seconds| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        refused_because(certificate, at)
    };
    let not_before = match at(0) {
        Some(CertificateError::NotValidYetContext { not_before, .. }) => not_before.as_secs(),
        _ => 0,
    };
    match at(u64::MAX) {
        Some(CertificateError::ExpiredContext { not_after, .. }) => {
            Some([not_before, not_after.as_secs()])
        }
        _ => None,
    }
}

/// What is wrong with a certificate or a key.
fn told(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => reason_of(error),
        rustls::Error::General(reason) => reason.clone(),
        other => other.to_string(),
    }
}

fn reason_of(error: &CertificateError) -> String {
    let other = match error {
        CertificateError::ExpiredContext { time, not_after } => {
            let ago = time.as_secs().saturating_sub(not_after.as_secs());
            return format!("it expired {} ago (`--tls-cert`)", in_words(ago));
        }
        CertificateError::NotValidYetContext { time, not_before } => {
            let ahead = not_before.as_secs().saturating_sub(time.as_secs());
            return format!(
                "it is not valid for another {} (`--tls-cert`)",
                in_words(ahead)
            );
        }
        CertificateError::Other(other) => other,
        other => return other.to_string(),
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

/// In the largest unit of which there is a whole one.
fn in_words(seconds: u64) -> String {
    let units = [("d", 24 * 60 * 60), ("h", 60 * 60), ("m", 60), ("s", 1)];
    let unit = units.iter().find(|(_, length)| seconds >= *length);
    let (name, length) = unit.unwrap_or(&("s", 1));
    format!("{}{name}", seconds / length)
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
        let current = || Arc::as_ptr(&tls.current.read().unwrap().config).addr();
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
            let refused = refused_because(&chain[0], UnixTime::now());
            assert_eq!(refused.is_some(), told.is_some(), "{refused:?}");
            let refused = refused.as_ref().map(reason_of).unwrap_or_default();
            assert!(refused.contains(told.unwrap_or_default()), "{refused}");
        }
    }

    #[test]
    fn a_certificate_that_expires_while_it_is_served_is_told_of_once() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "it", "CA:FALSE");
        let tls = Tls::read(&certificate, &key).unwrap();
        let current = tls.current.read().unwrap();
        let [not_before, not_after] = validity(&current.certificate).unwrap();
        assert_eq!(not_after - not_before, 24 * 60 * 60);
        let told = |seconds| {
            let at = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
            tls.newly_refused(&current.certificate, at)
        };
        let expired = "it expired 2h ago (`--tls-cert`)".to_owned();
        let early = "it is not valid for another 3m (`--tls-cert`)".to_owned();
        for (at, expected) in [
            (not_before - 180, Some(early.clone())),
            (not_before - 60, None),
            (not_before, None),
            (not_after, None),
            (not_after + 7_200, Some(expired)),
            (not_after + 7_205, None),
            // The clock of the machine is set.
            (not_before - 180, Some(early)),
        ] {
            assert_eq!(told(at), expected, "{at}");
        }
    }
}
