//! Messages between nodes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use wasm_core::{ComponentMessage, MessagingError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{CALLBACK, ECHO};

use crate::member::{Member, SECOND, Setup, component, demo, eventually, fixture, settled};
use crate::ownership::counters;
use crate::server::Server;

/// Two nodes that own everything.
async fn two(setup: &Setup) -> (Member, Member) {
    let a = setup.join("a").await;
    let b = setup.join("b").await;
    settled(setup.partitions, &[&a, &b]).await;
    (a, b)
}

async fn send(from: &Member, name: &str, text: &str) -> Result<(), MessagingError> {
    let program = from.host.program_id().clone();
    let message = ComponentMessage::new(program, demo(name), text.to_owned());
    from.host.dispatch(message).await
}

pub(crate) async fn a_message_reaches_a_component_of_another_node() {
    let server = Server::start();
    let setup = Setup::new(server.url(), counters(8));
    let (a, b) = two(&setup).await;
    for n in 0..8 {
        let name = format!("counter{n}");
        for from in [&a, &b] {
            send(from, &name, "one").await.unwrap();
        }
        // It follows the messages of its node.
        let count = a.told(&name, "").await;
        assert!(count == "2" || count == "3", "{count}");
        assert_eq!(b.told(&name, "").await, "4");
    }
    a.leave().await;
    b.leave().await;
}

pub(crate) async fn a_request_is_answered_from_another_node() {
    let server = Server::start();
    let mut components: Vec<_> = (0..6).map(|n| fixture(&format!("e{n}"), ECHO)).collect();
    components.extend((0..6).map(|n| fixture(&format!("asker{n}"), CALLBACK)));
    let setup = Setup::new(server.url(), components);
    let (a, b) = two(&setup).await;
    for n in 0..6 {
        let asker = format!("asker{n}");
        let asked = a.told(&asker, &format!("demo/e{n}/main hello")).await;
        let expected = format!("{asked}|-|hello");
        eventually("the callback", async || {
            a.told(&asker, "last").await == expected
        })
        .await;
        let text = "demo/nobody/main hello".to_owned();
        let nobody = b.host.request(&demo(&asker), text, SECOND).await;
        let nobody = nobody.unwrap_err().to_string();
        assert!(nobody.contains("target-not-found"), "{nobody}");
    }
    a.leave().await;
    b.leave().await;
}

pub(crate) async fn what_nobody_is_is_not_found() {
    let server = Server::start();
    let setup = Setup::new(server.url(), counters(1));
    let a = setup.join("a").await;
    let error = send(&a, "nobody", "x").await.unwrap_err();
    assert_eq!(error, MessagingError::TargetNotFound(demo("nobody")));
    let large = "x".repeat(2 << 20);
    let error = send(&a, "counter0", &large).await.unwrap_err();
    assert!(error.to_string().contains("max_payload"), "{error}");
    a.leave().await;
}

pub(crate) async fn messages_arrive_in_order_and_once() {
    let server = Server::start();
    let log = demo("log");
    let seen = Arc::new(Mutex::new(Vec::<String>::new()));
    let engine = |seen: &Arc<Mutex<Vec<String>>>| {
        let seen = Arc::clone(seen);
        move |services| {
            ModelEngine::new(services).with(&demo("log"), move |message| {
                let text = String::from_utf8_lossy(message.payload.as_bytes()).into_owned();
                seen.lock().unwrap().push(text);
                Ok(None)
            })
        }
    };
    let setup = Setup::new(server.url(), vec![component(log, b"")]);
    let a = setup.join_with("a", engine(&seen)).await.unwrap();
    let b = setup.join_with("b", engine(&seen)).await.unwrap();
    settled(16, &[&a, &b]).await;
    let (one, other) = tokio::join!(
        async {
            for n in 0..200 {
                send(&a, "log", &format!("a{n}")).await.unwrap();
            }
        },
        async {
            for n in 0..200 {
                send(&b, "log", &format!("b{n}")).await.unwrap();
            }
        }
    );
    let ((), ()) = (one, other);
    eventually("all have come", async || seen.lock().unwrap().len() >= 400).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let seen = seen.lock().unwrap().clone();
    for from in ["a", "b"] {
        let its: Vec<_> = seen.iter().filter(|it| it.starts_with(from)).collect();
        let expected: Vec<_> = (0..200).map(|n| format!("{from}{n}")).collect();
        assert_eq!(its, expected.iter().collect::<Vec<_>>());
    }
    a.leave().await;
    b.leave().await;
}

pub(crate) async fn a_queue_that_is_full_is_told() {
    let server = Server::start();
    let mut setup = Setup::new(server.url(), vec![component(demo("slow"), b"")]);
    setup.max_waiting = 10;
    let slow = |services| {
        ModelEngine::new(services).with_host(&demo("slow"), |_, _| {
            Box::pin(async {
                tokio::time::sleep(SECOND / 2).await;
                Ok(None)
            })
        })
    };
    let a = setup.join_with("a", slow).await.unwrap();
    settled(16, &[&a]).await;
    let mut outcomes = Vec::new();
    for _ in 0..14 {
        outcomes.push(send(&a, "slow", "x").await);
    }
    assert!(outcomes[..10].iter().all(Result::is_ok), "{outcomes:?}");
    assert!(
        outcomes.contains(&Err(MessagingError::QueueFull)),
        "{outcomes:?}"
    );
    a.leave().await;
}
