//! A node that does not reach NATS for a while, and others that do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use async_nats::jetstream;
use wasm_core::{ComponentId, ComponentMessage};
use wasm_testkit::ModelEngine;

use crate::member::{Member, SECOND, Setup, component, demo, eventually, settled};
use crate::server::Server;
use crate::way::{State, Way};

/// What happens on a node.
#[derive(Clone, Default)]
struct Handled {
    messages: Arc<AtomicU32>,
    /// Until then a message `long` is being handled.
    enough: Arc<Notify>,
}

impl Handled {
    fn messages(&self) -> u32 {
        self.messages.load(Ordering::SeqCst)
    }
}

/// Longer than any test lasts.
const LONG: Duration = Duration::from_secs(120);

fn engine(
    names: &[String],
    handled: &Handled,
) -> impl Fn(wasm_core::HostServices) -> ModelEngine + use<> {
    let (names, handled) = (names.to_vec(), handled.clone());
    move |services| {
        let mut engine = ModelEngine::new(services);
        for name in &names {
            let handled = handled.clone();
            engine = engine.with_host(&demo(name), move |_, message| {
                let handled = handled.clone();
                Box::pin(async move {
                    handled.messages.fetch_add(1, Ordering::SeqCst);
                    if message.payload.as_bytes() == b"long" {
                        handled.enough.notified().await;
                    }
                    Ok(Some("here".into()))
                })
            });
        }
        engine
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c{n}")).collect()
}

fn setup(server: &Server, names: &[String]) -> Setup {
    let components = names.iter().map(|name| {
        let mut component = component(demo(name), b"");
        let limits = wasm_core::ResourceLimits::new(1 << 20, LONG, Some(1_000_000)).unwrap();
        component.config = wasm_core::ComponentConfig::new(limits)
            .with_permissions(component.config.permissions.clone());
        component
    });
    Setup::new(server.url(), components.collect())
}

async fn has(member: &Member, names: &[String]) -> Vec<String> {
    let mut has = Vec::new();
    for name in names {
        if member.has(name).await {
            has.push(name.clone());
        }
    }
    has
}

/// A component that this member has, once it has one.
async fn one_of(member: &Member, names: &[String]) -> ComponentId {
    let mut its = Vec::new();
    eventually("it has some", async || {
        its = has(member, names).await;
        !its.is_empty()
    })
    .await;
    demo(&its[0])
}

/// What it has, it is given nothing more once its lease is over, whatever still runs; then the
/// other has it, and later both have their share again.
pub(crate) async fn who_is_cut_off_handles_nothing_and_comes_back() {
    let server = Server::start();
    let way = Way::to(server.port()).await;
    let names = names(12);
    let setup = setup(&server, &names);
    let (at_a, at_b) = (Handled::default(), Handled::default());
    let a = setup.join_with("a", engine(&names, &at_a)).await.unwrap();
    let mut cut = Setup::new(way.url(), setup.components.clone());
    cut.patience = SECOND;
    let b = cut.join_with("b", engine(&names, &at_b)).await.unwrap();
    settled(16, &[&a, &b]).await;
    let mut its = Vec::new();
    eventually("b has some", async || {
        its = has(&b, &names).await;
        its.len() > 2
    })
    .await;
    // One of them is busy for longer than the lease lasts.
    let host = b.host.clone();
    let busy = demo(&its[0]);
    let long = tokio::spawn(async move { host.request(&busy, "long", LONG).await });
    eventually("it is busy", async || at_b.messages() == 1).await;
    way.set(State::Closed);
    eventually("a has all", async || a.node.owned().len() == 16).await;
    assert!(b.node.owned().is_empty());
    let before = at_b.messages();
    for name in &its[1..] {
        // Straight into the mailbox of this node, and the way that finds out where it is.
        let called = b.host.call(&demo(name), "x", |_, _| async { Ok(()) }).await;
        assert!(called.is_err(), "{name}");
        let asked = b.host.request(&demo(name), "x", SECOND / 2).await;
        assert!(asked.is_err(), "{name}");
        assert_eq!(a.told(name, "x").await, "here");
    }
    assert_eq!(at_b.messages(), before);
    // The call that runs for long was still running all that time.
    assert!(!long.is_finished());
    at_b.enough.notify_one();
    way.set(State::Open);
    settled(16, &[&a, &b]).await;
    eventually("all are somewhere", async || {
        let (at_a, at_b) = (has(&a, &names).await, has(&b, &names).await);
        at_a.len() + at_b.len() == names.len()
    })
    .await;
    for name in &names {
        assert_eq!(b.told(name, "x").await, "here");
    }
    a.leave().await;
    b.leave().await;
}

/// A sender that was not told that its message is stored has it stored again: by a server that
/// started again meanwhile, and knows nothing of what was handled and is gone.
pub(crate) async fn what_was_handled_and_is_stored_again_is_not_handled_again() {
    let mut server = Server::start();
    let way = Way::to(server.port()).await;
    let names = names(12);
    let mut setup = setup(&server, &names);
    // Nobody's lease is over because of the server.
    setup.lease = 60 * SECOND;
    let handled = Handled::default();
    let b = setup
        .join_with("b", engine(&names, &handled))
        .await
        .unwrap();
    (setup.url, setup.patience) = (way.url(), 60 * SECOND);
    let a = setup
        .join_with("a", engine(&names, &handled))
        .await
        .unwrap();
    settled(16, &[&a, &b]).await;
    let (from, to) = (a.host.program_id().clone(), one_of(&b, &names).await);
    let message = ComponentMessage::new(from.clone(), to.clone(), "first");
    way.set(State::Deaf);
    let host = a.host.clone();
    let sending = tokio::spawn(async move { host.dispatch(message).await });
    eventually("it is handled", async || handled.messages() == 1).await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = jetstream::new(client)
        .get_stream("test-mail")
        .await
        .unwrap();
    eventually("it is gone", async || {
        let info = stream.get_info().await.unwrap();
        info.state.messages == 0 && info.state.last_sequence > 0
    })
    .await;
    assert!(!sending.is_finished());
    // What the server has answered is lost with the connection.
    way.set(State::Closed);
    server.kill();
    server.restart();
    way.set(State::Open);
    sending.await.unwrap().unwrap();
    let second = ComponentMessage::new(from, to, "second");
    a.host.dispatch(second).await.unwrap();
    eventually("the other is handled", async || handled.messages() > 1).await;
    let stored = async || stream.get_info().await.map(|it| it.state.messages);
    eventually("all is gone", async || {
        stored().await.is_ok_and(|it| it == 0)
    })
    .await;
    assert_eq!(handled.messages(), 2);
    a.leave().await;
    b.leave().await;
}

/// Before it is written down that the first copy is handled.
pub(crate) async fn what_waits_at_a_host_and_is_stored_again_is_handled_once() {
    let server = Server::start();
    let names = names(12);
    let setup = setup(&server, &names);
    let handled = Handled::default();
    let join = async |name| {
        setup
            .join_with(name, engine(&names, &handled))
            .await
            .unwrap()
    };
    let (a, b) = (join("a").await, join("b").await);
    settled(16, &[&a, &b]).await;
    let (from, to) = (a.host.program_id().clone(), one_of(&b, &names).await);
    let (host, busy) = (b.host.clone(), to.clone());
    let long = tokio::spawn(async move { host.request(&busy, "long", LONG).await });
    eventually("it is busy", async || handled.messages() == 1).await;
    let message = ComponentMessage::new(from, to, "once");
    a.host.dispatch(message).await.unwrap();
    let client = async_nats::connect(server.url()).await.unwrap();
    let jetstream = jetstream::new(client);
    let stream = jetstream.get_stream("test-mail").await.unwrap();
    let last = stream.get_info().await.unwrap().state.last_sequence;
    let stored = stream.get_raw_message(last).await.unwrap();
    for _ in 0..2 {
        let (subject, payload) = (stored.subject.clone(), stored.payload.clone());
        let copied = jetstream.publish(subject, payload).await.unwrap();
        copied.await.unwrap();
    }
    let left = async || stream.get_info().await.map(|it| it.state.messages);
    eventually("the copies are gone", async || {
        left().await.is_ok_and(|it| it == 1)
    })
    .await;
    handled.enough.notify_one();
    long.await.unwrap().unwrap();
    eventually("all is gone", async || left().await.is_ok_and(|it| it == 0)).await;
    assert_eq!(handled.messages(), 2);
    a.leave().await;
    b.leave().await;
}

/// A node that takes over is cut off while it does, again and again, and has timers to read.
pub(crate) async fn who_is_cut_off_while_it_takes_over_goes_on() {
    let server = Server::start();
    let way = Way::to(server.port()).await;
    let names = names(12);
    let setup = setup(&server, &names);
    let mut cut = Setup::new(way.url(), setup.components.clone());
    (cut.patience, cut.lease) = (SECOND, SECOND);
    let handled = Handled::default();
    let b = cut.join_with("b", engine(&names, &handled)).await.unwrap();
    for state in [State::Closed, State::Silent].into_iter().cycle().take(8) {
        sleep(Duration::from_millis(120)).await;
        way.set(state);
        sleep(Duration::from_millis(900)).await;
        way.set(State::Open);
    }
    settled(16, &[&b]).await;
    let a = setup
        .join_with("a", engine(&names, &handled))
        .await
        .unwrap();
    settled(16, &[&a, &b]).await;
    for name in &names {
        assert_eq!(a.told(name, "x").await, "here");
    }
    a.leave().await;
    b.leave().await;
}

/// What is quick to end is handed over at once, whatever else is not.
pub(crate) async fn what_is_busy_holds_up_no_other_that_is_handed_over() {
    let server = Server::start();
    let names = names(12);
    let setup = setup(&server, &names);
    let handled = Handled::default();
    let a = setup
        .join_with("a", engine(&names, &handled))
        .await
        .unwrap();
    settled(16, &[&a]).await;
    eventually("all are there", async || a.host.ids(None, 100).len() == 12).await;
    let host = a.host.clone();
    let long = tokio::spawn(async move { host.request(&demo("c0"), "long", LONG).await });
    eventually("it is busy", async || handled.messages() == 1).await;
    let b = setup
        .join_with("b", engine(&names, &handled))
        .await
        .unwrap();
    let leaving = tokio::spawn(async move { a.leave().await });
    // All but the partition of the one that is busy.
    eventually("it has the others", async || b.node.owned().len() == 15).await;
    assert!(!long.is_finished());
    handled.enough.notify_one();
    eventually("it has all", async || b.node.owned().len() == 16).await;
    assert_eq!(long.await.unwrap().unwrap(), Some("here".into()));
    leaving.await.unwrap();
    b.leave().await;
}

pub(crate) async fn who_has_died_is_not_waited_for_when_deploying() {
    let server = Server::start();
    let way = Way::to(server.port()).await;
    let setup = Setup::new(server.url(), Vec::new());
    let mut cut = Setup::new(way.url(), Vec::new());
    (cut.patience, cut.lease) = (SECOND, SECOND);
    let a = setup.join("a").await;
    let b = cut.join("b").await;
    settled(16, &[&a, &b]).await;
    way.set(State::Closed);
    let deploying = wasm_nats::Connection::open(setup.config("program"))
        .await
        .unwrap();
    let number = deploying.deploy(Vec::new()).await.unwrap();
    let applied = wasm_nats::Applied::new(number);
    a.node.connection().say_applied(&applied).await.unwrap();
    // For much longer than a lease.
    let within = Duration::from_secs(60 * 60);
    let outcome = deploying.outcome(number, within).await.unwrap();
    assert_eq!(
        outcome.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), Some(applied))]
    );
    assert_eq!(deploying.release().await.unwrap().number, number);
    a.leave().await;
    drop(b);
}
