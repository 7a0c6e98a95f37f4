//! Clients that no server likes, again and again until they are told to end.

use std::fmt::{self, Display};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::client::{Outcome, connect, request};
use crate::server::{BODY_TIME, HEAD_TIME};

const ECHO: &str = "/components/demo/echo/main";

/// Of each kind at a time.
const CLIENTS: u8 = 16;

/// What takes longer than the server allows by so much hangs.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Misbehaving {
    clients: JoinSet<()>,
    counts: Arc<[Count; KINDS.len()]>,
}

#[derive(Default)]
struct Count {
    given_up: AtomicUsize,
    wrong: AtomicUsize,
}

#[derive(Clone, Copy)]
enum Kind {
    ReadsNothing,
    WritesSlowly,
    SaysHalf,
    GoesAway,
    SendsTooMuch,
}

const KINDS: [(Kind, &str); 5] = [
    (Kind::ReadsNothing, "read nothing of their answers"),
    (Kind::WritesSlowly, "sent a byte of their body at a time"),
    (Kind::SaysHalf, "said half of a head"),
    (Kind::GoesAway, "went away within a body"),
    (Kind::SendsTooMuch, "sent too much"),
];

impl Misbehaving {
    pub(crate) fn begin(address: SocketAddr) -> Self {
        let counts = Arc::<[Count; KINDS.len()]>::default();
        let mut clients = JoinSet::new();
        for (index, (kind, _)) in KINDS.into_iter().enumerate() {
            for client in 1..=CLIENTS {
                let counts = Arc::clone(&counts);
                let from = Ipv4Addr::new(127, 0, 2 + index as u8, client);
                clients.spawn(async move {
                    for turn in usize::from(client).. {
                        let count = &counts[index];
                        let ended =
                            timeout(HEAD_TIME + PATIENCE, kind.misbehave(from, address, turn));
                        match ended.await {
                            Ok(Ok(())) => count.given_up.fetch_add(1, Relaxed),
                            _ => count.wrong.fetch_add(1, Relaxed),
                        };
                        sleep(Duration::from_millis(50)).await;
                    }
                });
            }
        }
        Self { clients, counts }
    }

    pub(crate) async fn end(mut self) -> GivenUp {
        self.clients.shutdown().await;
        let count = |count: &Count| (count.given_up.load(Relaxed), count.wrong.load(Relaxed));
        GivenUp(self.counts.each_ref().map(count))
    }
}

/// How many of each kind the server got rid of, and how many not as it must.
pub(crate) struct GivenUp([(usize, usize); KINDS.len()]);

impl GivenUp {
    pub(crate) fn is_right(&self) -> bool {
        self.0.iter().all(|(_, wrong)| *wrong == 0)
    }
}

impl Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("clients that were given up:")?;
        for ((given_up, wrong), (_, what)) in self.0.iter().zip(KINDS) {
            write!(f, " {given_up} (wrongly {wrong}) that {what};")?;
        }
        Ok(())
    }
}

impl Kind {
    /// Well, if the server ends it as it must.
    async fn misbehave(self, from: Ipv4Addr, to: SocketAddr, turn: usize) -> Outcome<()> {
        let mut stream = connect(from, to).await?;
        match self {
            Self::ReadsNothing => {
                let request = request("POST", ECHO, &vec![b'x'; 512 << 10]);
                // More than the buffers of the system take.
                for _ in 0..256 {
                    if stream.write_all(&request).await.is_err() {
                        return Ok(());
                    }
                }
                Err("all of it was taken".into())
            }
            Self::WritesSlowly => {
                let head = request("POST", ECHO, &[b'x'; 10_000]);
                stream.write_all(&head[..head.len() - 9_999]).await?;
                let (mut reading, mut writing) = stream.split();
                let slowly = async {
                    while writing.write_all(b"x").await.is_ok() {
                        sleep(BODY_TIME / 20).await;
                    }
                };
                let answer = tokio::select! {
                    answer = first_bytes(&mut reading) => answer?,
                    () = slowly => first_bytes(&mut reading).await?,
                };
                is_status(&answer, "408")
            }
            Self::SaysHalf => {
                stream.write_all(&request("POST", ECHO, b"")[..20]).await?;
                until_closed(&mut stream).await;
                Ok(())
            }
            Self::GoesAway => {
                let request = request("POST", ECHO, &[b'x'; 1_000]);
                stream.write_all(&request[..request.len() - 500]).await?;
                Ok(())
            }
            Self::SendsTooMuch => {
                let _ = stream.write_all(&too_much(turn)).await;
                // Who is still sending when the connection is closed may not hear why.
                match first_bytes(&mut stream).await {
                    Ok(answer) if !answer.is_empty() => is_status(&answer, "4"),
                    _ => Ok(()),
                }
            }
        }
    }
}

/// What is larger than it may be: the path, a header, the headers, a body that says so and one
/// that does not.
fn too_much(turn: usize) -> Vec<u8> {
    let host = "HTTP/1.1\r\nHost: localhost\r\n";
    match turn % 5 {
        0 => format!("GET /{} {host}\r\n", "x".repeat(100_000)).into(),
        1 => format!("GET /healthz {host}X: {}\r\n\r\n", "x".repeat(100_000)).into(),
        2 => format!("GET /healthz {host}{}\r\n", "X: y\r\n".repeat(1_000)).into(),
        3 => request("POST", ECHO, &vec![b'x'; 2 << 20]),
        _ => {
            let head = format!("POST {ECHO} {host}Transfer-Encoding: chunked\r\n\r\n");
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            format!("{head}{}0\r\n\r\n", chunk.repeat(32)).into()
        }
    }
}

async fn first_bytes(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.contains(&b'\n') && stream.read_buf(&mut bytes).await? > 0 {}
    Ok(bytes)
}

async fn until_closed(stream: &mut TcpStream) {
    let mut bytes = [0; 256];
    while stream.read(&mut bytes).await.is_ok_and(|length| length > 0) {}
}

fn is_status(answer: &[u8], digits: &str) -> Outcome<()> {
    let answer = String::from_utf8_lossy(answer);
    match answer.starts_with(&format!("HTTP/1.1 {digits}")) {
        true => Ok(()),
        false => Err(answer.into()),
    }
}
