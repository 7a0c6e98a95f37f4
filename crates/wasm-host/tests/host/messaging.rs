//! A message's way.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use wasm_core::{ComponentMessage, MessagingError, WasmError};
use wasm_host::{
    DeadLetterCause, Event, Events, HostError, HostLimits, LetterKind, Phase, RequestError,
    WithdrawnBecause,
};
use wasm_testkit::wasm_fixtures::{
    CALLBACK, COUNTER, ECHO, ENVELOPE, GUEST_ERROR, HELLO, INIT_SENDS, SENDER, SLEEP_FOREVER,
    SLEEPER, TRAP,
};

use crate::support::{
    SECOND, TIMEOUT, ask, causes, component, demo, host, host_with, is, last_callback, load,
    restarted, told, until,
};

#[tokio::test(start_paused = true)]
async fn a_request_of_the_program_is_answered() {
    let host = load(&[component("echo", ECHO)]).await;
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_message_of_the_program_arrives_in_its_name() {
    let host = load(&[component("envelope", ENVELOPE)]).await;
    let shown = told(&host, "envelope", "hello").await;
    let parts: Vec<&str> = shown.split('|').collect();
    // SENDER|CORRELATION|REPLY-TO|TIME|TYPE|LENGTH
    assert_eq!(
        (parts[0], parts[2], parts[4], parts[5]),
        ("host/program/main", "-", "-", "5")
    );
    assert_eq!(parts[1].len(), 32, "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_component_sends_another_a_message() {
    let host = load(&[component("sender", SENDER), component("counter", COUNTER)]).await;
    host.send(&demo("sender"), "demo/counter/main one").unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(told(&host, "counter", "").await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_component_comes_back_as_one_callback() {
    let host = load(&[component("asker", CALLBACK), component("echo", ECHO)]).await;
    let request = told(&host, "asker", "demo/echo/main hello").await;
    assert_eq!(
        last_callback(&host, "asker").await,
        format!("{request}|-|hello")
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_nothing_is_an_empty_callback() {
    let host = load(&[component("asker", CALLBACK), component("other", CALLBACK)]).await;
    let request = told(&host, "asker", "demo/other/main last").await;
    assert_eq!(last_callback(&host, "asker").await, format!("{request}|-|"));
}

#[tokio::test(start_paused = true)]
async fn whoever_fails_over_a_request_is_told_of_in_the_callback() {
    const ERROR: &str = "application/vnd.airssys.messaging-error";
    for (fixture, text) in [
        (
            GUEST_ERROR,
            "delivery-failed: demo/other/main answered with an error: runtime-error \"as asked\"",
        ),
        (
            TRAP,
            "delivery-failed: demo/other/main trapped in `handle-message`: `unreachable` was \
             executed",
        ),
        (HELLO, "delivery-failed: demo/other/main does not export"),
    ] {
        let host = load(&[component("asker", CALLBACK), component("other", fixture)]).await;
        let request = told(&host, "asker", "demo/other/main hello").await;
        let callback = last_callback(&host, "asker").await;
        let expected = format!("{request}|{ERROR}|{text}");
        assert!(callback.starts_with(&expected), "{callback}\n{expected}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_in_time_is_told_of_once() {
    let host = load(&[component("asker", CALLBACK), component("sleeper", SLEEPER)]).await;
    // It has a second; the answer comes after 1.5.
    let request = told(&host, "asker", "demo/sleeper/main 1500").await;
    sleep(Duration::from_millis(1_100)).await;
    let late = format!("{request}|application/vnd.airssys.messaging-error|correlation-timeout");
    assert_eq!(told(&host, "asker", "last").await, late);
    let before = host.component(&demo("asker")).await.unwrap().handled;
    host.drain(SECOND).await.unwrap();
    assert_eq!(told(&host, "asker", "last").await, late);
    let after = host.component(&demo("asker")).await.unwrap().handled;
    assert_eq!(after - before, 1, "the late answer came too");
}

#[tokio::test(start_paused = true)]
async fn a_request_of_the_program_that_is_not_answered_in_time_ends() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    let began = Instant::now();
    let asked = host.request(&demo("sleeper"), "1500", SECOND).await;
    assert!(
        matches!(
            &asked,
            Err(RequestError::Messaging(MessagingError::CorrelationTimeout(
                _
            )))
        ),
        "{asked:?}"
    );
    assert!(began.elapsed() < SECOND + Duration::from_millis(10));
    assert_eq!(told(&host, "sleeper", "0").await, "awake");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_the_program_drops_is_given_up() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    let sleeper = demo("sleeper");
    for _ in 0..1_000 {
        let request = host.request(&sleeper, "5", 10 * SECOND);
        assert!(tokio::time::timeout(Duration::ZERO, request).await.is_err());
    }
    assert_eq!(told(&host, "sleeper", "0").await, "awake");
}

/// Requests that were withdrawn so far, and why.
fn withdrawn(events: &mut Events) -> Vec<WithdrawnBecause> {
    let mut withdrawn = Vec::new();
    while let Some(event) = events.try_next() {
        if let Event::Withdrawn { because, .. } = event {
            withdrawn.push(because);
        }
    }
    withdrawn
}

#[tokio::test(start_paused = true)]
async fn what_nobody_waits_for_any_more_is_not_handled() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    let mut events = host.events();
    let sleeper = demo("sleeper");
    let began = Instant::now();
    let patience = Duration::from_millis(50);
    let asked = || host.request(&sleeper, "1000", patience);
    let (first, second, third) = tokio::join!(asked(), asked(), asked());
    for late in [first, second, third] {
        assert_eq!(
            late.unwrap_err().to_string().split_whitespace().last(),
            Some("time")
        );
    }
    assert_eq!(began.elapsed(), patience);
    // The first one is being handled; the others are not in its way any more.
    let status = host.component(&sleeper).await.unwrap();
    assert_eq!((status.phase, status.waiting), (Phase::Busy, 0));
    let timed_out = [WithdrawnBecause::TimedOut; 2];
    assert_eq!(withdrawn(&mut events), timed_out);
    for _ in 0..20 {
        let given_up = host.request(&sleeper, "1000", 10 * SECOND);
        tokio::time::timeout(patience, given_up).await.unwrap_err();
    }
    assert_eq!(withdrawn(&mut events).len(), 19);
    assert_eq!(told(&host, "sleeper", "0").await, "awake");
    assert!(began.elapsed() <= 3 * SECOND, "{:?}", began.elapsed());
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_withdrawn_makes_room_in_a_mailbox() {
    let mut small = component("sleeper", SLEEPER);
    small.supervision.mailbox = 2;
    let host = load(&[small]).await;
    let sleeper = demo("sleeper");
    host.send(&sleeper, "1000").unwrap();
    tokio::task::yield_now().await;
    for _ in 0..10 {
        let asked = || host.request(&sleeper, "1000", SECOND / 100);
        let (one, other) = tokio::join!(asked(), asked());
        for late in [one, other] {
            assert!(
                matches!(
                    &late,
                    Err(RequestError::Messaging(MessagingError::CorrelationTimeout(
                        _
                    )))
                ),
                "{late:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_a_component_ends_with_it_or_by_its_word() {
    let host = load(&[
        restarted("asker", CALLBACK),
        component("sleeper", SLEEPER),
        component("counter", COUNTER),
    ])
    .await;
    let mut events = host.events();
    host.send(&demo("sleeper"), "500").unwrap();
    let request = told(&host, "asker", "demo/sleeper/main 0").await;
    ask(&host, "asker", &format!("cancel {request}"))
        .await
        .unwrap();
    assert_eq!(withdrawn(&mut events), [WithdrawnBecause::GivenUp]);
    told(&host, "asker", "demo/sleeper/main 0").await;
    host.restart(&demo("asker")).await.unwrap();
    assert_eq!(withdrawn(&mut events), [WithdrawnBecause::GivenUp]);
    host.drain(SECOND).await.unwrap();
    assert_eq!(host.component(&demo("sleeper")).await.unwrap().handled, 1);
    assert_eq!(ask(&host, "asker", "last").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_is_not_found() {
    let host = load(&[component("sender", SENDER)]).await;
    let nobody = || MessagingError::TargetNotFound(demo("nobody"));
    assert_eq!(host.send(&demo("nobody"), "hi"), Err(nobody()));
    let asked = host.request(&demo("nobody"), "hi", SECOND).await;
    assert!(
        matches!(&asked, Err(RequestError::Messaging(e)) if *e == nobody()),
        "{asked:?}"
    );
    let told = ask(&host, "sender", "demo/nobody/main hi")
        .await
        .unwrap_err();
    assert!(told.to_string().contains("target-not-found"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_refuses_and_keeps_what_it_has() {
    let mut full = component("sleeper", SLEEPER);
    full.supervision.mailbox = 3;
    let host = load(&[full]).await;
    host.send(&demo("sleeper"), "100").unwrap();
    tokio::task::yield_now().await;
    for _ in 0..3 {
        host.send(&demo("sleeper"), "0").unwrap();
    }
    assert_eq!(
        host.send(&demo("sleeper"), "0"),
        Err(MessagingError::QueueFull)
    );
    host.drain(SECOND).await.unwrap();
    assert_eq!(host.component(&demo("sleeper")).await.unwrap().handled, 4);
    host.send(&demo("sleeper"), "0").unwrap();
}

#[tokio::test(start_paused = true)]
async fn mailboxes_are_bounded_in_bytes() {
    let limits = HostLimits::default()
        .with_mailbox_bytes(100_000)
        .with_queued_bytes(200_000);
    let host = host_with(limits);
    for name in ["a", "b", "c"] {
        host.load(component(name, ECHO)).await.unwrap();
    }
    let (a, b, c) = (demo("a"), demo("b"), demo("c"));
    assert_eq!(
        host.send(&a, vec![0; 100_001]),
        Err(MessagingError::QueueFull)
    );
    host.send(&a, vec![0; 100_000]).unwrap();
    assert_eq!(host.send(&a, "x"), Err(MessagingError::QueueFull));
    // 256 bytes of each message are its envelope.
    assert_eq!(
        host.send(&b, vec![0; 99_489]),
        Err(MessagingError::QueueFull)
    );
    host.send(&b, vec![0; 99_488]).unwrap();
    // A mailbox that holds little has room all the same.
    host.send(&c, vec![0; (64 << 10) - 256]).unwrap();
    assert_eq!(host.send(&c, "x"), Err(MessagingError::QueueFull));
    host.drain(SECOND).await.unwrap();
    host.send(&b, vec![0; 100_000]).unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_room_is_replaced_by_an_error() {
    let host = host_with(HostLimits::default().with_mailbox_bytes(60));
    host.load(component("asker", CALLBACK)).await.unwrap();
    host.load(component("envelope", ENVELOPE)).await.unwrap();
    let request = told(&host, "asker", "demo/envelope/main hello").await;
    let callback = last_callback(&host, "asker").await;
    let text = "delivery-failed: the answer has ";
    let expected = format!("{request}|application/vnd.airssys.messaging-error|{text}");
    assert!(callback.starts_with(&expected), "{callback}");
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_needs_room_in_the_host() {
    let host = host_with(HostLimits::default().with_queued_bytes(1_000));
    host.load(component("asker", CALLBACK)).await.unwrap();
    host.load(component("echo", ECHO)).await.unwrap();
    for (bytes, arrives) in [(4_096, true), (4_097, false)] {
        let text = format!("demo/echo/main {}", "x".repeat(bytes));
        told(&host, "asker", &text).await;
        let callback = last_callback(&host, "asker").await;
        assert_eq!(callback.ends_with("xxx"), arrives, "{bytes}");
        let refused = callback.contains("the host has no room for the answer");
        assert_ne!(refused, arrives, "{bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_dead_letters_are_kept() {
    for (letters, bytes, kept) in [(2, 1 << 20, 2), (100, 1_500, 2), (100, 1 << 20, 5)] {
        let host = host_with(HostLimits::default().with_dead_letters(letters, bytes));
        host.load(component("sleeper", SLEEPER)).await.unwrap();
        for _ in 0..6 {
            let nap = format!("500{}", " ".repeat(400));
            host.send(&demo("sleeper"), nap).unwrap();
        }
        // The first one is being handled.
        sleep(Duration::from_millis(100)).await;
        host.unload(&demo("sleeper")).await.unwrap();
        assert_eq!(host.dead_letters().len(), kept, "{letters} of {bytes}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_has_so_many_open_requests_at_the_most() {
    let host = host_with(HostLimits::default().with_open_requests(2));
    host.load(component("asker", CALLBACK)).await.unwrap();
    host.load(component("sleeper", SLEEPER)).await.unwrap();
    let first = told(&host, "asker", "demo/sleeper/main 500").await;
    told(&host, "asker", "demo/sleeper/main 0").await;
    let third = ask(&host, "asker", "demo/sleeper/main 0")
        .await
        .unwrap_err();
    assert!(third.to_string().contains("queue-full"), "{third}");
    assert_eq!(
        ask(&host, "asker", &format!("cancel {first}"))
            .await
            .unwrap(),
        None
    );
    let third = told(&host, "asker", "demo/sleeper/main 0").await;
    assert!(last_callback(&host, "asker").await.starts_with(&third));
    told(&host, "asker", "demo/sleeper/main 0").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_in_initialize_counts_as_an_open_request() {
    let host = host_with(HostLimits::default().with_open_requests(1));
    host.load(component("sink", SLEEP_FOREVER)).await.unwrap();
    let first = host
        .load(component("first", INIT_SENDS))
        .await
        .unwrap()
        .unwrap();
    let another = || {
        let message = ComponentMessage::new(demo("first"), demo("sink"), "more");
        host.services().router.request(&first, message, SECOND)
    };
    assert_eq!(another().await, Err(MessagingError::QueueFull));
    // By then it has timed out.
    sleep(2 * SECOND).await;
    another().await.unwrap();
    let none = host_with(HostLimits::default().with_open_requests(0));
    none.load(component("sink", SLEEP_FOREVER)).await.unwrap();
    let refused = none.load(component("first", INIT_SENDS)).await.unwrap_err();
    assert!(refused.to_string().contains("queue-full"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_given_up_has_no_callback() {
    let host = load(&[component("asker", CALLBACK), component("sleeper", SLEEPER)]).await;
    let request = told(&host, "asker", "demo/sleeper/main 100").await;
    let cancel = format!("cancel {request}");
    assert_eq!(ask(&host, "asker", &cancel).await.unwrap(), None);
    let again = ask(&host, "asker", &cancel).await.unwrap_err();
    assert!(again.to_string().contains("invalid-message"), "{again}");
    host.drain(10 * SECOND).await.unwrap();
    assert_eq!(ask(&host, "asker", "last").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn messages_of_one_sender_keep_their_order() {
    let host = load(&[component("sender", SENDER), component("asker", CALLBACK)]).await;
    let mut events = host.events();
    for n in 0..100 {
        host.send(
            &demo("sender"),
            format!("demo/asker/main {}", "x".repeat(n)),
        )
        .unwrap();
    }
    host.drain(SECOND).await.unwrap();
    let mut sizes = Vec::new();
    while let Ok(Some(event)) = tokio::time::timeout(Duration::ZERO, events.next()).await {
        if let Event::Message { from, bytes, .. } = event
            && from == demo("sender")
        {
            sizes.push(bytes);
        }
    }
    assert_eq!(sizes, (0..100).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn the_message_that_killed_a_component_is_not_delivered_again() {
    let host = load(&[restarted("trap", TRAP)]).await;
    let asked = ask(&host, "trap", "poison").await.unwrap_err();
    assert!(
        matches!(&asked, RequestError::Component(e) if matches!(**e, WasmError::Trapped { .. })),
        "{asked}"
    );
    assert_eq!(told(&host, "trap", "ok").await, "ok");
    let dead = host.dead_letters();
    assert_eq!(causes(&dead), ["failed"]);
    assert_eq!(dead[0].message.payload.as_bytes(), b"poison");
    assert_eq!(dead[0].kind, LetterKind::Request);
    assert!(matches!(&dead[0].cause, DeadLetterCause::Failed(e) if e.fails_instance()));
    assert_eq!(host.take_dead_letters().len(), 1);
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_takes_no_messages_lives_on() {
    let host = load(&[component("hello", HELLO)]).await;
    let asked = ask(&host, "hello", "hi").await.unwrap_err();
    assert!(asked.to_string().contains("does not export"), "{asked}");
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
    assert!(is(&host, "hello", Phase::Ready).await);
}

#[tokio::test(start_paused = true)]
async fn a_broadcast_of_the_program_reaches_the_others_when_one_is_not_there() {
    let host = load(&[component("a", COUNTER), component("b", COUNTER)]).await;
    let all = ["a", "nobody", "b"].map(demo);
    assert_eq!(
        host.broadcast(&all, "hello"),
        Err(MessagingError::TargetNotFound(demo("nobody")))
    );
    host.drain(SECOND).await.unwrap();
    assert_eq!(told(&host, "a", "").await, "2");
    assert_eq!(told(&host, "b", "").await, "2");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_sleeps_keeps_nobody_else_waiting() {
    let host = load(&[component("sleeper", SLEEP_FOREVER), component("echo", ECHO)]).await;
    host.send(&demo("sleeper"), "sleep").unwrap();
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert_eq!(told(&host, "echo", "hello").await, "hello");
    assert!(began.elapsed() < TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_takes_too_long_says_what_is_left() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    for _ in 0..3 {
        host.send(&demo("sleeper"), "900").unwrap();
    }
    let drained = host.drain(SECOND).await.unwrap_err();
    assert!(
        matches!(drained, HostError::NotDrained { messages: 2 }),
        "{drained}"
    );
    host.drain(2 * SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_host_is_shared_by_its_clones() {
    let one = host();
    let two = one.clone();
    one.load(component("echo", ECHO)).await.unwrap();
    assert_eq!(told(&two, "echo", "hello").await, "hello");
    assert_eq!(
        Arc::strong_count(one.engine()),
        Arc::strong_count(two.engine())
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_is_delivered_once_more() {
    let host = load(&[restarted("trap", TRAP), component("asker", CALLBACK)]).await;
    let mut events = host.events();
    ask(&host, "trap", "poison").await.unwrap_err();
    let [dead] = &host.dead_letters()[..] else {
        panic!("{:?}", host.dead_letters());
    };
    assert_eq!((dead.number, dead.redeliveries), (1, 0));
    host.redeliver(1).unwrap();
    host.drain(SECOND).await.unwrap();
    // It is as poisonous as before.
    let [dead] = &host.dead_letters()[..] else {
        panic!("{:?}", host.dead_letters());
    };
    assert_eq!((dead.number, dead.redeliveries), (2, 1));
    assert_eq!(dead.kind, LetterKind::Message);
    assert_eq!(dead.message.payload.as_bytes(), b"poison");
    assert_eq!(
        host.redeliver(2).unwrap_err().to_string(),
        "dead letter 2 cannot be delivered again: it was delivered again before"
    );
    let gone = host.redeliver(1).unwrap_err();
    assert!(matches!(gone, HostError::NoDeadLetter(1)), "{gone}");
    let is_redelivered = |e: &Event| matches!(e, Event::Redelivered { .. });
    let seen = until(&mut events, is_redelivered).await;
    assert_eq!(
        seen.last().unwrap().to_string(),
        "dead letter 1 from host/program/main to demo/trap/main is delivered again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dead_letter_that_is_not_accepted_stays_one() {
    let host = load(&[component("trap", TRAP)]).await;
    host.send(&demo("trap"), "poison").unwrap();
    host.send(&demo("trap"), "ok").unwrap();
    host.drain(SECOND).await.unwrap();
    // Behind the one that failed it.
    let number = host.dead_letters()[0].number;
    assert_eq!(
        host.redeliver(number).unwrap_err().to_string(),
        format!(
            "dead letter {number} is not accepted: delivery failed: demo/trap/main is \
             quarantined: it has failed and is not restarted"
        )
    );
    assert_eq!(host.dead_letters()[0].number, number);
    host.restart(&demo("trap")).await.unwrap();
    host.redeliver(number).unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
    assert_eq!(host.component(&demo("trap")).await.unwrap().handled, 1);
}
