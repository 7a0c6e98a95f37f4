//! What a request to another node costs, beside what NATS itself takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream::{self, consumer, stream};
use futures_util::StreamExt as _;
use tokio::task::JoinSet;
use tokio::time::Instant;

use wasm_host::HostBuilder;

use crate::keeper::{KEEPERS, components, engine, keeper};
use crate::kills::Sender;
use crate::member::SECOND;
use crate::process::{Process, setup};
use crate::server::Server;

const ROUNDS: usize = 2_000;
const LEASE: Duration = Duration::from_secs(5);
/// Requests that are open at a time.
const OPEN: u64 = 64;

pub(crate) async fn run() -> bool {
    println!("one request after the other, {ROUNDS} times; a server and nodes on this machine");
    println!();
    println!("| | median | 99 of 100 |");
    println!("|---|---|---|");
    local().await;
    bare().await;
    remote().await;
    println!();
    println!(
        "{OPEN} requests open at a time to {KEEPERS} components, nodes are processes of this machine"
    );
    println!();
    println!("| nodes | requests a second |");
    println!("|---|---|");
    for nodes in 1..=3 {
        throughput(nodes).await;
    }
    true
}

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let micros = |it: usize| times[it].as_micros();
    let (median, most) = (micros(times.len() / 2), micros(times.len() * 99 / 100));
    println!("| {what} | {median} µs | {most} µs |");
}

/// To a component of the same host, without NATS.
async fn local() {
    let builder = HostBuilder::new();
    let host = builder
        .start(|services| Ok::<_, String>(Arc::new(engine(services))))
        .expect("a host");
    for loaded in host.load_all(components()).await {
        loaded.expect("it loads");
    }
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let answer = host.request(&keeper(0), "probe", SECOND).await;
        answer.expect("an answer");
        times.push(began.elapsed());
    }
    tell("a component of the same host, without NATS", times);
    host.stop().await;
}

/// What the stream itself takes: it stores a message, gives it to a consumer, which acknowledges
/// it and publishes an answer.
async fn bare() {
    let server = Server::start();
    let client = async_nats::connect(server.url()).await.expect("a server");
    let other = async_nats::connect(server.url()).await.expect("a server");
    let context = jetstream::new(client.clone());
    let stream = context
        .create_stream(stream::Config {
            name: "bare".to_owned(),
            subjects: vec!["bare.>".to_owned()],
            retention: stream::RetentionPolicy::WorkQueue,
            ..Default::default()
        })
        .await
        .expect("a stream");
    let consumer = stream
        .create_consumer(consumer::pull::Config {
            durable_name: Some("bare".to_owned()),
            ..Default::default()
        })
        .await
        .expect("a consumer");
    let answering = tokio::spawn(async move {
        let mut messages = consumer.messages().await.expect("messages");
        while let Some(Ok(message)) = messages.next().await {
            other
                .publish("answer", "here".into())
                .await
                .expect("it is sent");
            message.double_ack().await.expect("it is acknowledged");
        }
    });
    let mut answers = client.subscribe("answer").await.expect("answers");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let stored = context.publish("bare.x", "probe".into()).await;
        stored.expect("it is sent").await.expect("it is stored");
        answers.next().await.expect("an answer");
        times.push(began.elapsed());
    }
    tell("bare JetStream: stored, delivered, answered", times);
    answering.abort();
}

async fn remote() {
    let server = Server::start();
    let url = server.url();
    let _node = Process::start("first", &url, LEASE, 1);
    let sender = Sender::connect_to(setup(&url, LEASE)).await;
    sender.wait_for_all().await;
    sender.wait_until_handled().await;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        sender.ask(0).await;
        times.push(began.elapsed());
    }
    tell("a component of another node", times);
}

async fn throughput(nodes: usize) {
    let server = Server::start();
    let url = server.url();
    let _nodes: Vec<_> = (0..nodes)
        .map(|it| Process::start(&format!("n{it}"), &url, LEASE, 1))
        .collect();
    let sender = Sender::connect_to(setup(&url, LEASE)).await;
    sender.wait_for_all().await;
    // They balance.
    tokio::time::sleep(2 * SECOND).await;
    sender.wait_until_handled().await;
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let mut tasks = JoinSet::new();
    for task in 0..OPEN {
        let (sender, count) = (sender.clone(), Arc::clone(&count));
        tasks.spawn(async move {
            while began.elapsed() < 5 * SECOND {
                sender.ask(task % KEEPERS).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    let rate = count.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    println!("| {nodes} | {rate:.0} |");
}
