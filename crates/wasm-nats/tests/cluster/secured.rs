//! Servers with certificates, and users with credentials.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

use wasm_nats::{Connection, NatsConfig, NatsError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

use crate::member::{Setup, fixture, settled};
use crate::server::Server;

fn openssl(folder: &Path, line: &str) {
    let ran = Command::new("openssl")
        .args(line.split_ascii_whitespace())
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(ran.status.success(), "{ran:?}");
}

/// Whoever signs, and what is signed: certificates in a folder.
fn certificates() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let extensions = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\n";
    std::fs::write(folder.path().join("extensions"), extensions).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for line in [
        format!("req -x509 {key} -days 1 -subj /CN=authority -keyout ca.key -out ca.pem"),
        format!("req {key} -subj /CN=server -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 1 \
         -extfile extensions -out server.pem"
            .to_owned(),
    ] {
        openssl(folder.path(), &line);
    }
    folder
}

pub(crate) async fn a_server_is_trusted_by_its_certificate() {
    let folder = certificates();
    let file = |name: &str| folder.path().join(name);
    let server = Server::start_with(&format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\n",
        file("server.pem"),
        file("server.key")
    ));
    let mut setup = Setup::new(server.url(), vec![fixture("echo", ECHO)]);
    setup.tls_ca = Some(file("ca.pem"));
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    assert_eq!(a.told("echo", "hello").await, "hello");
    a.leave().await;
    // Another authority has signed nothing here.
    let other = certificates();
    setup.tls_ca = Some(other.path().join("ca.pem"));
    let error = setup.join_with("b", ModelEngine::new).await.err().unwrap();
    assert!(matches!(error, NatsError::Connect { .. }), "{error}");
}

/// Who may do what, signed.
fn token(issuer: &KeyPair, subject: &KeyPair, name: &str, says: &Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = encode(&json!({ "typ": "JWT", "alg": "ed25519-nkey" }));
    let claims = encode(&json!({
        "jti": name, "iat": 1, "name": name, "nats": says,
        "iss": issuer.public_key(), "sub": subject.public_key(),
    }));
    let signed = format!("{header}.{claims}");
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn credentials(folder: &Path, name: &str, account: &KeyPair) -> PathBuf {
    let user = KeyPair::new_user();
    let says = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let (token, seed) = (token(account, &user, name, &says), user.seed().unwrap());
    let path = folder.join(name);
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) async fn a_user_is_known_by_a_file_of_credentials() {
    let folder = tempfile::tempdir().unwrap();
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let of_operator = token(
        &operator,
        &operator,
        "operator",
        &json!({ "type": "operator", "version": 2 }),
    );
    let says = json!({ "type": "account", "version": 2, "limits": limits });
    let of_account = token(&operator, &account, "account", &says);
    // That of the servers themselves, which has no streams.
    let system = KeyPair::new_account();
    let says = json!({ "type": "account", "version": 2, "limits": {
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1,
    } });
    let of_system = token(&operator, &system, "system", &says);
    let (account_id, system_id) = (account.public_key(), system.public_key());
    let server = Server::start_with(&format!(
        "operator: \"{of_operator}\"\nresolver: MEMORY\nsystem_account: {system_id}\n\
         resolver_preload: {{ {account_id}: \"{of_account}\", {system_id}: \"{of_system}\" }}\n"
    ));
    let mut setup = Setup::new(server.url(), vec![fixture("echo", ECHO)]);
    setup.credentials = Some(credentials(folder.path(), "nodes.creds", &account));
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    assert_eq!(a.told("echo", "hello").await, "hello");
    a.leave().await;
    // Those of an account that nobody knows here, and none at all.
    let stranger = credentials(folder.path(), "stranger.creds", &KeyPair::new_account());
    for credentials in [Some(stranger), None] {
        let mut config = NatsConfig::new(server.url(), "b");
        config.credentials = credentials;
        let error = Connection::open(config).await.err().unwrap();
        assert!(matches!(error, NatsError::Connect { .. }), "{error}");
    }
    let mut config = NatsConfig::new(server.url(), "b");
    config.credentials = Some(folder.path().join("nobody.creds"));
    let error = Connection::open(config).await.err().unwrap();
    assert!(error.to_string().contains("nobody.creds"), "{error}");
}
