//! What happens on one node is told on all.

use tokio::time::timeout;

use wasm_core::ComponentMessage;
use wasm_nats::{Connection, EventOfNode, EventsOfNodes};
use wasm_testkit::wasm_fixtures::TRAP;

use crate::member::{Member, SECOND, Setup, demo, eventually, fixture, settled};
use crate::server::Server;

/// The first of this kind about this component.
async fn first(events: &mut EventsOfNodes, kind: &str, name: &str) -> EventOfNode {
    let id = demo(name).to_string();
    let find = async {
        loop {
            let event = events.next().await.unwrap();
            assert_ne!(event.kind, "missed", "{event:?}");
            if event.kind == kind && event.component.as_ref() == Some(&id) {
                return event;
            }
        }
    };
    let found = timeout(30 * SECOND, find).await;
    found.unwrap_or_else(|_| panic!("nothing is told of {kind} of {name}"))
}

/// The names of those among the first eight traps that a node has.
async fn traps_of(member: &Member) -> Vec<String> {
    let mut names = Vec::new();
    for n in 0..8 {
        let name = format!("trap{n}");
        if member.has(&name).await {
            names.push(name);
        }
    }
    names
}

pub(crate) async fn what_happens_on_a_node_is_told_on_another_and_outside() {
    let server = Server::start();
    let traps = (0..8).map(|n| fixture(&format!("trap{n}"), TRAP));
    let setup = Setup::new(server.url(), traps.collect());
    let (a, b) = (setup.join("a").await, setup.join("b").await);
    settled(16, &[&a, &b]).await;
    let mut config = setup.config("program");
    config.is_making = false;
    let outside = Connection::open(config).await.unwrap();
    let connection = b.node.connection();
    // Two who listen to one connection, and one to another.
    let mut listeners = [
        connection.events().await.unwrap(),
        connection.events().await.unwrap(),
        outside.events().await.unwrap(),
    ];
    for (member, node) in [(&a, "a"), (&b, "b")] {
        let names = traps_of(member).await;
        let name = names.first().expect("each has some of eight");
        let message = ComponentMessage::new(b.host.program_id().clone(), demo(name), "x");
        b.host.dispatch(message).await.unwrap();
        for events in &mut listeners {
            let failed = first(events, "failed", name).await;
            assert_eq!(failed.node, node);
            assert!(
                failed
                    .text
                    .starts_with(&format!("demo/{name}/main has failed"))
            );
            assert!(failed.at_millis > 1_700_000_000_000, "{failed:?}");
        }
    }
    let mut letters = Vec::new();
    eventually("both are dead letters", async || {
        letters = outside.latest_dead_letters(10).await.unwrap();
        letters.len() == 2
    })
    .await;
    for letter in &letters {
        assert!(letter.at_millis > 1_700_000_000_000, "{letter:?}");
    }
    a.leave().await;
    b.leave().await;
}

pub(crate) async fn whoever_is_too_slow_is_told_how_much_was_missed() {
    const TOLD: u64 = 3_000;
    let server = Server::start();
    let setup = Setup::new(server.url(), Vec::new());
    let a = setup.join("a").await;
    let mut events = a.node.connection().events().await.unwrap();
    let mut other = a.node.connection().events().await.unwrap();
    let tell = async_nats::connect(server.url()).await.unwrap();
    for number in 1..=TOLD {
        let record = format!(
            r#"{{"incarnation":"x","number":{number},"at_millis":1,"kind":"woke","text":"{number}"}}"#
        );
        tell.publish("test.event.z", record.into()).await.unwrap();
        // What nobody sends who is a node.
        tell.publish("test.event.z", "{}".into()).await.unwrap();
        let huge = format!(r#"{{"text":"{}"}}"#, "x".repeat(20_000));
        if number == 1 {
            tell.publish("test.event.z", huge.into()).await.unwrap();
        }
    }
    tell.flush().await.unwrap();
    // All have come once the last has, which is never too old for whoever reads.
    let last = async { while other.next().await.unwrap().text != TOLD.to_string() {} };
    timeout(30 * SECOND, last).await.unwrap();
    let (mut read, mut missed) = (0, 0);
    while read + missed < TOLD {
        let event = timeout(30 * SECOND, events.next()).await.unwrap().unwrap();
        match event.kind.as_str() {
            "missed" => {
                assert_eq!(event.node, "");
                let count = event.text.split(' ').next().unwrap();
                missed += count.parse::<u64>().unwrap();
            }
            _ => {
                assert_eq!((event.node.as_str(), event.kind.as_str()), ("z", "woke"));
                read += 1;
                assert_eq!(event.text, (read + missed).to_string());
            }
        }
    }
    assert!(missed > 0 && read >= 1_024, "{read} {missed}");
    a.leave().await;
}
