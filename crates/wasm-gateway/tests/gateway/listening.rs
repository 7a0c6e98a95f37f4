//! Where a gateway is reached.

use wasm_gateway::{ListenAddress, ListenError, Listener};

#[tokio::test]
async fn other_machines_reach_it_only_if_they_need_tokens() {
    for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let address: ListenAddress = open.parse().unwrap();
        let refused = Listener::bind(address.clone(), false).await.unwrap_err();
        assert!(
            matches!(&refused, ListenError::Open(at) if *at == address),
            "{refused}"
        );
        assert!(refused.to_string().contains("--token-file"), "{refused}");
    }
    let listener = Listener::bind("0.0.0.0:0".parse().unwrap(), true)
        .await
        .unwrap();
    assert!(matches!(listener.address(), ListenAddress::Tcp(at) if at.port() != 0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), false)
        .await
        .unwrap();
    let refused = Listener::bind(listener.address().clone(), false)
        .await
        .unwrap_err();
    let named = listener.address().to_string();
    assert!(refused.to_string().contains(&named), "{refused}");
}

mod tls {
    use std::process::Command;

    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::support::{Served, gateway};
    use wasm_gateway::Tls;

    /// A certificate for `localhost` and its key, of this name.
    fn make(folder: &TempDir, name: &str) -> [std::path::PathBuf; 2] {
        let [certificate, key] =
            ["pem", "key"].map(|it| folder.path().join(format!("{name}.{it}")));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "1", "-subj", "/CN=localhost"])
            .args(["-addext", "subjectAltName=DNS:localhost", "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        [certificate, key]
    }

    /// What curl prints, which takes no certificate but this one.
    async fn curl(port: u16, trusted: &std::path::Path) -> Result<String, String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(trusted)
            .arg(format!("https://localhost:{port}/healthz"))
            .args(["--ipv4"]);
        let output = tokio::task::spawn_blocking(move || curl.output().unwrap())
            .await
            .unwrap();
        let [stdout, stderr] =
            [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
        if output.status.success() {
            Ok(stdout)
        } else {
            Err(stderr)
        }
    }

    fn port_of(address: &ListenAddress) -> u16 {
        match address {
            ListenAddress::Tcp(address) => address.port(),
            other => panic!("{other}"),
        }
    }

    #[tokio::test]
    async fn it_is_spoken_with_the_certificate_that_the_files_have_now() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "it");
        let tls = Tls::read(&certificate, &key).unwrap();
        let served = Served::over_tls(gateway(&[]).await, tls).await;
        let port = port_of(&served.address);
        let old = folder.path().join("old.pem");
        std::fs::copy(&certificate, &old).unwrap();
        assert_eq!(curl(port, &old).await.as_deref(), Ok("alive\n"));
        // What does not speak it is not answered.
        let plain = served
            .exchange(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await;
        assert!(!plain.contains("alive"), "{plain}");
        make(&folder, "it");
        let began = std::time::Instant::now();
        while curl(port, &certificate).await.as_deref() != Ok("alive\n") {
            assert!(began.elapsed() < crate::support::HANGS);
            tokio::time::sleep(crate::support::SECOND / 5).await;
        }
        curl(port, &old).await.unwrap_err();
    }

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempdir().unwrap();
        let [certificate, key] = make(&folder, "one");
        let [_, other_key] = make(&folder, "other");
        let nowhere = folder.path().join("nowhere.pem");
        for (certificate, key, named) in [
            (&nowhere, &key, "nowhere.pem"),
            (&certificate, &nowhere, "nowhere.pem"),
            (&key, &key, "one.key"),
            (&certificate, &certificate, "one.pem"),
            (&certificate, &other_key, "other.key"),
        ] {
            let error = Tls::read(certificate, key).unwrap_err().to_string();
            assert!(
                error.contains(named) && error.contains("for TLS"),
                "{error}"
            );
        }
    }
}

#[cfg(unix)]
mod sockets {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use tempfile::tempdir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    #[cfg(target_os = "linux")]
    use tokio::net::UnixSocket;
    use tokio::net::UnixStream;

    use super::*;
    use crate::support::gateway;

    #[tokio::test]
    async fn a_socket_is_for_its_owner_and_goes_with_the_server() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        let address = ListenAddress::Unix(path.clone());
        let listener = Listener::bind(address, false).await.unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let gateway = gateway(&[]).await;
        let client = async {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            let text = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            stream.write_all(text).await.unwrap();
            let mut answered = String::new();
            stream.read_to_string(&mut answered).await.unwrap();
            assert!(answered.ends_with("alive\n"), "{answered}");
        };
        gateway.serve(listener, client).await;
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Whatever the number of the process is.
    #[tokio::test]
    async fn the_path_of_a_socket_has_a_bound_that_is_told() {
        let folder = tempdir().unwrap();
        let room = 95 - folder.path().as_os_str().len() - 1;
        let bind =
            |name: String| Listener::bind(ListenAddress::Unix(folder.path().join(name)), false);
        bind("s".repeat(room)).await.unwrap();
        let refused = bind("s".repeat(room + 1)).await.unwrap_err();
        let told = "at most 95 bytes here, and this one has 96";
        assert!(refused.to_string().contains(told), "{refused}");
    }

    #[tokio::test]
    async fn what_a_killed_process_left_is_no_obstacle() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("gateway.sock");
        // Closed without being removed.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let address = ListenAddress::Unix(path.clone());
        let listener = Listener::bind(address.clone(), false).await.unwrap();
        // One that is alive is.
        let refused = Listener::bind(address.clone(), false).await.unwrap_err();
        assert!(matches!(refused, ListenError::Taken(_)), "{refused}");
        drop(listener);
        std::fs::write(&path, "mine").unwrap();
        let refused = Listener::bind(address, false).await.unwrap_err();
        assert!(matches!(refused, ListenError::InTheWay(_)), "{refused}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    /// Its queue of those who connect is full.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn who_is_too_busy_to_answer_is_alive() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("busy.sock");
        let socket = UnixSocket::new_stream().unwrap();
        socket.bind(&path).unwrap();
        let _busy = socket.listen(0).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = UnixStream::connect(&path).await {
            waiting.push(stream);
        }
        let refused = Listener::bind(ListenAddress::Unix(path), false).await;
        let refused = refused.unwrap_err();
        assert!(matches!(refused, ListenError::Taken(_)), "{refused}");
    }
}
