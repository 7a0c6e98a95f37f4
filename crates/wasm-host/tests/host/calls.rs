//! Calls of exports that take their turn among the messages.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use wasm_core::{ComponentHandle, ComponentMessage, MessagingError, RuntimeEngine, WasmError};
use wasm_host::{DeadLetterCause, Event, Host, LetterKind, Phase, Reply, RequestError};
use wasm_testkit::ModelEngine;
use wasm_testkit::wasm_fixtures::{COUNTER, ECHO, SLEEPER, TRAP};

use crate::support::{SECOND, causes, component, demo, host, is, load, restarted, told, until};

/// What a call of typed exports would do: calls the engine on behalf of the program.
async fn count(
    engine: Arc<ModelEngine>,
    handle: ComponentHandle,
) -> Result<Option<String>, WasmError> {
    let id = handle.id().clone();
    let message = ComponentMessage::new(id.clone(), id, "");
    let reply = engine.call_handle_message(&handle, message).await?;
    Ok(reply.map(|reply| String::from_utf8(reply.as_bytes().to_vec()).unwrap()))
}

async fn called(host: &Host<ModelEngine>, name: &str) -> Result<Option<String>, RequestError> {
    host.call(&demo(name), "count", count).await
}

#[tokio::test(start_paused = true)]
async fn a_call_takes_its_turn_among_messages() {
    let host = load(&[component("counter", COUNTER)]).await;
    let id = demo("counter");
    let (first, called, last) = tokio::join!(
        host.request(&id, "", SECOND),
        called(&host, "counter"),
        host.request(&id, "", SECOND),
    );
    assert_eq!(first.unwrap().unwrap().as_bytes(), b"1");
    assert_eq!(called.unwrap().as_deref(), Some("2"));
    assert_eq!(last.unwrap().unwrap().as_bytes(), b"3");
}

#[tokio::test(start_paused = true)]
async fn a_call_is_counted_and_told_like_a_message() {
    let host = load(&[component("counter", COUNTER)]).await;
    let mut events = host.events();
    called(&host, "counter").await.unwrap();
    let seen = until(&mut events, |event| matches!(event, Event::Message { .. })).await;
    assert!(matches!(
        &seen[..],
        [Event::Message { from, to, kind: LetterKind::Call, bytes: 0, reply: Reply::Nothing, .. }]
            if from == host.program_id() && *to == demo("counter")
    ));
    let said = seen[0].to_string();
    assert!(
        said.contains("demo/counter/main: call of \"count\", handled"),
        "{said}"
    );
    let status = host.component(&demo("counter")).await.unwrap();
    assert_eq!((status.handled, status.phase), (1, Phase::Ready));
}

#[tokio::test(start_paused = true)]
async fn a_component_that_fails_in_a_call_is_restarted() {
    let host = load(&[restarted("trap", TRAP)]).await;
    let failed = called(&host, "trap").await.unwrap_err();
    assert!(
        matches!(&failed, RequestError::Component(error) if error.fails_instance()),
        "{failed}"
    );
    let dead = host.dead_letters();
    assert_eq!(
        (causes(&dead), dead[0].kind),
        (vec!["failed"], LetterKind::Call)
    );
    assert_eq!(dead[0].message.message_type.as_deref(), Some("count"));
    assert!(is(&host, "trap", Phase::Restarting).await);
    sleep(SECOND).await;
    assert!(is(&host, "trap", Phase::Ready).await);
}

/// It is not delivered again: what it has done by then is not known.
#[tokio::test(start_paused = true)]
async fn a_call_that_finds_a_failed_instance_fails_the_component() {
    let host = load(&[component("trap", TRAP)]).await;
    let handle = host.component(&demo("trap")).await.unwrap().handle.unwrap();
    count(Arc::clone(host.engine()), handle).await.unwrap_err();
    assert!(is(&host, "trap", Phase::Ready).await);
    let failed = called(&host, "trap").await.unwrap_err();
    assert!(matches!(failed, RequestError::Component(_)), "{failed}");
    assert!(is(&host, "trap", Phase::Quarantined).await);
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
}

#[tokio::test(start_paused = true)]
async fn what_costs_no_instance_is_told_to_the_caller() {
    let host = load(&[component("echo", ECHO)]).await;
    let call = |_, handle: ComponentHandle| async move {
        Err::<(), _>(WasmError::ExportNotFound {
            component: handle.id().clone(),
            export: "price".into(),
        })
    };
    let failed = host.call(&demo("echo"), "price", call).await.unwrap_err();
    assert_eq!(failed.to_string(), "demo/echo/main does not export `price`");
    assert!(is(&host, "echo", Phase::Ready).await);
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_its_turn_is_withdrawn() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    let id = demo("sleeper");
    host.send(&id, "100").unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&begun);
    let call = |_, _| async move {
        begins.store(true, Ordering::Relaxed);
        pending::<Result<(), _>>().await
    };
    tokio::select! {
        biased;
        _ = host.call(&id, "dropped", call) => panic!("it has no end"),
        () = tokio::task::yield_now() => {}
    }
    host.drain(SECOND).await.unwrap();
    assert!(!begun.load(Ordering::Relaxed));
    assert_eq!(causes(&host.dead_letters()), [""; 0]);
}

/// As where it waits for something else than the engine.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_holds_up_no_message() {
    let host = load(&[component("echo", ECHO)]).await;
    let call = |_, _| pending::<Result<(), _>>();
    let id = demo("echo");
    let waits = host.call(&id, "waits", call);
    timeout(SECOND, waits).await.unwrap_err();
    assert_eq!(told(&host, "echo", "hello").await, "hello");
    assert_eq!(causes(&host.dead_letters()), [""; 0]);
}

/// Before its turn and in the middle of it.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_released_goes_on_alone() {
    let host = load(&[component("sleeper", SLEEPER)]).await;
    let id = demo("sleeper");
    host.send(&id, "100").unwrap();
    let ended = Arc::new(AtomicU32::new(0));
    for begins_first in [false, true] {
        let (begun, begins) = oneshot::channel();
        let ends = Arc::clone(&ended);
        let call = move |_, _| async move {
            let _ = begun.send(());
            sleep(SECOND).await;
            ends.fetch_add(1, Ordering::Relaxed);
            Ok(())
        };
        let call = host.submit_call(&id, "released", call).unwrap();
        if begins_first {
            begins.await.unwrap();
        }
        call.release();
    }
    host.drain(10 * SECOND).await.unwrap();
    assert_eq!(ended.load(Ordering::Relaxed), 2);
    assert_eq!(causes(&host.dead_letters()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn how_a_call_ended_is_told_once() {
    let host = load(&[component("counter", COUNTER)]).await;
    let mut call = host.submit_call(&demo("counter"), "count", count).unwrap();
    timeout(Duration::ZERO, call.ended()).await.unwrap_err();
    assert_eq!(call.ended().await.unwrap().as_deref(), Some("1"));
    let again = call.ended().await.unwrap_err().to_string();
    assert!(again.contains("told before"), "{again}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_a_call_keeps_to_itself_is_known() {
    let host = load(&[restarted("trap", TRAP)]).await;
    let call = |engine, handle| async move { Ok(count(engine, handle).await.is_err()) };
    assert!(host.call(&demo("trap"), "count", call).await.unwrap());
    assert!(is(&host, "trap", Phase::Restarting).await);
    let status = host.component(&demo("trap")).await.unwrap();
    assert!(status.cause.unwrap().to_string().contains("trapped"));
    sleep(SECOND).await;
    assert!(is(&host, "trap", Phase::Ready).await);
}

#[tokio::test(start_paused = true)]
async fn the_error_of_another_component_fails_no_other() {
    let host = load(&[component("echo", ECHO), component("trap", TRAP)]).await;
    let trap = host.component(&demo("trap")).await.unwrap().handle.unwrap();
    let call = |engine, _| count(engine, trap);
    let failed = host.call(&demo("echo"), "count", call).await.unwrap_err();
    assert!(
        failed.to_string().contains("demo/trap/main trapped"),
        "{failed}"
    );
    assert!(is(&host, "echo", Phase::Ready).await);
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_harms_nobody() {
    let host = load(&[component("echo", ECHO)]).await;
    let call = |_, handle: ComponentHandle| async move {
        assert_eq!(handle.handle_id(), 0, "as a test");
        Ok(())
    };
    let failed = host.call(&demo("echo"), "panics", call).await.unwrap_err();
    let text = failed.to_string();
    assert!(
        text.contains("the call panicked: ") && text.contains("as a test"),
        "{text}"
    );
    assert_eq!(told(&host, "echo", "hello").await, "hello");
}

#[tokio::test(start_paused = true)]
async fn whoever_calls_is_told_that_nobody_is_there() {
    let host = host();
    let nobody = called(&host, "echo").await.unwrap_err();
    assert!(
        matches!(&nobody, RequestError::Messaging(MessagingError::TargetNotFound(id)) if *id == demo("echo")),
        "{nobody}"
    );
    host.load(component("sleeper", SLEEPER)).await.unwrap();
    host.send(&demo("sleeper"), "100").unwrap();
    let (unloaded, called) = tokio::join!(
        biased;
        async {
            tokio::task::yield_now().await;
            host.unload(&demo("sleeper")).await
        },
        called(&host, "sleeper"),
    );
    unloaded.unwrap();
    assert_eq!(
        called.unwrap_err().to_string(),
        "delivery failed: its recipient was unloaded"
    );
    let dead = host.dead_letters();
    assert!(
        matches!(dead[0].cause, DeadLetterCause::Unloaded),
        "{dead:?}"
    );
    host.stop().await;
    let stopped = called_after_stop(&host).await;
    assert_eq!(stopped, "delivery failed: the host has stopped");
}

async fn called_after_stop(host: &Host<ModelEngine>) -> String {
    called(host, "sleeper").await.unwrap_err().to_string()
}
