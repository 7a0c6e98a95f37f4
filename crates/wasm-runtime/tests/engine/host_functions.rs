use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use wasm_core::text::{Escaped, Quoted};
use wasm_core::{
    Capability, ComponentConfig, ComponentHandle, ComponentInfo, ComponentMessage,
    ComponentStorage, GuestError, HealthStatus, HostServices, LogLevel, MemoryStorage,
    MessagingError, Permissions, StorageUsage, Timestamp, WasmError,
};
use wasm_fixtures::{
    ANSI_LOG, BROADCAST_STORM, BROADCASTER, CALLBACK, CLOCK, CONTROL_CHARACTERS, ControlCharacters,
    DIRECTORY, ECHO, LOG_FLOOD, LOGGER, PING_PONG_LOOP, SELF_ID, SEND_FLOOD, SENDER, STORAGE_FILL,
    STORE,
};
use wasm_runtime::{EngineConfig, LogRate, WasmtimeEngine};
use wasm_testkit::{ManualClock, MemoryDirectory, RecordingRouter, RecordingValidator, RouterCall};

use crate::support::{
    Line, Transcript, ask, bytes, config, engine, engine_with, id, load, permitted, send,
};

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 123_456_789,
};

/// An engine whose services are all watched.
struct Host {
    engine: WasmtimeEngine,
    router: Arc<RecordingRouter>,
    validator: Arc<RecordingValidator>,
    directory: Arc<MemoryDirectory>,
    storage: Arc<MemoryStorage>,
    clock: Arc<ManualClock>,
}

impl Host {
    fn new() -> Self {
        let router = Arc::new(RecordingRouter::new());
        let validator = Arc::new(RecordingValidator::new());
        let directory = Arc::new(MemoryDirectory::new());
        let storage = Arc::new(MemoryStorage::new());
        let clock = Arc::new(ManualClock::new());
        clock.set(NOW);
        let services = HostServices::default()
            .with_router(router.clone())
            .with_validator(validator.clone())
            .with_directory(directory.clone())
            .with_storage(storage.clone())
            .with_clock(clock.clone());
        Self {
            engine: engine_with(services),
            router,
            validator,
            directory,
            storage,
            clock,
        }
    }

    /// The name of the case with which a host function refused.
    async fn refusal(&self, by: &ComponentHandle, payload: &str) -> String {
        match send(&self.engine, by, payload.to_owned()).await {
            Err(WasmError::GuestError {
                error: GuestError::RuntimeError(case),
                ..
            }) => case,
            other => panic!("{other:?}"),
        }
    }
}

fn may(change: impl FnOnce(&mut Permissions)) -> ComponentConfig {
    let mut permissions = Permissions::default();
    change(&mut permissions);
    config().with_permissions(permissions)
}

fn outgoing(from: &ComponentHandle, to: &str, text: &'static str) -> ComponentMessage {
    let message = ComponentMessage::new(from.id().clone(), id(to), text);
    message.with_timestamp(NOW).with_hops(1)
}

#[tokio::test]
async fn a_message_is_sent_with_sender_and_time_of_the_host() {
    let host = Host::new();
    let sender = load(&host.engine, SENDER, permitted()).await;
    let reply = send(&host.engine, &sender, "demo/a/main hello there").await;
    assert_eq!(reply.unwrap(), None);
    let message = outgoing(&sender, "demo/a/main", "hello there");
    let from = sender.clone();
    assert_eq!(
        host.router.take_calls(),
        [RouterCall::Send { from, message }]
    );
    let asked = Capability::Send(id("demo/a/main"));
    assert_eq!(host.validator.take_questions(), [(sender, asked)]);
}

#[tokio::test]
async fn a_message_is_sent_back_to_who_sent_it() {
    let host = Host::new();
    let from = load(&host.engine, PING_PONG_LOOP, permitted()).await;
    let reply = send(&host.engine, &from, "ball").await;
    assert_eq!(reply.unwrap(), None);
    let message = outgoing(&from, "test/sender/main", "ball");
    let call = RouterCall::Send {
        from: from.clone(),
        message,
    };
    assert_eq!(host.router.take_calls(), [call]);
    host.router.fail_next(MessagingError::QueueFull);
    assert_eq!(host.refusal(&from, "ball").await, "queue-full");
}

#[tokio::test]
async fn nothing_may_be_sent_by_default() {
    let host = Host::new();
    let (sender, broadcaster, callback) = (
        load(&host.engine, SENDER, config()).await,
        load(&host.engine, BROADCASTER, config()).await,
        load(&host.engine, CALLBACK, config()).await,
    );
    for handle in [sender, broadcaster, callback] {
        let case = host.refusal(&handle, "demo/a/main hi").await;
        assert_eq!(case, "delivery-failed", "{handle}");
        assert_eq!(host.router.take_calls(), []);
        // What is not granted is not asked about.
        assert_eq!(host.validator.take_questions(), []);
    }
}

#[tokio::test]
async fn each_way_of_sending_needs_its_own_grant() {
    let host = Host::new();
    let demo = || vec!["demo/*/main".parse().unwrap()];
    let cases = [
        (SENDER, may(|p| p.send = demo()), true),
        (
            SENDER,
            may(|p| (p.request, p.broadcast) = (demo(), demo())),
            false,
        ),
        (BROADCASTER, may(|p| p.broadcast = demo()), true),
        (
            BROADCASTER,
            may(|p| (p.send, p.request) = (demo(), demo())),
            false,
        ),
        (CALLBACK, may(|p| p.request = demo()), true),
        (
            CALLBACK,
            may(|p| (p.send, p.broadcast) = (demo(), demo())),
            false,
        ),
    ];
    for (fixture, config, granted) in cases {
        let handle = load(&host.engine, fixture, config).await;
        if granted {
            send(&host.engine, &handle, "demo/a/main hi").await.unwrap();
            assert_eq!(host.router.take_calls().len(), 1, "{}", fixture.name);
        }
        let to = if granted {
            "other/a/main hi"
        } else {
            "demo/a/main hi"
        };
        let case = host.refusal(&handle, to).await;
        assert_eq!(case, "delivery-failed", "{}", fixture.name);
        assert_eq!(host.router.take_calls(), [], "{}", fixture.name);
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_is_an_invalid_message() {
    let host = Host::new();
    let sender = load(&host.engine, SENDER, permitted()).await;
    let long = format!("demo/{}/main hi", "x".repeat(65));
    for bad in [
        "demo/../main hi",
        "demo//main hi",
        "de\nmo/a/main hi",
        &long,
    ] {
        let case = host.refusal(&sender, bad).await;
        assert_eq!(case, "invalid-message", "{bad:?}");
    }
    assert_eq!(host.router.take_calls(), []);
    assert_eq!(host.validator.take_questions(), []);
}

#[tokio::test]
async fn the_guest_is_told_why_the_router_refused() {
    let host = Host::new();
    let sender = load(&host.engine, SENDER, permitted()).await;
    for (error, case) in [
        (MessagingError::QueueFull, "queue-full"),
        (
            MessagingError::DeliveryFailed("x".into()),
            "delivery-failed",
        ),
        (
            MessagingError::InvalidMessage("x".into()),
            "invalid-message",
        ),
        (
            MessagingError::CorrelationTimeout("c".into()),
            "correlation-timeout",
        ),
        (
            MessagingError::TargetNotFound(id("demo/a/main")),
            "target-not-found",
        ),
    ] {
        host.router.fail_next(error);
        assert_eq!(host.refusal(&sender, "demo/a/main hi").await, case);
    }
    let alone = engine();
    let sender = load(&alone, SENDER, permitted()).await;
    let error = send(&alone, &sender, "demo/a/main hi").await.unwrap_err();
    assert!(error.to_string().contains("target-not-found"), "{error}");
}

#[tokio::test]
async fn a_request_is_made_and_cancelled_under_the_id_that_the_router_gave() {
    let host = Host::new();
    let callback = load(&host.engine, CALLBACK, permitted()).await;
    let request = ask(&host.engine, &callback, "demo/a/main question").await;
    assert_eq!(request, "request-1");
    let cancelled = send(&host.engine, &callback, "cancel request-1").await;
    assert_eq!(cancelled.unwrap(), None);
    let again = host.refusal(&callback, "cancel request-1").await;
    assert_eq!(again, "invalid-message");
    let from = || callback.clone();
    let request = || "request-1".into();
    let calls = [
        RouterCall::Request {
            from: from(),
            message: outgoing(&callback, "demo/a/main", "question"),
            timeout: Duration::from_secs(1),
        },
        RouterCall::Cancel {
            from: from(),
            request: request(),
        },
        RouterCall::Cancel {
            from: from(),
            request: request(),
        },
    ];
    assert_eq!(host.router.take_calls(), calls);
    // Nobody else can cancel it.
    let other = load(&host.engine, CALLBACK, permitted()).await;
    ask(&host.engine, &callback, "demo/a/main question").await;
    let case = host.refusal(&other, "cancel request-2").await;
    assert_eq!(case, "invalid-message");
}

#[tokio::test]
async fn a_broadcast_reaches_all_or_nobody() {
    let host = Host::new();
    let config = may(|p| p.broadcast = vec!["demo/*/*".parse().unwrap()]);
    let broadcaster = load(&host.engine, BROADCASTER, config).await;
    let reply = send(&host.engine, &broadcaster, "demo/a/main,demo/b/main hi").await;
    assert_eq!(reply.unwrap(), None);
    let messages = ["demo/a/main", "demo/b/main"].map(|to| outgoing(&broadcaster, to, "hi"));
    let from = broadcaster.clone();
    let messages = messages.to_vec();
    assert_eq!(
        host.router.take_calls(),
        [RouterCall::Broadcast { from, messages }]
    );
    for one_bad in ["demo/a/main,other/b/main hi", "demo/a/main,demo/../main hi"] {
        host.refusal(&broadcaster, one_bad).await;
        assert_eq!(host.router.take_calls(), []);
    }
}

#[tokio::test]
async fn a_call_sends_1024_messages_at_the_most_and_the_next_one_as_many_again() {
    let host = Host::new();
    let flood = load(&host.engine, SEND_FLOOD, permitted()).await;
    for _ in 0..2 {
        assert_eq!(ask(&host.engine, &flood, "").await, "1024 queue-full");
        assert_eq!(host.router.take_calls().len(), 1024);
    }
    let denied = load(&host.engine, SEND_FLOOD, config()).await;
    assert_eq!(ask(&host.engine, &denied, "").await, "0 delivery-failed");
}

#[tokio::test]
async fn each_recipient_of_a_broadcast_counts() {
    let host = Host::new();
    let storm = load(&host.engine, BROADCAST_STORM, permitted()).await;
    assert_eq!(host.refusal(&storm, "").await, "queue-full");
    assert_eq!(host.router.take_calls(), []);
    let broadcaster = load(&host.engine, BROADCASTER, permitted()).await;
    for (recipients, accepted) in [(1024, true), (1025, false)] {
        let ids = vec!["d/a/m"; recipients].join(",");
        let outcome = send(&host.engine, &broadcaster, format!("{ids} hi")).await;
        assert_eq!(outcome.is_ok(), accepted, "{recipients}");
        let sent: usize = host
            .router
            .take_calls()
            .iter()
            .map(|call| match call {
                RouterCall::Broadcast { messages, .. } => messages.len(),
                other => panic!("{other:?}"),
            })
            .sum();
        assert_eq!(sent, if accepted { recipients } else { 0 });
    }
}

#[tokio::test]
async fn a_component_knows_who_it_is() {
    let host = Host::new();
    for text in ["demo/self-id/main", "a.b/c-d_e/F"] {
        let id = id(text);
        let loaded = host.engine.load_component(&id, bytes(SELF_ID), config());
        assert_eq!(ask(&host.engine, &loaded.await.unwrap(), "").await, text);
    }
}

#[tokio::test]
async fn the_time_is_that_of_the_hosts_clock() {
    let host = Host::new();
    let clock = load(&host.engine, CLOCK, config()).await;
    assert_eq!(
        ask(&host.engine, &clock, "time").await,
        "1700000000.123456789"
    );
    assert_eq!(ask(&host.engine, &clock, "").await, "1700000000123");
    host.clock.advance(Duration::from_millis(1_001));
    assert_eq!(
        ask(&host.engine, &clock, "time").await,
        "1700000001.124456789"
    );
    assert_eq!(ask(&host.engine, &clock, "").await, "1700000001124");
}

#[tokio::test]
async fn storage_keeps_lists_and_deletes() {
    let host = Host::new();
    let store = load(&host.engine, STORE, permitted()).await;
    let tell = async |command: &str| {
        send(&host.engine, &store, command.to_owned())
            .await
            .unwrap()
    };
    assert_eq!(tell("get a").await, None);
    assert_eq!(tell("exists a").await.as_deref(), Some("false"));
    for command in ["set b/2 two", "set a one", "set b/1 ", "set b/2 deux"] {
        assert_eq!(tell(command).await, None);
    }
    assert_eq!(tell("get a").await.as_deref(), Some("one"));
    assert_eq!(tell("get b/2").await.as_deref(), Some("deux"));
    assert_eq!(tell("get b/1").await.as_deref(), Some(""));
    assert_eq!(tell("exists b/1").await.as_deref(), Some("true"));
    assert_eq!(tell("keys b/").await.as_deref(), Some("b/1\nb/2\n"));
    assert_eq!(tell("keys").await.as_deref(), Some("a\nb/1\nb/2\n"));
    assert_eq!(tell("usage").await.as_deref(), Some("782 65536 3"));
    for _ in 0..2 {
        assert_eq!(tell("delete b/2").await, None);
    }
    assert_eq!(tell("keys b/").await.as_deref(), Some("b/1\n"));
    assert_eq!(tell("usage").await.as_deref(), Some("519 65536 2"));
}

#[tokio::test]
async fn storage_is_denied_by_default() {
    let host = Host::new();
    let store = load(&host.engine, STORE, config()).await;
    for command in ["set a 1", "get a", "exists a", "delete a", "keys", "usage"] {
        assert_eq!(host.refusal(&store, command).await, "io-error", "{command}");
    }
    let usage = host.storage.usage(store.id()).await.unwrap();
    assert_eq!(usage.key_count, 0);
}

#[tokio::test]
async fn the_quota_counts_keys_and_values() {
    let host = Host::new();
    let quota = StorageUsage::of(10, 1).used_bytes;
    let store = load(&host.engine, STORE, may(|p| p.storage = Some(quota))).await;
    assert_eq!(
        host.refusal(&store, "set k 1234567890").await,
        "quota-exceeded"
    );
    send(&host.engine, &store, "set k 123456789").await.unwrap();
    assert_eq!(host.refusal(&store, "set l ").await, "quota-exceeded");
    let usage = format!("{quota} {quota} 1");
    assert_eq!(ask(&host.engine, &store, "usage").await, usage);
    let none = load(&host.engine, STORE, may(|p| p.storage = Some(0))).await;
    assert_eq!(host.refusal(&none, "set l ").await, "quota-exceeded");
    // 1,024 bytes each and a key of one or two, with what each key takes besides.
    let fill = load(&host.engine, STORAGE_FILL, permitted()).await;
    assert_eq!(ask(&host.engine, &fill, "").await, "51 quota-exceeded");
}

#[tokio::test]
async fn a_key_has_1_to_1024_bytes() {
    let host = Host::new();
    let store = load(&host.engine, STORE, permitted()).await;
    for (length, fits) in [(0, false), (1, true), (1024, true), (1025, false)] {
        let key = "k".repeat(length);
        for command in ["set", "get", "exists", "delete"] {
            let payload = format!("{command} {key} v");
            match send(&host.engine, &store, payload.clone()).await {
                Ok(_) => assert!(fits, "{command} {length}"),
                Err(_) => {
                    assert!(!fits, "{command} {length}");
                    assert_eq!(host.refusal(&store, &payload).await, "invalid-key");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_list_of_keys_is_whole_or_refused() {
    let host = Host::new();
    let store = load(&host.engine, STORE, permitted()).await;
    for n in 0..4097 {
        let (key, value) = (format!("{}{n:04}", n % 2), Bytes::new());
        let set = host.storage.set(store.id(), &key, value, u64::MAX);
        set.await.unwrap();
    }
    assert_eq!(host.refusal(&store, "keys").await, "io-error");
    let even = ask(&host.engine, &store, "keys 0").await;
    assert_eq!(even.lines().count(), 2049);
    host.storage.delete(store.id(), "00000").await.unwrap();
    assert_eq!(
        ask(&host.engine, &store, "keys").await.lines().count(),
        4096
    );
}

#[tokio::test]
async fn storage_belongs_to_an_id_and_its_instances_share_it() {
    let host = Host::new();
    let load_as = async |name: &str| {
        let id = id(name);
        let loaded = host.engine.load_component(&id, bytes(STORE), permitted());
        loaded.await.unwrap()
    };
    let (a, b) = (load_as("demo/a/main").await, load_as("demo/b/main").await);
    let (same, sibling) = (load_as("demo/a/main").await, load_as("demo/a/two").await);
    send(&host.engine, &a, "set key of-a").await.unwrap();
    send(&host.engine, &b, "set key of-b").await.unwrap();
    assert_eq!(ask(&host.engine, &a, "get key").await, "of-a");
    assert_eq!(ask(&host.engine, &b, "get key").await, "of-b");
    assert_eq!(ask(&host.engine, &same, "get key").await, "of-a");
    assert_eq!(send(&host.engine, &sibling, "get key").await.unwrap(), None);
    assert_eq!(ask(&host.engine, &sibling, "keys").await, "");
}

fn logged(at: LogLevel, message: &str) -> Line {
    Line {
        severity: at.as_str().to_uppercase(),
        component: "demo/logger/main".to_owned(),
        level: Some(at.to_string()),
        stream: None,
        message: message.to_owned(),
    }
}

#[tokio::test]
async fn log_lines_come_with_level_component_and_context_as_far_as_permitted() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    for (least, expected) in [
        (None, &LogLevel::ALL[5..]),
        (Some(LogLevel::Error), &LogLevel::ALL[4..]),
        (Some(LogLevel::Info), &LogLevel::ALL[2..]),
        (Some(LogLevel::Trace), &LogLevel::ALL[..]),
    ] {
        let logger = load(&engine, LOGGER, may(|p| p.log = least)).await;
        assert_eq!(send(&engine, &logger, "a line").await.unwrap(), None);
        let expected: Vec<Line> = expected
            .iter()
            .map(|level| logged(*level, "a line \"key\"=\"value\""))
            .collect();
        assert_eq!(transcript.take(), expected);
    }
}

#[tokio::test]
async fn control_characters_in_log_lines_are_spelled_out() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let ansi = load(&engine, ANSI_LOG, permitted()).await;
    assert_eq!(send(&engine, &ansi, "").await.unwrap(), None);
    let ControlCharacters {
        message,
        key,
        value,
    } = CONTROL_CHARACTERS;
    let expected = format!(
        "{} {}={}",
        Escaped::prose(200, message),
        Quoted::prose(key),
        Quoted::prose(value)
    );
    let messages = transcript.take_messages();
    assert_eq!(messages, [expected]);
    assert!(!messages[0].contains(char::is_control), "{messages:?}");
    // The same in what is quoted from a guest that is not even permitted to log.
    let silent = load(&engine, ANSI_LOG, config()).await;
    assert_eq!(send(&engine, &silent, "").await.unwrap(), None);
    assert_eq!(transcript.take(), []);
}

#[tokio::test]
async fn a_line_that_is_too_long_is_cut() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let logger = load(&engine, LOGGER, may(|p| p.log = Some(LogLevel::Error))).await;
    let long = "é".repeat(20_000);
    assert_eq!(send(&engine, &logger, long).await.unwrap(), None);
    let messages = transcript.take_messages();
    let expected = format!("{}… \"key\"=\"value\"", "é".repeat(1024));
    assert_eq!(messages, [expected]);
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_with_a_warning_and_the_next_call_may_log_again() {
    let (transcript, _guard) = Transcript::start();
    let engine = engine();
    let flood = load(&engine, LOG_FLOOD, permitted()).await;
    for _ in 0..2 {
        assert_eq!(send(&engine, &flood, "").await.unwrap(), None);
        let mut lines = transcript.take();
        let last = lines.pop().unwrap();
        assert_eq!(lines.len(), 256);
        assert!(lines.iter().all(|line| line.message == "flood"));
        assert_eq!(last.severity, "WARN");
        assert_eq!(last.component, "demo/log-flood/main");
        assert!(last.message.contains("256"), "{}", last.message);
    }
    let silent = load(&engine, LOG_FLOOD, config()).await;
    assert_eq!(send(&engine, &silent, "").await.unwrap(), None);
    assert_eq!(transcript.take(), []);
}

/// Whatever becomes of its instances, and whether it logs or is denied what it asks for.
#[tokio::test]
async fn a_component_has_so_many_lines_a_second() {
    const RATE: u32 = 10;
    let (transcript, _guard) = Transcript::start();
    let config_of_engine = EngineConfig::default().with_log_rate(LogRate::new(RATE, 1 << 20));
    let engine = WasmtimeEngine::new(config_of_engine, HostServices::default()).unwrap();
    let began = Instant::now();
    for (fixture, permissions, calls) in [(LOG_FLOOD, permitted(), 1), (SEND_FLOOD, config(), 30)] {
        let flood = load(&engine, fixture, permissions.clone()).await;
        // Beside it, as the next version of it is in a swap.
        let next = load(&engine, fixture, permissions).await;
        for handle in [&flood, &flood, &next] {
            for _ in 0..calls {
                let _ = send(&engine, handle, "").await;
            }
            engine.restart_component(handle).await.unwrap();
        }
        for handle in [flood, next] {
            engine.unload_component(&handle).await.unwrap();
        }
        let (told, lines): (Vec<_>, Vec<_>) = transcript.take().into_iter().partition(|line| {
            line.message.contains("in a second") || line.message.contains("dropped:")
        });
        let seconds = u32::try_from(began.elapsed().as_secs()).unwrap() + 2;
        let count = u32::try_from(lines.len()).unwrap();
        assert!(
            (RATE..=RATE * seconds).contains(&count),
            "{count} in {seconds} s"
        );
        assert!(
            u32::try_from(told.len()).unwrap() <= seconds + 1,
            "{told:#?}"
        );
        let first = &told.first().unwrap().message;
        assert_eq!(
            first,
            "more than 10 lines or 1MiB in a second; the rest is dropped"
        );
        // Those that were not told of by then are at the end.
        let last = &told.last().unwrap().message;
        assert!(
            last.contains(" lines were dropped: more than 10 lines or 1MiB a second"),
            "{last}"
        );
        assert!(told.iter().all(|line| line.severity == "WARN"));
    }
}

fn entry(of: &str, health: HealthStatus) -> ComponentInfo {
    let id = id(of);
    ComponentInfo {
        name: format!("the {}", id.name()),
        version: "1.2.3".to_owned(),
        health,
        id,
    }
}

#[tokio::test]
async fn a_component_sees_itself_and_whom_it_may_message() {
    let host = Host::new();
    for (id, health) in [
        ("demo/b/main", HealthStatus::Degraded),
        ("demo/a/main", HealthStatus::Healthy),
        ("secret/x/main", HealthStatus::Healthy),
        ("demo/directory/main", HealthStatus::Unhealthy),
    ] {
        host.directory.insert(entry(id, health));
    }
    let grants = [
        may(|p| p.send = vec!["demo/*/*".parse().unwrap()]),
        may(|p| p.request = vec!["demo/*/*".parse().unwrap()]),
        may(|p| p.broadcast = vec!["demo/*/*".parse().unwrap()]),
    ];
    for config in grants {
        let directory = load(&host.engine, DIRECTORY, config).await;
        let seen = ask(&host.engine, &directory, "").await;
        assert_eq!(seen, "demo/a/main\ndemo/b/main\ndemo/directory/main\n");
        let info = ask(&host.engine, &directory, "demo/b/main").await;
        assert_eq!(info, "demo/b/main|the b|1.2.3|degraded");
        let info = ask(&host.engine, &directory, "demo/directory/main").await;
        assert_eq!(info, "demo/directory/main|the directory|1.2.3|unhealthy");
        // Hidden, unknown and impossible look the same.
        for other in ["secret/x/main", "demo/nobody/main", "demo/../main"] {
            assert_eq!(host.refusal(&directory, other).await, "invalid-state");
        }
    }
}

#[tokio::test]
async fn a_component_without_permissions_sees_itself_only() {
    let host = Host::new();
    host.directory
        .insert(entry("demo/a/main", HealthStatus::Healthy));
    let directory = load(&host.engine, DIRECTORY, config()).await;
    assert_eq!(
        ask(&host.engine, &directory, "").await,
        "demo/directory/main\n"
    );
    let info = ask(&host.engine, &directory, "demo/directory/main").await;
    assert_eq!(info, "demo/directory/main|directory||unknown");
    assert_eq!(
        host.refusal(&directory, "demo/a/main").await,
        "invalid-state"
    );
}

#[tokio::test]
async fn a_huge_directory_is_shown_in_part() {
    let host = Host::new();
    for n in 0..3000 {
        let id = format!("demo/n{n:04}/main");
        host.directory.insert(entry(&id, HealthStatus::Healthy));
    }
    let directory = load(&host.engine, DIRECTORY, permitted()).await;
    let seen = ask(&host.engine, &directory, "").await;
    let ids: Vec<&str> = seen.lines().collect();
    assert!(ids.len() <= 1025, "{}", ids.len());
    assert!(ids.contains(&"demo/directory/main"));
    assert!(ids.is_sorted());
    assert_eq!(ids[ids.len() - 1], format!("demo/n{:04}/main", 1023));
}

#[tokio::test]
async fn a_validator_takes_back_while_the_component_runs() {
    let host = Host::new();
    let store = load(&host.engine, STORE, permitted()).await;
    send(&host.engine, &store, "set k v").await.unwrap();
    host.validator.revoke(Capability::Storage);
    assert_eq!(host.refusal(&store, "get k").await, "io-error");
    host.validator.restore_everything();
    assert_eq!(ask(&host.engine, &store, "get k").await, "v");
    let questions = host.validator.take_questions();
    assert_eq!(questions, vec![(store, Capability::Storage); 3]);

    let sender = load(&host.engine, SENDER, permitted()).await;
    host.validator.revoke(Capability::Send(id("demo/a/main")));
    let case = host.refusal(&sender, "demo/a/main hi").await;
    assert_eq!(case, "delivery-failed");
    send(&host.engine, &sender, "demo/b/main hi").await.unwrap();

    let (transcript, _guard) = Transcript::start();
    let logger = load(&host.engine, LOGGER, permitted()).await;
    host.validator.revoke(Capability::Log(LogLevel::Info));
    send(&host.engine, &logger, "hi").await.unwrap();
    let levels: Vec<_> = transcript.take().into_iter().map(|l| l.level).collect();
    let expected = ["trace", "debug", "warn", "error"].map(|level| Some(level.to_owned()));
    assert_eq!(levels, expected);
    host.validator.revoke_everything();
    send(&host.engine, &logger, "hi").await.unwrap();
    assert_eq!(transcript.take(), []);
}

#[tokio::test]
async fn what_a_host_function_refuses_costs_no_instance() {
    let host = Host::new();
    let echo = load(&host.engine, ECHO, config()).await;
    let sender = load(&host.engine, SENDER, config()).await;
    for _ in 0..50 {
        host.refusal(&sender, "demo/a/main hi").await;
    }
    let usage = host.engine.usage(&sender).unwrap();
    assert_eq!((usage.calls, usage.traps), (50, 0));
    assert_eq!(ask(&host.engine, &echo, "hi").await, "hi");
}
