//! Those who ask and are answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Outcome, request};

/// Each sends one request at a time.
const CLIENTS: usize = 32;

/// One of so many is a message, for which nobody waits.
const MESSAGES: usize = 10;

/// What became of requests.
#[derive(Default)]
pub(crate) struct Requests {
    pub(crate) times: Vec<Duration>,
    pub(crate) right: usize,
    pub(crate) wrong: usize,
    /// Messages.
    pub(crate) accepted: usize,
}

impl Requests {
    pub(crate) async fn send(address: SocketAddr, count: usize) -> Outcome<Self> {
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            clients.spawn(async move {
                let mut sent = Self::default();
                let mut connection = Client::connect(Ipv4Addr::LOCALHOST, address).await?;
                for number in (client..count).step_by(CLIENTS) {
                    sent.one(&mut connection, number).await?;
                }
                Outcome::Ok(sent)
            });
        }
        let mut all = Self::default();
        while let Some(sent) = clients.join_next().await {
            all.add(sent??);
        }
        Ok(all)
    }

    async fn one(&mut self, client: &mut Client, number: usize) -> Outcome<()> {
        let body = format!("request {number}");
        let is_message = number.is_multiple_of(MESSAGES);
        let path = match is_message {
            true => "/components/demo/counter/main/messages",
            false => "/components/demo/echo/main",
        };
        let request = request("POST", path, body.as_bytes());
        loop {
            let began = Instant::now();
            let answer = client.send(&request).await?;
            let is_right = match is_message {
                true => answer.status == 202,
                false => answer.status == 200 && answer.body == body.as_bytes(),
            };
            if answer.status == 429 {
                // Its mailbox is full.
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            self.times.push(began.elapsed());
            self.right += usize::from(is_right);
            self.wrong += usize::from(!is_right);
            self.accepted += usize::from(is_right && is_message);
            return Ok(());
        }
    }

    pub(crate) fn add(&mut self, mut other: Self) {
        self.times.append(&mut other.times);
        self.right += other.right;
        self.wrong += other.wrong;
        self.accepted += other.accepted;
    }

    /// The 50th, the 99th and the 99.9th, as cells of a table.
    pub(crate) fn percentiles(&self) -> String {
        let mut times = self.times.clone();
        times.sort_unstable();
        let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
        format!("{:.2?} | {:.2?} | {:.2?}", at(0.5), at(0.99), at(0.999))
    }
}
