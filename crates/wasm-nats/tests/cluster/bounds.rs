//! Recipients that are slow, messages that never fit, and records that nobody can read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::sleep;

use wasm_core::{ComponentMessage, MessagePayload, MessagingError};
use wasm_host::HostLimits;
use wasm_nats::{Connection, NatsError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::ECHO;

use crate::member::{Member, SECOND, Setup, component, demo, eventually, fixture, settled};
use crate::server::Server;

async fn send(
    from: &Member,
    name: &str,
    payload: impl Into<MessagePayload>,
) -> Result<(), MessagingError> {
    let program = from.host.program_id().clone();
    let message = ComponentMessage::new(program, demo(name), payload);
    from.host.dispatch(message).await
}

/// `slow0`, `slow1` and `slow2` wait for the gate; `quick` answers; all count.
fn gated(
    gate: &watch::Receiver<bool>,
    seen: &Arc<Mutex<Vec<u32>>>,
) -> impl Fn(wasm_core::HostServices) -> ModelEngine {
    let (gate, seen) = (gate.clone(), Arc::clone(seen));
    move |services| {
        let mut engine =
            ModelEngine::new(services).with(&demo("quick"), |_| Ok(Some("quick".into())));
        for name in ["slow0", "slow1", "slow2"] {
            let (gate, seen) = (gate.clone(), Arc::clone(&seen));
            engine = engine.with_host(&demo(name), move |_, message| {
                let (mut gate, seen) = (gate.clone(), Arc::clone(&seen));
                Box::pin(async move {
                    gate.wait_for(|open| *open).await.unwrap();
                    let number = message.payload.as_bytes().first_chunk();
                    seen.lock()
                        .unwrap()
                        .push(u32::from_be_bytes(*number.unwrap()));
                    Ok(None)
                })
            });
        }
        engine
    }
}

fn echoes(count: usize) -> Vec<wasm_host::Component> {
    let names = (0..count).map(|n| format!("e{n}"));
    names.map(|name| fixture(&name, ECHO)).collect()
}

fn four() -> Vec<wasm_host::Component> {
    let names = ["slow0", "slow1", "slow2", "quick"];
    let mut components = names.map(|name| component(demo(name), b"")).to_vec();
    for component in &mut components {
        let limits = wasm_core::ResourceLimits::new(1 << 20, 60 * SECOND, Some(1_000_000)).unwrap();
        component.config = wasm_core::ComponentConfig::new(limits)
            .with_permissions(component.config.permissions.clone());
    }
    components
}

pub(crate) async fn slow_recipients_hold_up_nobody_of_their_partition() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), four());
    setup.partitions = 1;
    let (gate, seen) = (watch::Sender::new(false), Arc::default());
    let a = setup
        .join_with("a", gated(&gate.subscribe(), &seen))
        .await
        .unwrap();
    settled(1, &[&a]).await;
    for name in ["slow0", "slow1", "slow2"] {
        for hundred in 0..8_u32 {
            let sent = (0..100).map(|n| {
                let number = (hundred * 100 + n).to_be_bytes().to_vec();
                send(&a, name, number)
            });
            join_all(sent).await.into_iter().for_each(Result::unwrap);
        }
    }
    assert_eq!(a.told("quick", "x").await, "quick");
    send(&a, "quick", "x").await.unwrap();
    gate.send_replace(true);
    eventually("they go on", async || seen.lock().unwrap().len() > 10).await;
    a.leave().await;
}

/// None of its calls ends before all have begun.
pub(crate) async fn as_many_messages_are_handled_at_a_time_as_a_component_may() {
    const COUNT: usize = 100;

    let server = Server::start();
    let mut wide = four().swap_remove(0);
    wide.config = wide.config.with_concurrency(COUNT as u32);
    let setup = Setup::new(server.url(), vec![wide]);
    let begun = watch::Sender::new(0);
    let count = begun.clone();
    let engine = move |services| {
        ModelEngine::new(services).with_host(&demo("slow0"), move |_, _| {
            count.send_modify(|count| *count += 1);
            let mut begun = count.subscribe();
            Box::pin(async move {
                begun.wait_for(|count| *count == COUNT).await.unwrap();
                Ok(None)
            })
        })
    };
    let a = setup.join_with("a", engine).await.unwrap();
    settled(16, &[&a]).await;
    for _ in 0..COUNT {
        send(&a, "slow0", "x").await.unwrap();
    }
    eventually("all are handled at once", async || *begun.borrow() == COUNT).await;
    a.leave().await;
}

/// More than a node keeps in memory: it stays in the stream until its turn.
pub(crate) async fn what_waits_in_the_stream_comes_in_order() {
    const COUNT: u32 = 120;
    let server = Server::start();
    let mut setup = Setup::new(server.url(), four());
    (setup.partitions, setup.max_waiting_bytes) = (1, 256 << 20);
    // So much is moved that renewals wait.
    setup.lease = 20 * SECOND;
    let (gate, seen) = (watch::Sender::new(false), Arc::default());
    let a = setup
        .join_with("a", gated(&gate.subscribe(), &seen))
        .await
        .unwrap();
    settled(1, &[&a]).await;
    for number in 0..COUNT {
        let mut payload = vec![b'x'; 1_000_000];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        send(&a, "slow0", payload).await.unwrap();
    }
    assert_eq!(a.told("quick", "x").await, "quick");
    gate.send_replace(true);
    eventually("all are handled", async || {
        seen.lock().unwrap().len() == COUNT as usize
    })
    .await;
    assert_eq!(*seen.lock().unwrap(), (0..COUNT).collect::<Vec<_>>());
    a.leave().await;
}

pub(crate) async fn what_never_fits_is_a_dead_letter() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), four());
    setup.limits = HostLimits::default().with_mailbox_bytes(1_000);
    let (gate, seen) = (watch::Sender::new(true), Arc::default());
    let a = setup
        .join_with("a", gated(&gate.subscribe(), &seen))
        .await
        .unwrap();
    settled(16, &[&a]).await;
    send(&a, "slow0", vec![b'x'; 100_000]).await.unwrap();
    send(&a, "slow0", 7_u32.to_be_bytes().to_vec())
        .await
        .unwrap();
    eventually("the next is handled", async || *seen.lock().unwrap() == [7]).await;
    let connection = a.node.connection();
    eventually("it is kept", async || {
        connection.latest_dead_letters(10).await.unwrap().len() == 1
    })
    .await;
    let dead = connection.latest_dead_letters(10).await.unwrap().remove(0);
    assert_eq!(dead.cause, "undeliverable");
    assert!(dead.reason.contains("mailbox_bytes"), "{}", dead.reason);
    assert_eq!(
        (dead.payload_bytes, dead.message.payload.len()),
        (100_000, 64 << 10)
    );
    a.leave().await;
}

pub(crate) async fn a_node_answers_to_nobody_s_subjects_but_those_who_ask() {
    let server = Server::start();
    let setup = Setup::new(server.url(), echoes(3));
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    let before = a.node.connection().owners().await.unwrap();
    let stranger = async_nats::connect(server.url()).await.unwrap();
    let mut told = stranger.subscribe("anywhere").await.unwrap();
    for reply in ["$KV.test-data.owner.5", "test.dead.a.b.c", "anywhere"] {
        let asked = stranger.publish_with_reply("test.ask", reply, "".into());
        asked.await.unwrap();
    }
    stranger.flush().await.unwrap();
    // It was asked before, and has answered this by then.
    let nodes = a.node.connection().nodes(5 * SECOND).await.unwrap();
    assert_eq!((nodes.len(), nodes[0].partitions), (1, 16));
    assert_eq!(nodes[0].components.len(), 3);
    let owners = a.node.connection().owners().await.unwrap();
    assert_eq!(owners, before);
    let letters = a.node.connection().latest_dead_letters(10).await.unwrap();
    assert!(letters.is_empty());
    let answer = tokio::time::timeout(SECOND / 5, futures_util::StreamExt::next(&mut told)).await;
    assert!(answer.is_err(), "{answer:?}");
    a.leave().await;
}

pub(crate) async fn a_desk_that_cannot_be_read_is_not_taken_for_an_empty_one() {
    let server = Server::start();
    let setup = Setup::new(server.url(), echoes(3));
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    a.leave().await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client);
    let write = async |text: &'static str| {
        let stored = stream.publish("$KV.test-data.desk.3", text.into()).await;
        stored.unwrap().await.unwrap();
    };
    write("{}").await;
    let a = setup.join("a").await;
    eventually("it owns the others", async || a.node.owned().len() == 15).await;
    sleep(SECOND).await;
    assert!(!a.node.owned().contains(&3));
    write("").await;
    settled(16, &[&a]).await;
    a.leave().await;
}

/// What is stored under a claim is stored once, however late it comes a second time.
pub(crate) async fn what_comes_late_does_not_take_the_place_of_what_is_newer() {
    let server = Server::start();
    let setup = Setup::new(server.url(), vec![component(demo("keeper"), b"")]);
    let writes = Arc::new(AtomicU32::new(0));
    let keeper = |services| {
        let writes = Arc::clone(&writes);
        ModelEngine::new(services).with_host(&demo("keeper"), move |host, message| {
            writes.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                if !message.payload.is_empty() {
                    let value = message.payload.as_bytes().to_vec();
                    host.set("key", value.into()).await.unwrap();
                }
                Ok(Some(
                    host.get("key").await.unwrap().unwrap_or_default().into(),
                ))
            })
        })
    };
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    let mut written = client.subscribe("$KV.test-data.data.>").await.unwrap();
    let a = setup.join_with("a", keeper).await.unwrap();
    settled(16, &[&a]).await;
    assert_eq!(a.told("keeper", "old").await, "old");
    let first = futures_util::StreamExt::next(&mut written).await.unwrap();
    assert_eq!(&*first.payload, b"old");
    assert_eq!(a.told("keeper", "new").await, "new");
    let headers: HeaderMap = first.headers.unwrap();
    let again = context
        .publish_with_headers(first.subject, headers, first.payload)
        .await;
    // It is known, and nothing is stored.
    assert!(again.unwrap().await.unwrap().duplicate);
    assert_eq!(a.told("keeper", "").await, "new");
    a.leave().await;
}

/// The room of all is full, and is free again once what waits was handled.
pub(crate) async fn what_waits_for_one_takes_no_room_for_ever() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), four());
    setup.max_waiting_bytes = 1 << 20;
    let (gate, seen) = (watch::Sender::new(false), Arc::default());
    let a = setup
        .join_with("a", gated(&gate.subscribe(), &seen))
        .await
        .unwrap();
    settled(16, &[&a]).await;
    let mut outcomes = Vec::new();
    for _ in 0..20 {
        outcomes.push(send(&a, "slow0", vec![b'x'; 100_000]).await);
    }
    assert_eq!(outcomes.last(), Some(&Err(MessagingError::QueueFull)));
    let accepted = outcomes.iter().filter(|it| it.is_ok()).count();
    assert!(accepted > 5, "{outcomes:?}");
    // Answers need no room.
    assert_eq!(a.told("quick", "x").await, "quick");
    gate.send_replace(true);
    eventually("they are handled", async || {
        seen.lock().unwrap().len() == accepted
    })
    .await;
    eventually("there is room", async || {
        send(&a, "slow0", vec![b'x'; 100_000]).await.is_ok()
    })
    .await;
    a.leave().await;
}

pub(crate) async fn leases_need_not_be_of_one_length() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), echoes(3));
    setup.lease = 8 * SECOND;
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    setup.lease = SECOND;
    let b = setup.join("b").await;
    settled(16, &[&a, &b]).await;
    let before = (a.node.owned(), b.node.owned());
    // Between two renewals of the one, the lease of the other would be over.
    for _ in 0..50 {
        sleep(Duration::from_millis(100)).await;
        assert_eq!((a.node.owned(), b.node.owned()), before);
    }
    a.leave().await;
    b.leave().await;
    setup.lease = Duration::ZERO;
    let error = setup.join_with("c", ModelEngine::new).await.err().unwrap();
    assert!(matches!(error, NatsError::Lease { .. }), "{error}");
}

pub(crate) async fn who_only_looks_makes_nothing() {
    let server = Server::start();
    let setup = Setup::new(server.url(), Vec::new());
    let mut config = setup.config("program");
    config.is_making = false;
    let error = Connection::open(config).await.err().unwrap();
    assert!(error.to_string().contains("test-mail"), "{error}");
    let client = async_nats::connect(server.url()).await.unwrap();
    let mut names = jetstream::new(client).stream_names();
    assert!(futures_util::StreamExt::next(&mut names).await.is_none());
}

/// A status of many components comes whole.
pub(crate) async fn all_components_of_a_node_are_told_of() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), echoes(1_203));
    setup.limits = HostLimits::default()
        .with_components(2_000)
        .with_memory_bytes(4 << 30);
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    eventually("all are there", async || {
        let nodes = a.node.connection().nodes(5 * SECOND).await.unwrap();
        nodes[0].components.len() == 1_203
    })
    .await;
    a.leave().await;
}
