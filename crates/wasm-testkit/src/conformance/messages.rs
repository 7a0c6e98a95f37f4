use wasm_core::{
    ComponentMetadata, ComponentState, GuestError, HealthStatus, LIFECYCLE_INTERFACE,
    MessagePayload, Timestamp, WasmError,
};
use wasm_fixtures::{
    CALLBACK, CALLBACK_FAILS, COUNTER, ECHO, ENVELOPE, GUEST_ERROR, HEALTH, HELLO, INIT_CONFIG,
    METADATA, SENDER,
};

use super::lab::{AMPLE, config, id, limited, message, permitted};
use super::probes::GatedRouter;
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["messages":
        "Calls `handle-message`; `None` is a guest that has no reply." => [
            a_reply_is_what_the_guest_answered,
            no_reply_and_an_empty_one_are_told_apart,
            payloads_are_bytes_of_any_kind_and_length,
            a_message_is_handled_once,
            the_whole_envelope_reaches_the_guest,
            what_an_envelope_does_not_hold_is_none,
        ],
        "Whom it is for. Routers deliver by it; an engine that is given a message delivers it to \
         the handle it was called with." => [
            a_message_goes_to_the_handle_that_is_called,
        ],
        "`WasmError::ExportNotFound` when the component has no `component-lifecycle`." => [
            a_component_without_a_lifecycle_takes_no_messages,
        ],
        "Calls `handle-callback` with the answer to a request that the component made." => [
            a_callback_carries_correlation_type_and_payload,
            a_callback_is_delivered_once,
        ],
        "A guest that returns an error has answered: the call ends in `WasmError::GuestError` \
         and the component stays ready." => [
            an_error_of_the_guest_is_its_answer,
            an_error_of_a_callback_is_its_answer,
            an_error_of_the_guest_keeps_its_memory,
        ],
        "Handed to `initialize`, in this order." => [
            initialize_is_given_the_environment_in_order,
        ],
        "Handed to `initialize` as `config-data`." => [
            initialize_is_given_the_data,
            no_data_and_empty_data_are_told_apart,
        ],
        "What it may use." => [
            initialize_is_given_the_limits,
        ],
        "What a component says of its own condition." => [
            health_is_what_the_guest_says,
        ],
        "What a component says of itself; nothing of it is verified." => [
            metadata_is_what_the_guest_says,
        ],
    ]
}

async fn a_reply_is_what_the_guest_answered<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    for text in ["hello", "again", "ünïcödé"] {
        assert_eq!(bench.ask(&echo, text).await, text);
    }
}

async fn no_reply_and_an_empty_one_are_told_apart<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench_with(GatedRouter::open().services());
    let echo = bench.load(ECHO, config()).await;
    assert_eq!(bench.tell(&echo, "").await.as_deref(), Some(""));
    let sender = bench.load(SENDER, permitted()).await;
    assert_eq!(bench.tell(&sender, "demo/a/main hi").await, None);
}

async fn payloads_are_bytes_of_any_kind_and_length<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let echo = bench.load(ECHO, config()).await;
    for length in [0, 1, 255, 256, 65_535, 65_536, 300_000] {
        let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
        let payload = MessagePayload::from(payload);
        let message = message(&echo, payload.clone());
        match bench.engine.call_handle_message(&echo, message).await {
            Ok(reply) => assert!(reply == Some(payload), "{length} bytes came back changed"),
            Err(error) => panic!("{length} bytes: {error}"),
        }
    }
}

async fn a_message_is_handled_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let counter = bench.load(COUNTER, config()).await;
    for count in 1..=5 {
        assert_eq!(bench.ask(&counter, "").await, count.to_string());
    }
}

async fn the_whole_envelope_reaches_the_guest<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(ENVELOPE, config()).await;
    let message = message(&handle, "12345")
        .with_correlation_id("c-1")
        .with_reply_to(id("a/b/c"))
        .with_message_type("text/plain")
        .with_timestamp(Timestamp {
            seconds: 7,
            nanoseconds: 1_002,
        });
    let shown = "test/sender/main|c-1|a/b/c|7.000001002|text/plain|5";
    match bench.engine.call_handle_message(&handle, message).await {
        Ok(reply) => assert_eq!(reply.as_ref().map(AsRef::as_ref), Some(shown.as_bytes())),
        Err(error) => panic!("{error}"),
    }
}

async fn what_an_envelope_does_not_hold_is_none<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(ENVELOPE, config()).await;
    let shown = bench.ask(&handle, "").await;
    assert_eq!(shown, "test/sender/main|-|-|0.000000000|-|0");
}

async fn a_message_goes_to_the_handle_that_is_called<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let called = bench.load_as(&id("demo/a/main"), COUNTER, config()).await;
    let named = bench.load_as(&id("demo/b/main"), COUNTER, config()).await;
    for _ in 0..2 {
        let message = message(&named, "");
        if let Err(error) = bench.engine.call_handle_message(&called, message).await {
            panic!("{error}");
        }
    }
    assert_eq!(bench.ask(&called, "").await, "3");
    assert_eq!(bench.ask(&named, "").await, "1");
}

async fn a_component_without_a_lifecycle_takes_no_messages<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let hello = bench.load(HELLO, config()).await;
    let functions = ["handle-message", "handle-callback", "health", "metadata"];
    let errors = bench.errors_of_calls(&hello).await;
    for (error, function) in errors.iter().zip(functions) {
        let expected = format!("{LIFECYCLE_INTERFACE}#{function}");
        assert!(
            matches!(error, WasmError::ExportNotFound { component, export }
                if component == hello.id() && **export == *expected),
            "{expected} should not be found, but: {error}"
        );
    }
    let usage = bench.usage(&hello).await;
    let expected = (ComponentState::Ready, 0);
    assert_eq!((usage.state, usage.calls), expected, "state and calls");
}

async fn a_callback_carries_correlation_type_and_payload<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let callback = bench.load(CALLBACK, permitted()).await;
    assert_eq!(
        bench.tell(&callback, "last").await,
        None,
        "before the first"
    );
    let answer = message(&callback, "answer")
        .with_correlation_id("c-9")
        .with_message_type("text/x");
    if let Err(error) = bench.engine.call_handle_callback(&callback, answer).await {
        panic!("{error}");
    }
    assert_eq!(bench.ask(&callback, "last").await, "c-9|text/x|answer");
    if let Err(error) = bench.call_back(&callback, "bare").await {
        panic!("{error}");
    }
    assert_eq!(bench.ask(&callback, "last").await, "-|-|bare");
}

async fn a_callback_is_delivered_once<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let callback = bench.load(CALLBACK, permitted()).await;
    for calls in 1..=3 {
        if let Err(error) = bench.call_back(&callback, "answer").await {
            panic!("{error}");
        }
        assert_eq!(
            bench.usage(&callback).await.calls,
            calls,
            "calls of the guest"
        );
    }
}

async fn an_error_of_the_guest_is_its_answer<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(GUEST_ERROR, config()).await;
    for _ in 0..3 {
        let error = bench.fail(&handle, "fail").await;
        assert!(
            matches!(&error, WasmError::GuestError {
                component, error: GuestError::RuntimeError(text)
            } if component == handle.id() && text == "as asked"),
            "{error}"
        );
        assert_eq!(bench.state(&handle).await, ComponentState::Ready);
        assert_eq!(bench.ask(&handle, "ok").await, "ok");
    }
}

async fn an_error_of_a_callback_is_its_answer<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(CALLBACK_FAILS, config()).await;
    for _ in 0..2 {
        let outcome = bench.call_back(&handle, "").await;
        assert!(
            matches!(&outcome, Err(WasmError::GuestError {
                error: GuestError::RuntimeError(text), ..
            }) if text == "unwanted"),
            "{outcome:?}"
        );
        assert_eq!(bench.state(&handle).await, ComponentState::Ready);
        assert_eq!(bench.tell(&handle, "").await, None);
    }
}

async fn an_error_of_the_guest_keeps_its_memory<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    // Requests that are not permitted are what it answers with an error.
    let callback = bench.load(CALLBACK, config()).await;
    if let Err(error) = bench.call_back(&callback, "kept").await {
        panic!("{error}");
    }
    let refusal = bench.refusal(&callback, "demo/a/main question").await;
    assert_eq!(refusal, "delivery-failed");
    assert_eq!(bench.ask(&callback, "last").await, "-|-|kept");
}

async fn initialize_is_given_the_environment_in_order<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let given = config()
        .with_env("B", "1")
        .with_env("A", "two words")
        .with_env("B", "3");
    let handle = bench.load(INIT_CONFIG, given).await;
    // After a restart as at first.
    for _ in 0..2 {
        let shown = bench.ask(&handle, "env").await;
        assert_eq!(shown, "B=1\nA=two words\nB=3\n");
        bench.restart(&handle).await;
    }
    let without = bench.load(INIT_CONFIG, config()).await;
    assert_eq!(bench.ask(&without, "env").await, "");
}

async fn initialize_is_given_the_data<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let given = config().with_config_data("{\"k\": 1}");
    let handle = bench.load(INIT_CONFIG, given).await;
    for _ in 0..2 {
        assert_eq!(bench.ask(&handle, "").await, "{\"k\": 1}");
        bench.restart(&handle).await;
    }
}

async fn no_data_and_empty_data_are_told_apart<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let none = bench.load(INIT_CONFIG, config()).await;
    assert_eq!(bench.tell(&none, "").await, None);
    let empty = bench.load(INIT_CONFIG, config().with_config_data("")).await;
    assert_eq!(bench.tell(&empty, "").await.as_deref(), Some(""));
}

async fn initialize_is_given_the_limits<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for (fuel, shown) in [
        (Some(12_345_678), "600000 60000 12345678"),
        (None, "600000 60000 unmetered"),
    ] {
        let handle = bench.load(INIT_CONFIG, limited(600_000, AMPLE, fuel)).await;
        let limits = bench.ask(&handle, "limits").await;
        assert_eq!(limits.trim_end(), shown);
    }
}

async fn health_is_what_the_guest_says<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    let handle = bench.load(HEALTH, config()).await;
    for (told, expected) in [
        (None, HealthStatus::Healthy),
        (Some("degraded"), HealthStatus::Degraded),
        (Some("unhealthy"), HealthStatus::Unhealthy),
        (Some("who knows"), HealthStatus::Unknown),
        (Some("healthy"), HealthStatus::Healthy),
    ] {
        if let Some(told) = told {
            assert_eq!(bench.tell(&handle, told).await, None);
        }
        match bench.engine.health(&handle).await {
            Ok(health) => assert_eq!(health, expected, "after {told:?}"),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(bench.state(&handle).await, ComponentState::Ready);
}

async fn metadata_is_what_the_guest_says<E: Engine + ?Sized>(lab: Lab<E>) {
    let bench = lab.bench();
    for (fixture, stateful) in [(ECHO, false), (COUNTER, true)] {
        let handle = bench.load(fixture, config()).await;
        let operations = METADATA.supported_operations.iter();
        let expected = ComponentMetadata {
            name: METADATA.name.to_owned(),
            version: METADATA.version.to_owned(),
            description: METADATA.description.to_owned(),
            author: METADATA.author.to_owned(),
            license: METADATA.license.to_owned(),
            supported_operations: operations.map(ToString::to_string).collect(),
            stateful,
        };
        match bench.engine.metadata(&handle).await {
            Ok(metadata) => assert_eq!(metadata, expected),
            Err(error) => panic!("{error}"),
        }
    }
}
