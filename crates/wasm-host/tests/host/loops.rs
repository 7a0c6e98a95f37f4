//! What would go on forever.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use wasm_core::{ComponentHandle, ComponentId, ComponentMessage, CorrelationId, MessagingError};
use wasm_testkit::wasm_fixtures::{
    BROADCAST_STORM, CALLBACK, COUNTER, ECHO, PING_PONG_LOOP, SEND_FLOOD, SLEEPER,
};

use crate::support::{SECOND, ask, causes, component, demo, last_callback, load, told};

#[tokio::test(start_paused = true)]
async fn a_component_that_asks_itself_is_answered() {
    let host = load(&[component("asker", CALLBACK)]).await;
    let request = told(&host, "asker", "demo/asker/main last").await;
    assert_eq!(last_callback(&host, "asker").await, format!("{request}|-|"));
}

#[tokio::test(start_paused = true)]
async fn two_that_ask_each_other_are_both_answered() {
    let host = load(&[component("a", CALLBACK), component("b", CALLBACK)]).await;
    // a asks b, which asks a, which tells what it has.
    let of_a = told(&host, "a", "demo/b/main demo/a/main last").await;
    let of_b = last_callback(&host, "a").await;
    let of_b = of_b.strip_prefix(&format!("{of_a}|-|")).unwrap();
    assert!(
        last_callback(&host, "b")
            .await
            .starts_with(&format!("{of_b}|-|"))
    );
}

#[tokio::test(start_paused = true)]
async fn three_that_ask_each_other_in_a_circle_are_all_answered() {
    let names = ["a", "b", "c"];
    let host = load(&names.map(|name| component(name, CALLBACK))).await;
    let of_a = told(&host, "a", "demo/b/main demo/c/main demo/a/main last").await;
    let mut request = of_a;
    for name in names {
        let callback = last_callback(&host, name).await;
        let answer = callback.strip_prefix(&format!("{request}|-|")).unwrap();
        answer.clone_into(&mut request);
    }
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_ping_pong_without_end_ends_at_the_hop_limit() {
    let host = load(&[
        component("ping", PING_PONG_LOOP),
        component("pong", PING_PONG_LOOP),
    ])
    .await;
    let ping = host.component(&demo("ping")).await.unwrap().handle.unwrap();
    // What does not come from a message begins at no hop, over and over.
    for games in 1..=2 {
        let mut events = host.events();
        let ball = ComponentMessage::new(demo("ping"), demo("pong"), "ball").with_hops(1);
        host.services().router.send(&ping, ball).await.unwrap();
        // Time would not pass while they are busy, and a drain without a limit not end.
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        for name in ["ping", "pong"] {
            let status = host.component(&demo(name)).await.unwrap();
            assert_eq!(status.handled, games * 32, "{name}");
        }
        // Whoever had it last was told why it did not get further.
        let mut last = String::new();
        while let Ok(Some(event)) = timeout(Duration::ZERO, events.next()).await {
            last = event.to_string();
        }
        assert!(
            last.contains("answered with an error: runtime-error \"delivery-failed\""),
            "{last}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_storm_is_stopped_at_the_budget_of_its_call() {
    let sink = component("sink", COUNTER);
    let host = load(&[component("storm", BROADCAST_STORM), sink]).await;
    let refused = ask(&host, "storm", "").await.unwrap_err();
    assert!(refused.to_string().contains("queue-full"), "{refused}");
    assert_eq!(told(&host, "sink", "").await, "1");
}

#[tokio::test(start_paused = true)]
async fn a_flood_fills_the_mailbox_of_its_target_only() {
    let mut sink = component("sink", SLEEPER);
    sink.supervision.mailbox = 10;
    let host = load(&[
        component("flood", SEND_FLOOD),
        sink,
        component("echo", ECHO),
    ])
    .await;
    let told_flood = told(&host, "flood", "").await;
    assert_eq!(told_flood, "10 queue-full");
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_forged_correlation_id_is_no_request() {
    let host = load(&[
        component("asker", CALLBACK),
        component("thief", CALLBACK),
        component("sleeper", SLEEPER),
    ])
    .await;
    let request = told(&host, "asker", "demo/sleeper/main 100").await;
    let mut guess = request.clone().into_bytes();
    guess[31] ^= 1;
    let guess = String::from_utf8(guess).unwrap();
    for forged in [request.as_str(), &guess, "", "1", &"0".repeat(32)] {
        let refused = ask(&host, "thief", &format!("cancel {forged}"))
            .await
            .unwrap_err();
        assert!(
            refused.to_string().contains("invalid-message"),
            "{forged}: {refused}"
        );
    }
    assert_eq!(
        last_callback(&host, "asker").await,
        format!("{request}|-|awake")
    );
}

#[tokio::test(start_paused = true)]
async fn correlation_ids_do_not_repeat_or_follow_each_other() {
    let host = load(&[component("asker", CALLBACK), component("echo", ECHO)]).await;
    let mut ids = BTreeSet::new();
    for _ in 0..200 {
        let request = told(&host, "asker", "demo/echo/main hello").await;
        assert!(
            request.len() == 32 && ids.insert(request.clone()),
            "{request}"
        );
        host.drain(SECOND).await.unwrap();
    }
    // Were one made from the one before, neighbours would be close together.
    let numbers: Vec<u128> = ids
        .iter()
        .map(|id| u128::from_str_radix(id, 16).unwrap())
        .collect();
    let closest = numbers
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap();
    assert!(closest > u128::from(u64::MAX), "{closest}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_no_requests_and_sends_nothing() {
    let host = load(&[component("echo", ECHO)]).await;
    let router = &host.services().router;
    let strangers = [
        ComponentHandle::new(demo("echo"), u64::MAX),
        ComponentHandle::new(demo("nobody"), 1),
    ];
    for stranger in strangers {
        let message = || ComponentMessage::new(stranger.id().clone(), demo("echo"), "hi");
        let invalid = |e: MessagingError| matches!(e, MessagingError::InvalidMessage(_));
        assert!(router.send(&stranger, message()).await.is_err_and(invalid));
        assert!(
            router
                .request(&stranger, message(), SECOND)
                .await
                .is_err_and(invalid)
        );
        let id = CorrelationId::from("1");
        assert!(
            router
                .cancel_request(&stranger, &id)
                .await
                .is_err_and(invalid)
        );
    }
    assert_eq!(host.component(&demo("echo")).await.unwrap().handled, 0);
}

#[tokio::test(start_paused = true)]
async fn messages_to_a_component_that_is_being_unloaded_are_told_of() {
    let host = load(&[component("sleeper", SLEEPER), component("asker", CALLBACK)]).await;
    host.send(&demo("sleeper"), "500").unwrap();
    tokio::task::yield_now().await;
    let request = told(&host, "asker", "demo/sleeper/main 0").await;
    let unloading = {
        let host = host.clone();
        tokio::spawn(async move { host.unload(&demo("sleeper")).await })
    };
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The call goes on; until it ends, messages are still accepted.
    host.send(&demo("sleeper"), "0").unwrap();
    unloading.await.unwrap().unwrap();
    assert_eq!(causes(&host.dead_letters()), ["unloaded", "unloaded"]);
    assert_eq!(
        host.send(&demo("sleeper"), "0"),
        Err(MessagingError::TargetNotFound(demo("sleeper")))
    );
    let error = "application/vnd.airssys.messaging-error";
    let text = "delivery-failed: its recipient was unloaded";
    assert_eq!(
        last_callback(&host, "asker").await,
        format!("{request}|{error}|{text}")
    );
    let there: Vec<ComponentId> = host.status().await.into_iter().map(|c| c.id).collect();
    assert_eq!(there, [demo("asker")]);
}
