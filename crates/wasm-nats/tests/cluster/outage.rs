//! NATS is away for a while.

use tokio::time::{Instant, sleep};

use wasm_core::{ComponentMessage, MessagingError};

use crate::member::{Member, SECOND, Setup, demo, eventually, settled};
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
