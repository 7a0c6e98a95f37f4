//! What the mock engine lets pass, what it does not, and what it says then.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Builder;
use tokio::time::{Instant, timeout};

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentMessage, ComponentMetadata,
    ComponentState, ComponentUsage, HealthStatus, MessagePayload, Preparation, ResourceLimits,
    RuntimeEngine, Trap, WasmError,
};
use wasm_testkit::mock::{self, Expectation, MockEngine};
use wasm_testkit::{Faulty, Method, errors};

const SECOND: Duration = Duration::from_secs(1);

fn id(name: &str) -> ComponentId {
    ComponentId::new("demo", name, "main").unwrap()
}

fn handle(number: u64) -> ComponentHandle {
    ComponentHandle::new(id("a"), number)
}

fn message(text: &'static str) -> ComponentMessage {
    ComponentMessage::new(id("b"), id("a"), text)
}

fn config() -> ComponentConfig {
    ComponentConfig::new(ResourceLimits::new(1 << 20, SECOND, None).unwrap())
}

async fn ask(engine: &MockEngine, text: &'static str) -> Result<Option<MessagePayload>, WasmError> {
    engine.call_handle_message(&handle(1), message(text)).await
}

/// Runs a test in a runtime of its own and gives the text with which it fails. Its clock
/// stands still, so that nothing here waits.
fn failure(test: impl AsyncFnOnce()) -> String {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let panic = catch_unwind(AssertUnwindSafe(|| runtime.block_on(test()))).unwrap_err();
    panic.downcast::<String>().map_or_else(
        |panic| (*panic.downcast::<&str>().unwrap()).to_owned(),
        |text| *text,
    )
}

/// The same text, each place in this file as what stands there.
fn located(text: &str) -> String {
    let lines: Vec<&str> = include_str!("mock.rs").lines().collect();
    let mut parts = text.split("crates/wasm-testkit/tests/mock.rs:");
    let mut located = parts.next().unwrap().to_owned();
    for part in parts {
        let (line, rest) = part.split_once(':').unwrap();
        let column = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let line = lines[line.parse::<usize>().unwrap() - 1].trim();
        located += &format!("<{line}>{column}");
    }
    located
}

mod calls {
    use super::*;

    #[tokio::test]
    async fn each_arrives_with_its_arguments_and_gets_its_answer() {
        let (engine, mut calls) = mock::pair();
        let (config, one) = (config(), handle(1));
        let all = async {
            let preparing = engine.prepare_component(one.id(), Bytes::from("wasm"), &config);
            let prepared = preparing.await.unwrap();
            let kept = Preparation::new(());
            assert_eq!(format!("{prepared:?}"), format!("{kept:?}"));
            let loading = engine.load_component(one.id(), Bytes::from("wasm"), config.clone());
            assert_eq!(loading.await.unwrap(), one);
            assert_eq!(ask(&engine, "m").await.unwrap(), Some("r".into()));
            let callback = engine.call_handle_callback(&one, message("c"));
            callback.await.unwrap();
            engine.restart_component(&one).await.unwrap();
            assert_eq!(engine.health(&one).await.unwrap(), HealthStatus::Degraded);
            let metadata = engine.metadata(&one).await.unwrap();
            assert_eq!(metadata, ComponentMetadata::default());
            let usage = engine.usage(&one).await.unwrap();
            assert_eq!(usage.state, ComponentState::Failed);
            engine.unload_component(&one).await.unwrap_err()
        };
        let answering = async {
            let mut methods = Vec::new();
            let mut next = async || {
                let call = calls.next_call().await;
                assert_eq!(call.component(), one.id());
                methods.push(call.method());
                call
            };
            let (id, bytes, given, answer) = next().await.expect_prepare();
            assert_eq!((&id, &*bytes, &given), (one.id(), &b"wasm"[..], &config));
            answer.ok(Preparation::new(()));
            let (id, bytes, given, answer) = next().await.expect_load();
            assert_eq!((&id, &*bytes, &given), (one.id(), &b"wasm"[..], &config));
            answer.ok(one.clone());
            let (to, given, answer) = next().await.expect_message();
            assert_eq!((&to, given), (&one, message("m")));
            answer.ok(Some("r".into()));
            let (to, given, answer) = next().await.expect_callback();
            assert_eq!((&to, given), (&one, message("c")));
            answer.ok(());
            next().await.expect_restart().1.ok(());
            next().await.expect_health().1.ok(HealthStatus::Degraded);
            let metadata = ComponentMetadata::default();
            next().await.expect_metadata().1.ok(metadata);
            let usage = ComponentUsage::new(ComponentState::Failed);
            next().await.expect_usage().1.ok(usage);
            let error = errors::component_not_found(&one);
            next().await.expect_unload().1.fail(error);
            methods
        };
        let (error, methods) = tokio::join!(all, answering);
        assert!(
            matches!(error, WasmError::ComponentNotFound { .. }),
            "{error}"
        );
        let expected = [
            Method::PrepareComponent,
            Method::LoadComponent,
            Method::CallHandleMessage,
            Method::CallHandleCallback,
            Method::RestartComponent,
            Method::Health,
            Method::Metadata,
            Method::Usage,
            Method::UnloadComponent,
        ];
        assert_eq!(methods, expected);
    }

    #[tokio::test]
    async fn they_wait_and_are_answered_in_whichever_order() {
        let (engine, mut calls) = mock::pair();
        assert!(calls.try_next_call().is_none());
        let engine = Arc::new(engine);
        let ask = |text| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { ask(&engine, text).await })
        };
        let (one, two) = (ask("one"), ask("two"));
        let (_, first, answer_one) = calls.next_call().await.expect_message();
        let (_, second, answer_two) = calls.next_call().await.expect_message();
        assert_eq!((first, second), (message("one"), message("two")));
        answer_two.ok(Some("2".into()));
        assert_eq!(two.await.unwrap().unwrap(), Some("2".into()));
        assert!(!one.is_finished());
        answer_one.ok(None);
        assert_eq!(one.await.unwrap().unwrap(), None);
    }

    #[tokio::test]
    async fn a_responder_sees_that_its_caller_is_gone() {
        let (engine, mut calls) = mock::pair();
        let caller = tokio::spawn(async move { engine.health(&handle(1)).await });
        let (_, mut answer) = calls.next_call().await.expect_health();
        assert!(!answer.is_cancelled());
        caller.abort();
        answer.cancelled().await;
        assert!(answer.is_cancelled());
        answer.ok(HealthStatus::Healthy);
    }

    #[tokio::test]
    async fn one_that_nobody_can_answer_ends() {
        let (engine, mut calls) = mock::pair();
        let one = handle(1);
        let dropping = async { drop(calls.next_call().await) };
        let (answer, ()) = tokio::join!(engine.health(&one), dropping);
        drop(calls);
        for error in [answer.unwrap_err(), engine.health(&one).await.unwrap_err()] {
            assert_eq!(
                error.to_string(),
                "not supported by this engine: the mock engine was not told what to answer `health`"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_may_come_within_a_limit() {
        let (engine, mut calls) = mock::pair();
        let start = Instant::now();
        calls.expect_no_call(SECOND).await;
        assert!(calls.next_call_within(SECOND).await.is_none());
        assert_eq!(start.elapsed(), 2 * SECOND);
        let caller = tokio::spawn(async move {
            tokio::time::sleep(9 * SECOND).await;
            engine.health(&handle(1)).await
        });
        assert!(calls.next_call_within(8 * SECOND).await.is_none());
        calls
            .next_call()
            .await
            .expect_health()
            .1
            .ok(HealthStatus::Healthy);
        assert_eq!(caller.await.unwrap().unwrap(), HealthStatus::Healthy);
        // The engine is gone, and so nothing to wait for.
        let start = Instant::now();
        assert!(calls.next_call_within(Duration::MAX).await.is_none());
        calls.expect_no_call(Duration::MAX).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[test]
    fn one_that_does_not_come_fails_the_test() {
        let text = failure(async || {
            let (_engine, mut calls) = mock::pair();
            calls.next_call().await;
        });
        assert_eq!(
            located(&text),
            "no call came within 10s to the mock engine, awaited at <calls.next_call().await;>"
        );
        let text = failure(async || {
            let (engine, mut calls) = mock::pair();
            drop(engine);
            calls.next_call().await;
        });
        assert_eq!(
            located(&text),
            "the mock engine is gone, and a call of it awaited at <calls.next_call().await;>"
        );
    }

    #[test]
    fn one_that_comes_where_none_is_expected_fails_the_test() {
        let text = failure(async || {
            let (engine, mut calls) = mock::pair();
            let caller = tokio::spawn(async move {
                tokio::time::sleep(SECOND).await;
                engine.health(&handle(1)).await
            });
            calls.expect_no_call(2 * SECOND).await;
            drop(caller);
        });
        assert_eq!(
            located(&text),
            "no call was expected at <calls.expect_no_call(2 * SECOND).await;>, but came \
             `health` of demo/a/main#1, called at <engine.health(&handle(1)).await>"
        );
    }

    #[test]
    fn another_one_fails_the_test_with_what_came() {
        let text = failure(async || {
            let (engine, mut calls) = mock::pair();
            let one = handle(1);
            let answering = async { drop(calls.next_call().await.expect_health()) };
            let (answer, ()) = tokio::join!(engine.metadata(&one), answering);
            drop(answer);
        });
        assert_eq!(
            located(&text),
            "expected `health`, but came `metadata` of demo/a/main#1, called at \
             <let (answer, ()) = tokio::join!(engine.metadata(&one), answering);>"
        );
    }

    #[tokio::test]
    async fn the_place_behind_dyn_is_not_told_wrongly() {
        let (engine, mut calls) = mock::pair();
        let one = handle(1);
        let line = line!();
        let mut plain = Box::pin(engine.health(&one));
        assert!(timeout(Duration::ZERO, &mut plain).await.is_err());
        let place = calls.next_call().await.place().unwrap();
        assert_eq!((place.file(), place.line()), (file!(), line + 1));
        drop(plain);
        let behind: Arc<dyn RuntimeEngine> = Arc::new(engine);
        let mut call = Box::pin(behind.health(&one));
        assert!(timeout(Duration::ZERO, &mut call).await.is_err());
        assert_eq!(calls.next_call().await.place(), None);
        drop(call);
        let wrapped = Faulty::<_, WasmError>::new(behind);
        let mut call = Box::pin(wrapped.health(&one));
        assert!(timeout(Duration::ZERO, &mut call).await.is_err());
        assert_eq!(calls.next_call().await.place(), None);
    }
}

mod expectations {
    use super::*;

    #[tokio::test]
    async fn a_script_answers_what_it_expects() {
        let one = handle(1);
        let (engine, script) = mock::scripted([
            Expectation::prepare()
                .of(one.id())
                .answers_with(|_| Ok(Preparation::default())),
            Expectation::load().of(one.id()).answers(Ok(one.clone())),
            Expectation::message().answers(Err(errors::guest_error(one.id(), "no"))),
            Expectation::callback()
                .to(&one)
                .payload("c")
                .answers(Ok(())),
            Expectation::restart().to(&one).answers(Ok(())),
            Expectation::health().answers(Ok(HealthStatus::Degraded)),
            Expectation::metadata().answers(Ok(ComponentMetadata::default())),
            Expectation::usage().answers(Ok(ComponentUsage::new(ComponentState::Busy))),
            Expectation::unload().answers(Ok(())),
        ]);
        let config = config();
        let preparing = engine.prepare_component(one.id(), Bytes::new(), &config);
        drop(preparing.await.unwrap());
        let loading = engine.load_component(one.id(), Bytes::new(), config);
        assert_eq!(loading.await.unwrap(), one);
        let error = ask(&engine, "any").await.unwrap_err();
        assert!(error.is_guest_error(), "{error}");
        let callback = engine.call_handle_callback(&one, message("c"));
        callback.await.unwrap();
        engine.restart_component(&one).await.unwrap();
        assert_eq!(engine.health(&one).await.unwrap(), HealthStatus::Degraded);
        engine.metadata(&one).await.unwrap();
        assert_eq!(
            engine.usage(&one).await.unwrap().state,
            ComponentState::Busy
        );
        engine.unload_component(&one).await.unwrap();
        script.verify();
        // After the test, nothing is a surprise.
        let error = engine.health(&one).await.unwrap_err();
        assert!(matches!(error, WasmError::Unsupported { .. }), "{error}");
    }

    #[tokio::test]
    async fn each_may_come_several_times() {
        let counted = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&counted);
        let (engine, script) = mock::scripted([
            Expectation::health()
                .times(..)
                .answers(Ok(HealthStatus::Healthy)),
            Expectation::message()
                .times(2)
                .answers_with(move |(_, message)| {
                    counting.fetch_add(1, Ordering::Relaxed);
                    Ok(Some(message.payload))
                }),
            Expectation::health()
                .times(1..=2)
                .answers(Ok(HealthStatus::Degraded)),
            Expectation::restart().times(..2).answers(Ok(())),
            Expectation::health()
                .times(1..)
                .answers(Ok(HealthStatus::Unknown)),
        ]);
        let one = handle(1);
        let health = async || engine.health(&one).await.unwrap();
        for _ in 0..3 {
            assert_eq!(health().await, HealthStatus::Healthy);
        }
        for text in ["first", "second"] {
            assert_eq!(ask(&engine, text).await.unwrap(), Some(text.into()));
        }
        assert_eq!(counted.load(Ordering::Relaxed), 2);
        for _ in 0..2 {
            assert_eq!(health().await, HealthStatus::Degraded);
        }
        for _ in 0..5 {
            assert_eq!(health().await, HealthStatus::Unknown);
        }
        script.verify();
    }

    #[tokio::test]
    async fn in_any_order_the_first_counts_that_may_still_come() {
        let (engine, script) = mock::unordered([
            Expectation::unload().answers(Ok(())),
            Expectation::message()
                .payload("a")
                .answers(Ok(Some("1".into()))),
            Expectation::message()
                .payload("a")
                .answers(Ok(Some("2".into()))),
            Expectation::message().times(0..).answers(Ok(None)),
        ]);
        for (question, answer) in [("b", None), ("a", Some("1")), ("a", Some("2")), ("a", None)] {
            let found = ask(&engine, question).await.unwrap();
            assert_eq!(found, answer.map(MessagePayload::from), "{question}");
        }
        engine.unload_component(&handle(1)).await.unwrap();
        script.verify();
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_may_come_later_or_never() {
        let (engine, script) = mock::unordered([
            Expectation::health()
                .delay(SECOND)
                .answers(Ok(HealthStatus::Healthy)),
            Expectation::metadata().hangs(),
        ]);
        let (start, one) = (Instant::now(), handle(1));
        let health = engine.health(&one);
        let hangs = timeout(3_600 * SECOND, engine.metadata(&one));
        let delayed = async {
            assert_eq!(health.await.unwrap(), HealthStatus::Healthy);
            assert_eq!(start.elapsed(), SECOND);
        };
        let (never, ()) = tokio::join!(hangs, delayed);
        // Not before the caller gave up: the delayed one was done long ago.
        assert_eq!(never.unwrap_err().to_string(), "deadline has elapsed");
        assert_eq!(start.elapsed(), 3_600 * SECOND);
        script.verify();
    }

    /// Whether a call that is expected to be `expected` may be another.
    fn tells_apart<A, T>(
        expected: impl Fn() -> mock::Expect<A, T>,
        right: &impl AsyncFn(&MockEngine),
        wrong: &impl AsyncFn(&MockEngine),
    ) -> String
    where
        A: 'static,
        T: Send + 'static,
    {
        let runtime = Builder::new_current_thread().build().unwrap();
        let answer = || expected().answers_with(|_| Err(errors::unsupported("a test")));
        runtime.block_on(async {
            let (engine, script) = mock::scripted([answer()]);
            right(&engine).await;
            script.verify();
        });
        failure(async || {
            let (engine, _script) = mock::scripted([answer()]);
            wrong(&engine).await;
        })
    }

    fn envelope() -> ComponentMessage {
        message("ping")
            .with_correlation_id("c-1")
            .with_reply_to(id("c"))
            .with_message_type("text/plain")
    }

    #[test]
    fn every_part_of_a_message_is_told_apart() {
        let send = |message: ComponentMessage| {
            async move |engine: &MockEngine| {
                drop(
                    engine
                        .call_handle_message(&handle(1), message.clone())
                        .await,
                );
            }
        };
        let without = |edit: fn(&mut ComponentMessage)| {
            let mut message = envelope();
            edit(&mut message);
            message
        };
        let wrong = without(|message| message.payload = "pong".into());
        let text = tells_apart(
            || Expectation::message().payload("ping"),
            &send(envelope()),
            &send(wrong),
        );
        assert!(text.ends_with("does not fit: payload \"ping\""), "{text}");
        assert!(
            text.contains(
                "came `call_handle_message` of demo/a/main#1, payload \"pong\", sender \
                 demo/b/main, correlation id \"c-1\", reply to demo/c/main, message type \
                 \"text/plain\"\n"
            ),
            "{text}"
        );
        let text = tells_apart(
            || Expectation::message().sender(&id("b")),
            &send(envelope()),
            &send(without(|message| message.sender = id("c"))),
        );
        assert!(text.ends_with("does not fit: sender demo/b/main"), "{text}");
        let text = tells_apart(
            || Expectation::message().correlation_id("c-1"),
            &send(envelope()),
            &send(without(|message| message.correlation_id = None)),
        );
        assert!(
            text.ends_with("does not fit: correlation id \"c-1\""),
            "{text}"
        );
        let text = tells_apart(
            || Expectation::message().reply_to(&id("c")),
            &send(envelope()),
            &send(without(|message| message.reply_to = Some(id("d")))),
        );
        assert!(
            text.ends_with("does not fit: reply to demo/c/main"),
            "{text}"
        );
        let text = tells_apart(
            || Expectation::message().message_type("text/plain"),
            &send(envelope()),
            &send(without(|message| message.message_type = None)),
        );
        assert!(
            text.ends_with("does not fit: message type \"text/plain\""),
            "{text}"
        );
        let text = tells_apart(
            || {
                Expectation::message()
                    .withf(|(to, message)| to.handle_id() == 1 && message.payload.len() < 9)
            },
            &send(envelope()),
            &send(without(|message| message.payload = "a long text".into())),
        );
        assert!(
            located(&text).ends_with("does not fit: the predicate at <.withf(|(to, message)| to.handle_id() == 1 && message.payload.len() < 9)>"),
            "{text}"
        );
    }

    #[test]
    fn every_part_of_a_load_is_told_apart() {
        let load = |name: &'static str, bytes: &'static str, config: ComponentConfig| {
            async move |engine: &MockEngine| {
                drop(
                    engine
                        .load_component(&id(name), bytes.into(), config.clone())
                        .await,
                );
            }
        };
        let right = || load("a", "wasm", config());
        let text = tells_apart(
            || Expectation::load().of(&id("a")),
            &right(),
            &load("b", "wasm", config()),
        );
        assert!(text.ends_with("does not fit: of demo/a/main"), "{text}");
        let text = tells_apart(
            || Expectation::load().bytes("wasm"),
            &right(),
            &load("a", "\0other", config()),
        );
        assert!(text.contains("6 bytes \"\\x00other\""), "{text}");
        assert!(text.ends_with("does not fit: 4 bytes \"wasm\""), "{text}");
        let text = tells_apart(
            || Expectation::load().config(&config()),
            &right(),
            &load("a", "wasm", config().with_env("A", "1")),
        );
        assert!(text.contains("env: [(\"A\", \"1\")]"), "{text}");
        let prepare = |bytes: &'static str| {
            async move |engine: &MockEngine| {
                drop(
                    engine
                        .prepare_component(&id("a"), bytes.into(), &config())
                        .await,
                );
            }
        };
        let text = tells_apart(
            || Expectation::prepare().bytes("wasm").config(&config()),
            &prepare("wasm"),
            &prepare("other"),
        );
        assert!(text.ends_with("does not fit: 4 bytes \"wasm\""), "{text}");
    }

    #[test]
    fn instances_are_told_apart() {
        let restart = |number| {
            async move |engine: &MockEngine| {
                drop(engine.restart_component(&handle(number)).await);
            }
        };
        let text = tells_apart(
            || Expectation::restart().to(&handle(1)),
            &restart(1),
            &restart(2),
        );
        assert!(text.ends_with("does not fit: of demo/a/main#1"), "{text}");
    }

    #[test]
    #[should_panic(expected = "no number of calls is in an empty range")]
    fn an_empty_range_is_no_number_of_times() {
        let _ = Expectation::health().times(0..0);
    }
}

mod complaints {
    use super::*;

    #[test]
    fn a_call_out_of_order_says_what_came_and_what_should_have() {
        let text = failure(async || {
            let (engine, _script) = mock::scripted([
                Expectation::health()
                    .times(..)
                    .answers(Ok(HealthStatus::Healthy)),
                Expectation::message()
                    .to(&handle(1))
                    .payload("ping")
                    .times(2)
                    .answers(Ok(None)),
                Expectation::unload().answers(Ok(())),
            ]);
            engine.health(&handle(7)).await.unwrap();
            ask(&engine, "ping").await.unwrap();
            engine.unload_component(&handle(1)).await.unwrap();
        });
        assert_eq!(
            located(&text),
            "the mock engine was not called as expected
  came `unload_component` of demo/a/main#1
      called at <engine.unload_component(&handle(1)).await.unwrap();>
  instead of `call_handle_message` of demo/a/main#1, payload \"ping\": 2 times, came 1
      expected at <Expectation::message()>"
        );
    }

    #[test]
    fn in_any_order_all_is_said_that_may_still_come() {
        let text = failure(async || {
            let (engine, _script) = mock::unordered([
                Expectation::health().answers(Ok(HealthStatus::Healthy)),
                Expectation::unload().times(2..).answers(Ok(())),
                Expectation::usage().times(1..4).hangs(),
            ]);
            engine.health(&handle(1)).await.unwrap();
            engine.health(&handle(1)).await.unwrap();
        });
        assert_eq!(
            located(&text),
            "the mock engine was not called as expected
  came `health` of demo/a/main#1
      called at <engine.health(&handle(1)).await.unwrap();>
  instead of `unload_component`: 2 times or more, came 0
      expected at <Expectation::unload().times(2..).answers(Ok(())),>
  instead of `usage`: 1 to 3 times, came 0
      expected at <Expectation::usage().times(1..4).hangs(),>"
        );
    }

    #[test]
    fn what_must_never_come_fails_the_test_whenever_it_comes() {
        let text = failure(async || {
            let (engine, _script) = mock::scripted([
                Expectation::message().times(..).answers(Ok(None)),
                Expectation::message().payload("bad").never(),
            ]);
            ask(&engine, "good").await.unwrap();
            engine
                .call_handle_message(&handle(1), message("bad"))
                .await
                .unwrap();
        });
        assert_eq!(
            located(&text),
            "the mock engine was not called as expected
  came `call_handle_message` of demo/a/main#1, payload \"bad\", sender demo/b/main
      called at <.call_handle_message(&handle(1), message(\"bad\"))>
  instead of `call_handle_message`, payload \"bad\": never
      expected at <Expectation::message().payload(\"bad\").never(),>"
        );
        let text = failure(async || {
            let (engine, _script) = mock::unordered([]);
            engine.unload_component(&handle(1)).await.unwrap();
        });
        assert!(text.ends_with("instead of nothing"), "{text}");
    }

    #[test]
    fn a_call_that_does_not_come_fails_the_test_at_its_end() {
        let text = failure(async || {
            let (engine, _script) = mock::unordered([
                Expectation::health()
                    .times(2)
                    .answers(Ok(HealthStatus::Healthy)),
                Expectation::usage().times(..).hangs(),
                Expectation::restart().answers(Ok(())),
            ]);
            engine.health(&handle(1)).await.unwrap();
        });
        let expected = "the mock engine was not called as expected
  too few of `health`: 2 times, came 1
      expected at <Expectation::health()>
  too few of `restart_component`: once, came 0
      expected at <Expectation::restart().answers(Ok(())),>";
        assert_eq!(located(&text), expected);
    }

    #[test]
    fn a_panic_in_a_task_does_not_hide_the_complaint() {
        let text = failure(async || {
            let (engine, script) = mock::scripted([]);
            let task = tokio::spawn(async move { engine.health(&handle(1)).await });
            assert!(task.await.unwrap_err().is_panic());
            script.verify();
        });
        assert_eq!(
            located(&text),
            "the mock engine was not called as expected
  came `health` of demo/a/main#1
      called at <let task = tokio::spawn(async move { engine.health(&handle(1)).await });>
  instead of nothing"
        );
    }

    #[test]
    fn a_test_that_fails_elsewhere_fails_for_its_own_reason() {
        let text = failure(async || {
            let (_engine, _script) = mock::scripted([Expectation::health().hangs()]);
            panic!("its own reason");
        });
        assert_eq!(text, "its own reason");
    }

    /// A value of the test that still calls the engine while the test fails.
    struct CallsWhenDropped(MockEngine);

    impl Drop for CallsWhenDropped {
        fn drop(&mut self) {
            let engine = &self.0;
            let runtime = Builder::new_current_thread().build().unwrap();
            let error = runtime.block_on(engine.health(&handle(1))).unwrap_err();
            assert!(matches!(error, WasmError::Unsupported { .. }), "{error}");
        }
    }

    #[test]
    fn no_call_panics_during_another_panic() {
        let (engine, script) = mock::scripted([]);
        let panic = catch_unwind(AssertUnwindSafe(|| {
            // The script still stands when the call is made.
            let _script = script;
            let _calls = CallsWhenDropped(engine);
            panic!("{}", "its own reason");
        }));
        let text = panic.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*text, "its own reason");
    }
}

#[test]
fn each_kind_of_error_has_a_maker() {
    let (id, one) = (id("a"), handle(1));
    let limits = wasm_core::LimitsError::NoFuel;
    let made = [
        errors::engine_initialization("x"),
        errors::component_not_found(&one),
        errors::load_failed("a.wasm", "x"),
        errors::invalid_component(&id, wasm_core::Defect::Empty),
        errors::invalid_limits(&id, limits),
        errors::import_not_found(&id, "acme:gpu/draw"),
        errors::export_not_found(&id, "run"),
        errors::instantiation_failed(&id, "x"),
        errors::initialization_failed(&id, "x"),
        errors::trapped(&id, Trap::Unreachable),
        errors::timeout(&id, SECOND),
        errors::resource_limit_exceeded(&id, wasm_core::Resource::Fuel, 1),
        errors::component_failed(&id, errors::timeout(&id, SECOND)),
        errors::guest_error(&id, "x"),
        errors::shutdown_failed(&id, "x"),
        errors::invalid_arguments(&id, "x"),
        errors::unsupported("x"),
    ];
    let kind = |error: &WasmError| {
        let text = format!("{error:?}");
        text.split(' ').next().unwrap().to_owned()
    };
    let made: Vec<String> = made.iter().map(kind).collect();
    // Every variant that the source of the enum has, in its order.
    let source = include_str!("../../wasm-core/src/error.rs");
    let source = source.split_once("pub enum WasmError {\n").unwrap().1;
    let source = source.split_once("\n}\n").unwrap().0;
    let variants = source.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.strip_suffix(" {")?;
        name.starts_with(|c: char| c.is_ascii_uppercase())
            .then(|| name.to_owned())
    });
    assert_eq!(made, variants.collect::<Vec<_>>());
}
