//! Certificates and keys in PEM, and what is there in their place.

use std::collections::BTreeSet;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use wasm_core::text::Quoted;

const BEGIN: &str = "-----BEGIN ";

/// How many kinds of things are named that are there in place of what is wanted.
const NAMED: usize = 4;

/// All certificates, in their order.
///
/// # Errors
/// Why there is none, or which of them cannot be read.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match found {
        Ok(found) if found.is_empty() => Err(format!(
            "there is no certificate in it, but {}; the certificate of the server is wanted, and \
             those of its issuers after it (`--tls-cert`)",
            others(pem)
        )),
        found => found.map_err(|error| unreadable(&error)),
    }
}

/// The first private key.
///
/// # Errors
/// Why there is none, or why it cannot be read. Nothing of a key is quoted.
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    match PrivateKeyDer::pem_slice_iter(pem).next() {
        Some(Ok(key)) => Ok(key),
        // Older tools say so in a line of the key, which is no base64.
        None | Some(Err(Error::Base64Decode(_))) if is_encrypted(pem) => Err(
            "the key is encrypted, and nobody is asked for a passphrase; `openssl pkey -in FILE \
             -out NEW_FILE` writes it without one (`--tls-key`)"
                .to_owned(),
        ),
        Some(Err(error)) => Err(unreadable(&error)),
        None => Err(format!(
            "there is no private key in it, but {}; the key of the certificate is wanted \
             (`--tls-key`)",
            others(pem)
        )),
    }
}

fn is_encrypted(pem: &[u8]) -> bool {
    String::from_utf8_lossy(pem).contains("ENCRYPTED")
}

/// What else begins there.
fn others(pem: &[u8]) -> String {
    let text = String::from_utf8_lossy(pem);
    let begins = text.split(['\n', '\r']).filter_map(|line| {
        // What comes after the name may be a secret, where line ends were lost.
        let (name, _) = line.strip_prefix(BEGIN)?.split_once("-----")?;
        Some(name)
    });
    let kinds: BTreeSet<&str> = begins.collect();
    if kinds.is_empty() {
        return "nothing at all in PEM".to_owned();
    }
    let named = kinds.iter().take(NAMED).map(|kind| Quoted::new(kind));
    let named: Vec<String> = named.map(|kind| kind.to_string()).collect();
    named.join(", ")
}

fn unreadable(error: &Error) -> String {
    match error {
        Error::MissingSectionEnd { end_marker } => {
            let name = String::from_utf8_lossy(end_marker);
            format!("{} has no end; it may be cut off", Quoted::new(&name))
        }
        Error::IllegalSectionStart { .. } => format!(
            "a line begins with `{BEGIN}` and does not end with `-----`; its line ends may be lost"
        ),
        Error::Base64Decode(_) => "what is in it between the lines of `-----` is no base64".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str, content: &str) -> String {
        format!("-----BEGIN {name}-----\n{content}\n-----END {name}-----\n")
    }

    #[test]
    fn what_is_there_in_place_of_what_is_wanted_is_named() {
        let others = pem("X509 CRL", "AAAA") + &pem("DH PARAMETERS", "AAAA");
        for (text, certificate, private) in [
            (pem("PRIVATE KEY", "AAAA"), "but \"PRIVATE KEY\";", ""),
            (pem("CERTIFICATE", "AAAA"), "", "but \"CERTIFICATE\";"),
            (
                others,
                "but \"DH PARAMETERS\", \"X509 CRL\";",
                "but \"DH PARAMETERS\", \"X509 CRL\";",
            ),
            (String::new(), "nothing at all in PEM", "nothing at all"),
            (
                pem("ENCRYPTED PRIVATE KEY", "AAAA"),
                "but \"ENCRYPTED PRIVATE KEY\";",
                "is encrypted",
            ),
            (
                pem("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED"),
                "no base64",
                "is encrypted",
            ),
            (pem("PRIVATE KEY", "?"), "no base64", "no base64"),
            (
                pem("PRIVATE KEY", "AAAA").replace("\n-----END", ""),
                "\"PRIVATE KEY\" has no end",
                "\"PRIVATE KEY\" has no end",
            ),
            // A key on one line is not quoted.
            (
                "-----BEGIN PRIVATE KEY-----SECRET".to_owned(),
                "ends may be lost",
                "ends may be lost",
            ),
        ] {
            let found = certificates(text.as_bytes()).err().unwrap_or_default();
            assert!(found.contains(certificate), "{text}{found}");
            let found_key = key(text.as_bytes()).err().unwrap_or_default();
            assert!(found_key.contains(private), "{text}{found_key}");
            assert!(!(found + &found_key).contains("SECRET"), "{text}");
        }
    }
}
