//! What a service manager is told, if there is one that wants to know: systemd and others
//! name a socket for it in `NOTIFY_SOCKET`.

/// Such as `READY=1`. Nobody may listen.
#[cfg(unix)]
pub(crate) fn notify(state: &str) {
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::net::UnixDatagram;

    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    let _ = match path.as_bytes().strip_prefix(b"@") {
        Some(name) => send_to_abstract(&socket, name, state),
        None => socket.send_to(state.as_bytes(), &path),
    };
}

#[cfg(target_os = "linux")]
fn send_to_abstract(
    socket: &std::os::unix::net::UnixDatagram,
    name: &[u8],
    state: &str,
) -> std::io::Result<usize> {
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::SocketAddr;

    let address = SocketAddr::from_abstract_name(name)?;
    socket.send_to_addr(state.as_bytes(), &address)
}

#[cfg(all(unix, not(target_os = "linux")))]
fn send_to_abstract(
    _: &std::os::unix::net::UnixDatagram,
    _: &[u8],
    _: &str,
) -> std::io::Result<usize> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
pub(crate) fn notify(_: &str) {}
