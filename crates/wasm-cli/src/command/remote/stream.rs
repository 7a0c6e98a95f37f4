//! Connections to who is asked.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::command::remote::tls;

/// Over which it is asked.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a host by its name or address, over TLS if it is to be secure.
pub(crate) async fn connect(host: &str, port: u16, is_secure: bool) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect((host, port)).await?;
    match is_secure {
        true => Ok(Box::new(tls::connect(host, stream).await?)),
        false => Ok(Box::new(stream)),
    }
}
