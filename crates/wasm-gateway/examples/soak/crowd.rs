//! Those who are there and say next to nothing.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::client::{Client, Outcome, connect, request};
use crate::server::HEAD_TIME;

const EVENT: &[u8] = b"event: restarted";

/// Where streams of events of a crowd come from, and where idle connections do. Each crowd has
/// addresses of its own: the ports of one that has gone are not free again for a minute.
const STREAMS: u8 = 1;
const IDLE: u8 = 2;

/// Streams of events and idle connections, and what became of them.
#[derive(Default)]
pub(crate) struct Crowd {
    /// Events on streams.
    pub(crate) heard: AtomicUsize,
    /// Requests on idle connections, one in a while.
    pub(crate) answered: AtomicUsize,
    /// Those that were not.
    pub(crate) lost: AtomicUsize,
    members: Mutex<JoinSet<()>>,
    number: u8,
}

impl Crowd {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    fn from(&self, whom: u8) -> Ipv4Addr {
        Ipv4Addr::new(127, 0, 1 + self.number, whom)
    }

    /// Once all are told that events follow.
    pub(crate) async fn follow(self: &Arc<Self>, address: SocketAddr, count: usize) -> Outcome<()> {
        let mut members = self.members.lock().await;
        for _ in 0..count {
            let mut stream = connect(self.from(STREAMS), address).await?;
            let text = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(text).await?;
            let mut tail = Vec::new();
            while occurrences(&tail, b"events follow") == 0 {
                if stream.read_buf(&mut tail).await? == 0 {
                    return Err(String::from_utf8_lossy(&tail).into());
                }
            }
            let crowd = Arc::clone(self);
            members.spawn(async move { crowd.hear(stream).await });
        }
        Ok(())
    }

    async fn hear(&self, mut stream: TcpStream) {
        let mut tail = Vec::new();
        while stream
            .read_buf(&mut tail)
            .await
            .is_ok_and(|length| length > 0)
        {
            self.heard.fetch_add(occurrences(&tail, EVENT), Relaxed);
            // What may be the beginning of one that goes on, and no whole one.
            let kept = tail.len().min(EVENT.len() - 1);
            tail.drain(..tail.len() - kept);
            tail.shrink_to_fit();
        }
    }

    /// Each asks for something in a while, so that it is not taken for one that is gone.
    pub(crate) async fn idle(self: &Arc<Self>, address: SocketAddr, count: usize) -> Outcome<()> {
        let mut members = self.members.lock().await;
        let began = Instant::now();
        for number in 0..count {
            let mut client = Client::connect(self.from(IDLE), address).await?;
            self.greet(&mut client).await;
            let crowd = Arc::clone(self);
            let share = number as f64 / count as f64;
            members.spawn(async move {
                let mut next = began + (HEAD_TIME / 2).mul_f64(share);
                while next < Instant::now() {
                    next += HEAD_TIME / 2;
                }
                loop {
                    sleep_until(next).await;
                    crowd.greet(&mut client).await;
                    next = Instant::now() + HEAD_TIME / 2 - Duration::from_millis(1);
                }
            });
        }
        Ok(())
    }

    async fn greet(&self, client: &mut Client) {
        let answer = client.send(&request("GET", "/healthz", b"")).await;
        let count = match answer {
            Ok(answer) if answer.status == 200 => &self.answered,
            _ => &self.lost,
        };
        count.fetch_add(1, Relaxed);
    }

    pub(crate) async fn leave(&self) {
        self.members.lock().await.shutdown().await;
    }
}

fn occurrences(text: &[u8], part: &[u8]) -> usize {
    text.windows(part.len()).filter(|it| *it == part).count()
}
