//! Who owns what.

use std::time::Duration;

use tokio::time::Instant;

use wasm_nats::NatsError;
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO};

use crate::member::{SECOND, Setup, component, demo, eventually, fixture, settled};
use crate::server::Server;

pub(crate) async fn partitions_move_when_nodes_come_and_go() {
    let server = Server::start();
    let names: Vec<_> = (0..40).map(|n| format!("c{n}")).collect();
    let components = names.iter().map(|name| fixture(name, ECHO)).collect();
    let setup = Setup::new(server.url(), components);
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    eventually("all are there", async || a.host.ids(None, 100).len() == 40).await;
    let before = a.node.owned();
    let b = setup.join("b").await;
    settled(16, &[&a, &b]).await;
    assert!(a.node.owned().iter().all(|it| before.contains(it)));
    eventually("each is at one place", async || {
        let (at_a, at_b) = (a.host.ids(None, 100), b.host.ids(None, 100));
        at_a.len() + at_b.len() == 40 && at_a.iter().all(|id| !at_b.contains(id))
    })
    .await;
    for name in &names {
        assert_eq!(a.told(name, "hello").await, "hello");
    }
    // It is handed over, not waited for.
    let began = Instant::now();
    a.leave().await;
    settled(16, &[&b]).await;
    assert!(began.elapsed() < setup.lease, "{:?}", began.elapsed());
    for name in &names {
        assert_eq!(b.told(name, "hello").await, "hello");
    }
    b.leave().await;
}

/// Whoever has the components panics over that.
pub(crate) async fn partitions_move_where_components_cannot_be_unloaded() {
    let server = Server::start();
    let names: Vec<_> = (0..40).map(|n| format!("c{n}")).collect();
    let components = names.iter().map(|name| fixture(name, ECHO)).collect();
    let mut setup = Setup::new(server.url(), components);
    setup.panics_over_unloading = true;
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    eventually("all are there", async || a.host.ids(None, 100).len() == 40).await;
    setup.panics_over_unloading = false;
    let b = setup.join("b").await;
    settled(16, &[&a, &b]).await;
    // No partition is at two nodes, though components are loaded at both.
    assert_eq!(a.host.ids(None, 100).len(), 40);
    for name in &names {
        assert_eq!(a.told(name, "hello").await, "hello");
        assert_ne!(a.node.owns(&demo(name)), b.node.owns(&demo(name)), "{name}");
    }
    a.leave().await;
    settled(16, &[&b]).await;
    for name in &names {
        assert_eq!(b.told(name, "hello").await, "hello");
    }
    b.leave().await;
}

pub(crate) async fn a_name_is_one_node_s() {
    let server = Server::start();
    let setup = Setup::new(server.url(), Vec::new());
    let a = setup.join("a").await;
    let second = setup.join_with("a", ModelEngine::new).await;
    let Err(error) = second else {
        panic!("there are two");
    };
    assert!(matches!(error, NatsError::NodeIsRunning { .. }), "{error}");
    a.leave().await;
    let again = setup.join("a").await;
    again.leave().await;
}

pub(crate) async fn what_is_stored_moves_along() {
    let server = Server::start();
    let setup = Setup::new(server.url(), vec![component(demo("keeper"), b"")]);
    let keeper = |services| {
        ModelEngine::new(services).with_host(&demo("keeper"), |host, message| {
            Box::pin(async move {
                let before = host.get("count").await.unwrap().unwrap_or_default();
                let now = [&before, message.payload.as_bytes()].concat();
                host.set("count", now.clone().into()).await.unwrap();
                Ok(Some(now.into()))
            })
        })
    };
    let a = setup.join_with("a", keeper).await.unwrap();
    settled(16, &[&a]).await;
    assert_eq!(a.told("keeper", "x").await, "x");
    let b = setup.join_with("b", keeper).await.unwrap();
    settled(16, &[&a, &b]).await;
    assert_eq!(b.told("keeper", "y").await, "xy");
    let (mut here, mut there) = (a, b);
    if !there.has("keeper").await {
        std::mem::swap(&mut here, &mut there);
    }
    there.leave().await;
    settled(16, &[&here]).await;
    assert_eq!(here.told("keeper", "z").await, "xyz");
    here.leave().await;
}

pub(crate) async fn timers_move_along() {
    let server = Server::start();
    let setup = Setup::new(server.url(), vec![component(demo("alarm"), b"")]);
    let alarm = |services| {
        ModelEngine::new(services).with_host(&demo("alarm"), |host, message| {
            Box::pin(async move {
                if message.message_type.as_deref() == Some(wasm_core::TIMER_TYPE) {
                    let before = host.get("rung").await.unwrap().unwrap_or_default();
                    let now = [&before, b"!".as_slice()].concat();
                    host.set("rung", now.into()).await.unwrap();
                    return Ok(None);
                }
                if message.payload.as_bytes() == b"set" {
                    let delay = Duration::from_millis(700);
                    host.set_timer(delay, "x".into()).await.unwrap();
                }
                let rung = host.get("rung").await.unwrap().unwrap_or_default();
                Ok(Some(rung.into()))
            })
        })
    };
    let a = setup.join_with("a", alarm).await.unwrap();
    settled(16, &[&a]).await;
    assert_eq!(a.told("alarm", "set").await, "");
    let b = setup.join_with("b", alarm).await.unwrap();
    a.leave().await;
    settled(16, &[&b]).await;
    eventually("it rings", async || b.told("alarm", "look").await == "!").await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(b.told("alarm", "look").await, "!");
    b.leave().await;
}

/// What a node is made of that counts.
pub(crate) fn counters(count: usize) -> Vec<wasm_host::Component> {
    (0..count)
        .map(|n| fixture(&format!("counter{n}"), COUNTER))
        .collect()
}
