//! NATS is away for a while.

use async_nats::jetstream;
use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use wasm_core::{ComponentMessage, MessagingError};
use wasm_testkit::ModelEngine;

use crate::member::{Member, SECOND, Setup, component, demo, eventually, settled};
use crate::ownership::counters;
use crate::server::Server;

async fn send(from: &Member) -> Result<(), MessagingError> {
    let program = from.host.program_id().clone();
    let message = ComponentMessage::new(program, demo("counter0"), "one");
    from.host.dispatch(message).await
}

pub(crate) async fn what_was_accepted_outlasts_the_server() {
    let mut server = Server::start();
    let setup = Setup::new(server.url(), counters(1));
    let a = setup.join("a").await;
    settled(16, &[&a]).await;
    for _ in 0..10 {
        send(&a).await.unwrap();
    }
    assert_eq!(a.told("counter0", "").await, "11");
    server.kill();
    let began = Instant::now();
    let refused = send(&a).await.unwrap_err();
    assert!(
        matches!(refused, MessagingError::DeliveryFailed(_)),
        "{refused}"
    );
    assert!(began.elapsed() < 10 * SECOND, "{:?}", began.elapsed());
    eventually("components are stopped", async || !a.has("counter0").await).await;
    server.restart();
    eventually("they are back", async || a.has("counter0").await).await;
    // What it had in memory is gone with its instance.
    eventually("messages are accepted", async || send(&a).await.is_ok()).await;
    sleep(SECOND / 5).await;
    // One that was refused because it was not confirmed may have come all the same.
    let count: u64 = a.told("counter0", "").await.parse().unwrap();
    assert!((2..10).contains(&count), "{count}");
    a.leave().await;
}

/// The lease goes on, and the stream of data answers nothing. A call takes 2 seconds at the most,
/// which is less than all of them have patience for together.
pub(crate) async fn writes_that_wait_for_one_another_are_not_patient_one_by_one() {
    let server = Server::start();
    let names: Vec<_> = (0..10).map(|n| format!("keeper{n}")).collect();
    let keepers = names.iter().map(|name| component(demo(name), b""));
    let mut setup = Setup::new(server.url(), keepers.collect());
    setup.partitions = 1;
    setup.patience = SECOND / 2;
    let engine = |services| {
        names
            .iter()
            .fold(ModelEngine::new(services), |engine, name| {
                engine.with_host(&demo(name), |host, _| {
                    Box::pin(async move {
                        let set = host.set("key", "value".into()).await;
                        Ok(Some(format!("{set:?}").into()))
                    })
                })
            })
    };
    let a = setup.join_with("a", engine).await.unwrap();
    settled(1, &[&a]).await;
    let answers = || join_all(names.iter().map(|name| a.told(name, "set")));
    let stored = answers().await;
    assert!(stored.iter().all(|it| it == "Ok(())"), "{stored:?}");
    let client = async_nats::connect(server.url()).await.unwrap();
    let streams = jetstream::new(client);
    streams.delete_stream("KV_test-data").await.unwrap();
    let failed = answers().await;
    assert!(
        failed
            .iter()
            .all(|it| it.contains("NATS cannot be reached")),
        "{failed:?}"
    );
    a.host.stop().await;
}
