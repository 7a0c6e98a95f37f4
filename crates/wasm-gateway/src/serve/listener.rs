//! Where connections come from.

use std::fmt::{self, Display};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use crate::serve::address::ListenAddress;
use crate::serve::tls::Tls;

/// A place where others connect.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    address: ListenAddress,
    tls: Option<Arc<Tls>>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        listener: UnixListener,
        /// Removed with it.
        _socket: socket::Socket,
    },
}

/// Why nobody can connect there.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ListenError {
    /// Other machines reach the address, and no token is asked for.
    #[error(
        "{0} is reached from other machines, and whoever connects could do everything: a token \
         file is needed (--token-file), or an address of this machine only, such as \
         127.0.0.1:7070 or unix:PATH"
    )]
    Open(ListenAddress),
    /// Something listens there that is alive.
    #[error("another process listens at {0}")]
    Taken(ListenAddress),
    /// The system has no room for a path of this length.
    #[error(
        "{address} cannot be listened at: the path of a socket has at most {most} bytes here, and \
         this one has {bytes}"
    )]
    TooLong {
        /// Where it was.
        address: ListenAddress,
        /// Of the path.
        bytes: usize,
        /// That it may have.
        most: usize,
    },
    /// There is a file that is no socket.
    #[error("{0} cannot be listened at: there is something else than a socket")]
    InTheWay(ListenAddress),
    /// The system does not let it.
    #[error("{address} cannot be listened at: {source}")]
    Refused {
        /// Where it was.
        address: ListenAddress,
        /// What the system says.
        source: io::Error,
    },
}

impl Listener {
    /// Lets others connect. An address that other machines reach is refused unless everybody
    /// needs a token. Of a socket in the file system, one that is left of a process that has
    /// ended is replaced; only its owner may connect; it is removed at the end.
    ///
    /// # Errors
    /// [`ListenError`], for each of these and what the system refuses.
    pub async fn bind(address: ListenAddress, asks_for_tokens: bool) -> Result<Self, ListenError> {
        if !address.is_local() && !asks_for_tokens {
            return Err(ListenError::Open(address));
        }
        let refused = |source| ListenError::Refused {
            address: address.clone(),
            source,
        };
        match &address {
            ListenAddress::Tcp(at) => {
                let listener = TcpListener::bind(at).await.map_err(refused)?;
                let address = ListenAddress::Tcp(listener.local_addr().map_err(refused)?);
                let kind = Kind::Tcp(listener);
                let tls = None;
                Ok(Self { kind, address, tls })
            }
            #[cfg(unix)]
            ListenAddress::Unix(path) => {
                let (listener, _socket) = socket::bind(path, &address).await?;
                let kind = Kind::Unix { listener, _socket };
                let tls = None;
                Ok(Self { kind, address, tls })
            }
            #[cfg(not(unix))]
            ListenAddress::Unix(_) => Err(refused(io::ErrorKind::Unsupported.into())),
        }
    }

    /// Speaks TLS with everybody who connects.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(Arc::new(tls));
        self
    }

    pub(crate) fn tls(&self) -> Option<&Arc<Tls>> {
        self.tls.as_ref()
    }

    /// Where it is, with the port that was free.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// With the address of who it is, where there is one.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, Option<IpAddr>)> {
        match &self.kind {
            Kind::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Answers are written whole; without this, some wait for nothing.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Some(address.ip())))
            }
            #[cfg(unix)]
            Kind::Unix { listener, .. } => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

/// As others write it to connect.
impl Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.address, &self.tls) {
            (ListenAddress::Tcp(address), Some(_)) => write!(f, "https://{address}"),
            (address, _) => write!(f, "{address}"),
        }
    }
}

#[cfg(unix)]
mod socket {
    use std::fs::{self, Permissions};
    use std::io;
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
    use std::path::{Path, PathBuf};
    use std::process;

    use tokio::net::{UnixListener, UnixStream};

    use crate::serve::address::ListenAddress;
    use crate::serve::listener::ListenError;

    /// The path of a socket, in bytes. The system takes 103 everywhere, and where it is made there
    /// is a dot and the number of a process besides.
    const MAX_PATH_BYTES: usize = 95;

    /// A socket in the file system, removed at the end unless it is somebody else's by then.
    #[derive(Debug)]
    pub(super) struct Socket {
        path: PathBuf,
        inode: u64,
    }

    impl Drop for Socket {
        fn drop(&mut self) {
            let is_own = fs::symlink_metadata(&self.path).is_ok_and(|it| it.ino() == self.inode);
            if is_own {
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    pub(super) async fn bind(
        path: &Path,
        address: &ListenAddress,
    ) -> Result<(UnixListener, Socket), ListenError> {
        let refused = |source| ListenError::Refused {
            address: address.clone(),
            source,
        };
        let bytes = path.as_os_str().len();
        if bytes > MAX_PATH_BYTES {
            return Err(ListenError::TooLong {
                address: address.clone(),
                bytes,
                most: MAX_PATH_BYTES,
            });
        }
        if let Ok(there) = fs::symlink_metadata(path) {
            if !there.file_type().is_socket() {
                return Err(ListenError::InTheWay(address.clone()));
            }
            // Whoever is too busy to answer is alive, and so may be one that is another user's.
            match UnixStream::connect(path).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return Err(refused(error));
                }
                _ => return Err(ListenError::Taken(address.clone())),
            }
        }
        place(path).map_err(refused)
    }

    /// Nobody may connect before it is known who may: it is made under another name.
    fn place(path: &Path) -> io::Result<(UnixListener, Socket)> {
        let mut making = path.to_owned().into_os_string();
        making.push(format!(".{}", process::id()));
        let making = PathBuf::from(making);
        // Of a process of the same number that has ended.
        let _ = fs::remove_file(&making);
        let listener = UnixListener::bind(&making)?;
        let placed = fs::set_permissions(&making, Permissions::from_mode(0o600))
            .and_then(|()| fs::symlink_metadata(&making))
            .and_then(|made| fs::rename(&making, path).map(|()| made.ino()));
        match placed {
            Ok(inode) => {
                let path = path.to_owned();
                Ok((listener, Socket { path, inode }))
            }
            Err(error) => {
                let _ = fs::remove_file(&making);
                Err(error)
            }
        }
    }
}

/// One that has connected.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// Why one is not let in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// There are as many as there may be.
    NoRoom,
    /// Its address has as many as one may have.
    TooMany(usize),
}

impl Refusal {
    /// What is said without waiting for what it wants.
    fn answer(&self) -> String {
        let (status, text) = match self {
            Self::NoRoom => (
                "503 Service Unavailable",
                "there is no room for more connections\n".to_owned(),
            ),
            Self::TooMany(most) => (
                "429 Too Many Requests",
                format!("your address has {most} connections open, and may not have more\n"),
            ),
        };
        format!(
            "HTTP/1.1 {status}\r\nRetry-After: 1\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
            text.len()
        )
    }
}

impl Stream {
    /// It may not hear it.
    pub(crate) fn refuse(self, why: Refusal) {
        let answer = why.answer();
        let _ = match &self {
            Self::Tcp(stream) => stream.try_write(answer.as_bytes()),
            #[cfg(unix)]
            Self::Unix(stream) => stream.try_write(answer.as_bytes()),
        };
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Tcp($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            #[cfg(unix)]
            Stream::Unix($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => stream.poll_shutdown(cx))
    }
}
