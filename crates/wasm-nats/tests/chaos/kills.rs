//! Owners that are killed while they handle messages.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use wasm_core::{ComponentMessage, MessagingError};
use wasm_host::{Host, HostBuilder};
use wasm_nats::{Connection, partition_of};
use wasm_testkit::ModelEngine;

use crate::keeper::{KEEPERS, components, keeper};
use crate::member::{SECOND, Setup};
use crate::process::{Process, setup};
use crate::server::Server;
use crate::verdict::judge;

/// Of nodes, in this chaos: how the program has it by default.
const LEASE: Duration = Duration::from_secs(5);

/// Whether nothing was wrong in any round.
pub(crate) async fn run(rounds: u64, messages: u64) -> bool {
    println!(
        "{messages} messages to {KEEPERS} components, each stores its effect; lease {LEASE:?};"
    );
    println!("the owner of most is killed with -9 in the middle");
    println!();
    println!(
        "| round | accepted | handled | dead letters | of these handled before | twice | lost | new owner after | all answer after |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let mut is_fine = true;
    for number in 1..=rounds {
        is_fine &= round(number, messages).await;
    }
    is_fine
}

async fn round(number: u64, messages: u64) -> bool {
    let server = Server::start();
    let url = server.url();
    let mut first = Process::start("first", &url, LEASE, 1);
    let sender = Sender::connect(&url).await;
    sender.wait_for("first").await;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let sending = tokio::spawn(sender.clone().send_all(messages, Arc::clone(&accepted)));
    let second = Process::start("second", &url, LEASE, 1);
    // Both own something by now.
    sleep(2 * SECOND).await;
    let victims = sender.keepers_of("first").await;
    while (accepted.lock().unwrap().len() as u64) < messages / 2 {
        sleep(Duration::from_millis(5)).await;
    }
    first.kill();
    let killed = Instant::now();
    let (owned, after) = tokio::join!(
        sender.taken_over("first", killed),
        sender.served(&victims, killed),
    );
    sending.await.expect("all are sent");
    sender.wait_until_handled().await;
    drop(second);
    let accepted = accepted.lock().unwrap().clone();
    let verdict = judge(&setup(&url, LEASE), &accepted).await;
    println!(
        "| {number} | {} | {} | {} ({:?}) | {} | {} | {} | {:.1} s | {:.1} s |",
        accepted.len(),
        verdict.handled,
        verdict.dead,
        verdict.causes,
        verdict.both,
        verdict.twice.len(),
        verdict.lost.len(),
        owned.as_secs_f64(),
        after.as_secs_f64(),
    );
    let is_fine = verdict.is_fine() && owned < 10 * SECOND;
    if !is_fine {
        println!("twice {:?}, lost {:?}", verdict.twice, verdict.lost);
    }
    is_fine
}

/// Sends messages, and has no components.
#[derive(Clone)]
pub(crate) struct Sender {
    host: Host<ModelEngine>,
    connection: Arc<Connection>,
    url: String,
}

impl Sender {
    async fn connect(url: &str) -> Self {
        Self::connect_to(setup(url, LEASE)).await
    }

    pub(crate) async fn connect_to(setup: Setup) -> Self {
        let config = setup.config("sender");
        let connection = Connection::open(config).await.expect("a connection");
        connection.know(components().into_iter().map(|it| it.id));
        let builder = connection.build(HostBuilder::new());
        let host = builder
            .start(|services| Ok::<_, String>(Arc::new(ModelEngine::new(services))))
            .expect("a host");
        Self {
            host,
            connection: Arc::new(connection),
            url: setup.url,
        }
    }

    /// Waits until this node owns everything.
    async fn wait_for(&self, node: &str) {
        loop {
            let owners = self.connection.owners().await.expect("owners");
            if owners.len() == 32 && owners.values().all(|it| it == node) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until nodes own everything.
    pub(crate) async fn wait_for_all(&self) {
        while self
            .connection
            .owners()
            .await
            .is_ok_and(|owners| owners.len() < 32)
        {
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn keepers_of(&self, node: &str) -> Vec<u64> {
        let owners = self.connection.owners().await.expect("owners");
        let is_its = |it: &u64| {
            owners
                .get(&partition_of(&keeper(*it), 32))
                .map(String::as_str)
                == Some(node)
        };
        (0..KEEPERS).filter(is_its).collect()
    }

    /// How long after the kill others own all that this node had.
    async fn taken_over(&self, node: &str, killed: Instant) -> Duration {
        while self
            .connection
            .owners()
            .await
            .expect("owners")
            .values()
            .any(|it| it == node)
        {
            sleep(Duration::from_millis(20)).await;
        }
        killed.elapsed()
    }

    /// How long after the kill all of these have answered.
    async fn served(&self, keepers: &[u64], killed: Instant) -> Duration {
        let mut probes = JoinSet::new();
        for number in keepers.iter().copied() {
            let host = self.host.clone();
            probes.spawn(async move {
                while host
                    .request(&keeper(number), "probe", 20 * SECOND)
                    .await
                    .is_err()
                {}
            });
        }
        probes.join_all().await;
        killed.elapsed()
    }

    pub(crate) async fn send_all(self, messages: u64, accepted: Arc<Mutex<BTreeSet<String>>>) {
        let mut tasks = JoinSet::new();
        for number in 0..KEEPERS {
            let (sender, accepted) = (self.clone(), Arc::clone(&accepted));
            tasks.spawn(async move {
                for message in (0..messages).filter(|it| it % KEEPERS == number) {
                    let text = format!("m{message}");
                    if sender.send(number, &text).await {
                        accepted.lock().unwrap().insert(text);
                    }
                }
            });
        }
        tasks.join_all().await;
    }

    /// Whether it was accepted; one for which there is no room is tried again.
    async fn send(&self, to: u64, text: &str) -> bool {
        loop {
            let program = self.host.program_id().clone();
            let message = ComponentMessage::new(program, keeper(to), text.to_owned());
            match self.host.dispatch(message).await {
                Ok(()) => return true,
                Err(MessagingError::QueueFull) => sleep(Duration::from_millis(20)).await,
                Err(_) => return false,
            }
        }
    }

    /// Waits for an answer.
    pub(crate) async fn ask(&self, number: u64) {
        let answer = self
            .host
            .request(&keeper(number), "probe", 10 * SECOND)
            .await;
        answer.expect("an answer");
    }

    /// A request is answered after all that was sent before it.
    pub(crate) async fn wait_until_handled(&self) {
        for number in 0..KEEPERS {
            while self
                .host
                .request(&keeper(number), "probe", 30 * SECOND)
                .await
                .is_err()
            {}
        }
        // What became a dead letter is stored and acknowledged while others are handled.
        while self.waiting().await != Some(0) {
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many messages the stream has, if it says so.
    async fn waiting(&self) -> Option<u64> {
        let servers: Vec<_> = self.url.split(',').collect();
        let client = async_nats::connect(servers).await.ok()?;
        let context = async_nats::jetstream::new(client);
        let stream = context.get_stream("test-mail").await.ok()?;
        Some(stream.cached_info().state.messages)
    }
}
