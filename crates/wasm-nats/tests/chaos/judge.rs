//! Three nodes on three servers that are killed, paused and cut off, and servers
//! that are restarted and paused, while messages come.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::time::{sleep, timeout};

use crate::cluster::Servers;
use crate::kills::Sender;
use crate::member::SECOND;
use crate::process::{Process, setup_on};
use crate::verdict;
use crate::way::{State, Way};

const LEASE: Duration = Duration::from_secs(2);
const NODES: usize = 3;
const MESSAGES: u64 = 400;

/// Whether nothing was wrong in any run.
pub(crate) async fn run(runs: u64, seed: u64) -> bool {
    println!(
        "{runs} runs of three nodes on three servers, {MESSAGES} messages each, from seed {seed}"
    );
    let (mut fine, mut without_verdict) = (0, 0);
    for number in 0..runs {
        match AssertUnwindSafe(one(seed + number)).catch_unwind().await {
            Ok(is_fine) => fine += u64::from(is_fine),
            // Why, it has said.
            Err(_) => {
                println!("seed {}: no verdict", seed + number);
                without_verdict += 1;
            }
        }
    }
    let violated = runs - fine - without_verdict;
    println!("{fine} runs were fine, {violated} violated, {without_verdict} without a verdict");
    fine == runs
}

/// Numbers that are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// The ways of a node to all servers.
struct Ways(Vec<Way>);

impl Ways {
    async fn to(servers: &Servers) -> Self {
        let mut ways = Vec::new();
        for port in servers.ports() {
            ways.push(Way::to(*port).await);
        }
        Self(ways)
    }

    fn url(&self) -> String {
        let urls: Vec<_> = self.0.iter().map(Way::url).collect();
        urls.join(",")
    }

    fn set(&self, state: State) {
        self.0.iter().for_each(|way| way.set(state));
    }
}

async fn one(seed: u64) -> bool {
    let mut random = Random(seed);
    let mut servers = Servers::start().await;
    let url = servers.url();
    let name = |number: usize, life: u64| format!("n{number}-{life}");
    let mut lives = [0_u64; NODES];
    let mut ways = Vec::new();
    for _ in 0..NODES {
        ways.push(Ways::to(&servers).await);
    }
    let mut nodes: Vec<_> = (0..NODES)
        .map(|it| Process::start(&name(it, 0), &ways[it].url(), LEASE, 3))
        .collect();
    let sender = Sender::connect_to(setup_on(&url, LEASE, 3)).await;
    sender.wait_for_all().await;
    let accepted = Arc::new(Mutex::new(BTreeSet::new()));
    let sending = tokio::spawn(sender.clone().send_all(MESSAGES, Arc::clone(&accepted)));
    let mut told = Vec::new();
    for _ in 0..5 {
        let (victim, length) = (random.below(3) as usize, 200 + random.below(3_000));
        let length = Duration::from_millis(length);
        match random.below(6) {
            0 => {
                told.push(format!("kill node {victim}"));
                nodes[victim].kill();
                sleep(length / 4).await;
                lives[victim] += 1;
                nodes[victim] =
                    Process::start(&name(victim, lives[victim]), &ways[victim].url(), LEASE, 3);
            }
            1 => {
                told.push(format!("pause node {victim} for {length:?}"));
                nodes[victim].pause();
                sleep(length).await;
                nodes[victim].go_on();
            }
            2 => {
                told.push(format!("restart server {victim}"));
                servers.kill(victim);
                sleep(length / 2).await;
                servers.restart(victim);
            }
            3 => {
                let state = match random.below(2) {
                    0 => State::Silent,
                    _ => State::Closed,
                };
                told.push(format!(
                    "{state:?} between node {victim} and all servers for {length:?}"
                ));
                ways[victim].set(state);
                sleep(length).await;
                ways[victim].set(State::Open);
            }
            4 => {
                let server = random.below(3) as usize;
                told.push(format!(
                    "silence between node {victim} and server {server} for {length:?}"
                ));
                ways[victim].0[server].set(State::Silent);
                sleep(length).await;
                ways[victim].0[server].set(State::Open);
            }
            _ => {
                told.push(format!("pause server {victim} for {length:?}"));
                servers.pause(victim);
                sleep(length).await;
                servers.go_on(victim);
            }
        }
        sleep(Duration::from_millis(random.below(500))).await;
    }
    sending.await.expect("all are sent");
    let handled = timeout(600 * SECOND, sender.wait_until_handled()).await;
    assert!(
        handled.is_ok(),
        "seed {seed} never comes to rest after {told:?}"
    );
    drop(nodes);
    let accepted = accepted.lock().unwrap().clone();
    sleep(SECOND).await;
    let mut setup = setup_on(&url, LEASE, 3);
    // Nobody waits for it.
    setup.patience = 20 * SECOND;
    let verdict = verdict::judge(&setup, &accepted).await;
    println!(
        "seed {seed}: {} accepted, {} handled, {} dead letters {:?}, {} twice, {} lost, {} late ({})",
        accepted.len(),
        verdict.handled,
        verdict.dead,
        verdict.causes,
        verdict.twice.len(),
        verdict.lost.len(),
        verdict.late,
        told.join(", "),
    );
    if !verdict.is_fine() {
        println!("twice {:?}, lost {:?}", verdict.twice, verdict.lost);
    }
    verdict.is_fine()
}
