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

#[cfg(unix)]
mod sockets {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener;

    use tempfile::tempdir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
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
}
