//! What components ask of their host.

use super::*;

/// An engine whose services are all watched.
struct Host {
    engine: ModelEngine,
    router: Arc<RecordingRouter>,
    validator: Arc<RecordingValidator>,
    directory: Arc<MemoryDirectory>,
    clock: Arc<ManualClock>,
}

impl Host {
    fn new() -> Self {
        let (router, validator) = <(Arc<RecordingRouter>, Arc<RecordingValidator>)>::default();
        let (directory, clock) = <(Arc<MemoryDirectory>, Arc<ManualClock>)>::default();
        let services = HostServices::default()
            .with_router(router.clone())
            .with_validator(validator.clone())
            .with_directory(directory.clone())
            .with_storage(Arc::new(MemoryStorage::new()))
            .with_clock(clock.clone());
        Self {
            engine: ModelEngine::new(services),
            router,
            validator,
            directory,
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

#[tokio::test]
async fn messages_go_to_the_router_as_far_as_permitted() {
    let host = Host::new();
    host.clock.advance(Duration::from_millis(1_500));
    let sender = load(&host.engine, SENDER, permitted()).await;
    let to_a = send(&host.engine, &sender, "demo/a/main hello there").await;
    assert_eq!(to_a.unwrap(), None);
    let sent = ComponentMessage::new(sender.id().clone(), id("demo/a/main"), "hello there");
    let call = RouterCall::Send {
        from: sender.clone(),
        message: sent.with_timestamp(Duration::from_millis(1_500).into()),
    };
    assert_eq!(host.router.take_calls(), [call]);
    for (payload, case) in [
        ("demo/../main hi", "invalid-message"),
        ("hi", "invalid-message"),
    ] {
        assert_eq!(host.refusal(&sender, payload).await, case);
    }
    host.router.fail_next(MessagingError::QueueFull);
    assert_eq!(host.refusal(&sender, "demo/a/main hi").await, "queue-full");
    host.router.take_calls();

    let broadcaster = load(&host.engine, BROADCASTER, permitted()).await;
    let reply = send(&host.engine, &broadcaster, "demo/a/main,demo/b/main hi").await;
    assert_eq!(reply.unwrap(), None);
    let calls = host.router.take_calls();
    assert!(
        matches!(&calls[..], [RouterCall::Broadcast { messages, .. }] if messages.len() == 2),
        "{calls:?}"
    );
    let callback = load(&host.engine, CALLBACK, permitted()).await;
    let request = ask(&host.engine, &callback, "demo/a/main question").await;
    assert_eq!(request, "request-1");
    let cancel = send(&host.engine, &callback, "cancel request-1").await;
    assert_eq!(cancel.unwrap(), None);
    let again = host.refusal(&callback, "cancel request-1").await;
    assert_eq!(again, "invalid-message");

    host.router.take_calls();
    for fixture in [SENDER, BROADCASTER, CALLBACK] {
        let denied = load(&host.engine, fixture, config()).await;
        let case = host.refusal(&denied, "demo/a/main hi").await;
        assert_eq!(case, "delivery-failed", "{}", fixture.name);
    }
    assert_eq!(host.router.take_calls(), []);
}

#[tokio::test]
async fn a_message_is_sent_back_as_far_as_permitted() {
    let host = Host::new();
    let loops = load(&host.engine, PING_PONG_LOOP, permitted()).await;
    assert_eq!(send(&host.engine, &loops, "ball").await.unwrap(), None);
    let back = ComponentMessage::new(loops.id().clone(), id("test/sender/main"), "ball");
    let call = RouterCall::Send {
        from: loops.clone(),
        message: back.with_timestamp(Timestamp::default()),
    };
    assert_eq!(host.router.take_calls(), [call]);
    host.router.fail_next(MessagingError::QueueFull);
    assert_eq!(host.refusal(&loops, "ball").await, "queue-full");
    let denied = load(&host.engine, PING_PONG_LOOP, config()).await;
    assert_eq!(host.refusal(&denied, "ball").await, "delivery-failed");
}

#[tokio::test]
async fn what_initialize_may_not_send_or_store_fails_the_load() {
    let host = Host::new();
    let sends = load(&host.engine, INIT_SENDS, permitted()).await;
    behaves(&host.engine, &sends, of(INIT_SENDS)).await;
    let calls = host.router.take_calls();
    assert!(
        matches!(&calls[..], [
            RouterCall::Send { from: sender, message: hello },
            RouterCall::Request { from: asker, message: question, .. },
        ] if [sender, asker] == [&sends; 2]
            && [hello, question].map(|message| message.payload.as_bytes())
                == [&b"hello"[..], b"question"]),
        "{calls:?}"
    );
    let failure = async |fixture, config| match try_load(&host.engine, fixture, config).await {
        Err(WasmError::InitializationFailed {
            error: LifecycleError::InitializationFailed(text),
            ..
        }) => text,
        other => panic!("{other:?}"),
    };
    host.router.fail_next(MessagingError::QueueFull);
    assert_eq!(failure(INIT_SENDS, permitted()).await, "queue-full");
    let mut only_send = permitted();
    only_send.permissions.request.clear();
    assert_eq!(failure(INIT_SENDS, only_send).await, "delivery-failed");

    let once = load(&host.engine, INIT_ONCE, permitted()).await;
    assert_eq!(failure(INIT_ONCE, permitted()).await, "begun before");
    behaves(&host.engine, &once, of(INIT_ONCE)).await;
    let mut too_small = permitted();
    too_small.permissions.storage = Some(4);
    let other = id("demo/other/main");
    let wasm = Bytes::from_static(INIT_ONCE.wasm);
    let loaded = host.engine.load_component(&other, wasm, too_small).await;
    assert!(
        matches!(&loaded, Err(WasmError::InitializationFailed {
            error: LifecycleError::InitializationFailed(text), ..
        }) if text == "quota-exceeded"),
        "{loaded:?}"
    );
}

#[tokio::test]
async fn a_call_sends_1024_messages_at_the_most() {
    let host = Host::new();
    let flood = load(&host.engine, SEND_FLOOD, permitted()).await;
    for _ in 0..2 {
        assert_eq!(ask(&host.engine, &flood, "").await, "1024 queue-full");
        assert_eq!(host.router.take_calls().len(), 1_024);
    }
    let storm = load(&host.engine, BROADCAST_STORM, permitted()).await;
    assert_eq!(host.refusal(&storm, "").await, "queue-full");
    // And 8 MiB of payload, however few they are.
    let large = ModelEngine::new(HostServices::default().with_router(host.router.clone()))
        .with_memory_ceiling_bytes(32 << 20);
    let permissions = permitted().permissions;
    let broadcaster = with_memory(32 << 20).with_permissions(permissions);
    let broadcaster = load(&large, BROADCASTER, broadcaster).await;
    for (bytes, accepted) in [(8 << 20, true), ((8 << 20) + 1, false)] {
        let payload = format!("d/a/m,d/b/m {}", "x".repeat(bytes));
        let outcome = send(&large, &broadcaster, payload).await;
        assert_eq!(outcome.is_ok(), accepted, "{outcome:?}");
        assert_eq!(host.router.take_calls().len(), usize::from(accepted));
    }
    let denied = load(&host.engine, SEND_FLOOD, config()).await;
    assert_eq!(ask(&host.engine, &denied, "").await, "0 delivery-failed");
    assert_eq!(host.router.take_calls(), []);
}

#[tokio::test]
async fn storage_keeps_lists_and_deletes() {
    let host = Host::new();
    let store = load(&host.engine, STORE, permitted()).await;
    for (command, answer) in [
        ("get a", None),
        ("exists a", Some("false")),
        ("set b/2 two", None),
        ("set a one", None),
        ("set b/1 ", None),
        ("get a", Some("one")),
        ("get b/1", Some("")),
        ("exists b/1", Some("true")),
        ("keys b/", Some("b/1\nb/2\n")),
        ("keys", Some("a\nb/1\nb/2\n")),
        ("usage", Some("781 65536 3")),
        ("delete b/2", None),
        ("delete b/2", None),
        ("usage", Some("519 65536 2")),
    ] {
        let reply = send(&host.engine, &store, command).await.unwrap();
        assert_eq!(reply.as_deref(), answer, "{command}");
    }
    let long = format!("get {}", "k".repeat(1_025));
    for key in ["get ", &long] {
        assert_eq!(host.refusal(&store, key).await, "invalid-key");
    }
    host.validator.revoke_everything();
    assert_eq!(host.refusal(&store, "get a").await, "io-error");
    host.validator.restore_everything();
    let denied = load(&host.engine, STORE, config()).await;
    assert_eq!(host.refusal(&denied, "usage").await, "io-error");
    let fill = load(&host.engine, STORAGE_FILL, permitted()).await;
    assert_eq!(ask(&host.engine, &fill, "").await, "51 quota-exceeded");
    let counter = load(&host.engine, STORED_COUNTER, permitted()).await;
    assert_eq!(ask(&host.engine, &counter, "").await, "1");
    host.engine.restart_component(&counter).await.unwrap();
    assert_eq!(ask(&host.engine, &counter, "").await, "2");
    // A key is a string.
    let error = send(&host.engine, &store, &b"get \xff"[..])
        .await
        .unwrap_err();
    assert!(
        matches!(
            &error,
            WasmError::Trapped {
                trap: Trap::RefusedByHost(_),
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_component_sees_itself_and_whom_it_may_message() {
    let host = Host::new();
    for name in ["demo/b/main", "demo/a/main", "secret/x/main"] {
        let id = id(name);
        host.directory.insert(ComponentInfo {
            name: "b".to_owned(),
            version: "1.2.3".to_owned(),
            health: HealthStatus::Degraded,
            id,
        });
    }
    let mut permissions = Permissions::default();
    permissions.request = vec!["demo/*/*".parse().unwrap()];
    let directory = load(
        &host.engine,
        DIRECTORY,
        config().with_permissions(permissions),
    )
    .await;
    let seen = ask(&host.engine, &directory, "").await;
    assert_eq!(seen, "demo/a/main\ndemo/b/main\ndemo/directory/main\n");
    let info = ask(&host.engine, &directory, "demo/b/main").await;
    assert_eq!(info, "demo/b/main|b|1.2.3|degraded");
    let itself = ask(&host.engine, &directory, "demo/directory/main").await;
    assert_eq!(itself, "demo/directory/main|directory||unknown");
    for other in ["secret/x/main", "demo/nobody/main", "demo/../main"] {
        assert_eq!(host.refusal(&directory, other).await, "invalid-state");
    }
    // What is wrong with this name fits in no page that it left.
    let (page, table) = (64 << 10, 16);
    let name = "\0".repeat(4 * page - 5_300);
    assert_eq!(host.refusal(&directory, &name).await, "invalid-state");
    let memory_bytes = usage(&host.engine, &directory).await.memory_bytes;
    assert_eq!(memory_bytes, 5 * page as u64 + table);
}

#[tokio::test]
async fn the_time_is_that_of_the_clock_and_logs_are_asked_about() {
    let host = Host::new();
    let clock = load(&host.engine, CLOCK, config()).await;
    host.clock.advance(Duration::new(7, 1_000_002));
    assert_eq!(ask(&host.engine, &clock, "time").await, "7.001000002");
    assert_eq!(ask(&host.engine, &clock, "").await, "7001");
    let logger = load(&host.engine, LOGGER, permitted()).await;
    assert_eq!(send(&host.engine, &logger, "line").await.unwrap(), None);
    assert_eq!(host.validator.take_questions().len(), 5);
    let hello = load(&host.engine, HELLO, config()).await;
    let error = host.engine.metadata(&hello).await.unwrap_err();
    assert!(matches!(error, WasmError::ExportNotFound { .. }), "{error}");
}
