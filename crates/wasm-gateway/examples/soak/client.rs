//! HTTP as far as it is needed.

use std::error::Error;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// A connection from an address of this machine. Each address has ports of its own; one has too
/// few for all, and the system takes longer and longer to find one that is free.
pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    socket.connect(to).await
}

/// A connection on which one request comes after the other.
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
}

/// What was answered, by the connection that it came on.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Client {
    pub(crate) async fn connect(from: Ipv4Addr, to: SocketAddr) -> Outcome<Self> {
        let stream = connect(from, to).await?;
        stream.set_nodelay(true)?;
        let received = Vec::with_capacity(512);
        Ok(Self { stream, received })
    }

    pub(crate) async fn send(&mut self, request: &[u8]) -> Outcome<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.received.clear();
        loop {
            if self.stream.read_buf(&mut self.received).await? == 0 {
                return Err("the connection was closed".into());
            }
            let Some((status, body, length)) = parts(&self.received) else {
                continue;
            };
            if self.received.len() >= body + length {
                let body = &self.received[body..body + length];
                return Ok(Answer { status, body });
            }
        }
    }
}

/// The status, where the body begins and how long it is, once the head is there.
fn parts(received: &[u8]) -> Option<(u16, usize, usize)> {
    let head = received.windows(4).position(|it| it == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&received[..head]).ok()?;
    let status = text.get(9..12)?.parse().ok()?;
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse().ok())?
    });
    Some((status, head, length.unwrap_or(0)))
}

/// The bytes of a request.
pub(crate) fn request(method: &str, path: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// Everything that comes back on a connection of its own.
pub(crate) async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &[u8],
) -> Outcome<String> {
    let request = request(method, path, body);
    let text = String::from_utf8(request)?.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(text.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
