//! What an operator sees: metrics and spans, and that events wait for no reader. What
//! they are is looked at everywhere else.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Label, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::runtime::Builder;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Metadata, Subscriber};

use wasm_core::Permissions;
use wasm_host::{Events, HandledMessages, HostLimits, Reply};
use wasm_testkit::wasm_fixtures::{CALLBACK, COUNTER, ECHO, GUEST_ERROR, SENDER, TRAP};

use crate::support::{
    SECOND, ask, causes, component, demo, host_with, last_callback, load, restarted, told,
};

/// Runs on this thread alone, where a test's own recorder and subscriber count.
fn run(test: impl Future<Output = ()>) {
    let mut runtime = Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn what_happens_is_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshots = recorder.snapshotter();
    metrics::with_local_recorder(&recorder, || {
        run(async {
            let mut denied = component("denied", SENDER);
            denied.config.permissions = Permissions::default();
            let host = load(&[
                component("asker", CALLBACK),
                component("echo", ECHO),
                component("error", GUEST_ERROR),
                restarted("trap", TRAP),
                denied,
            ])
            .await;
            told(&host, "asker", "demo/echo/main hello").await;
            host.drain(SECOND).await.unwrap();
            ask(&host, "error", "hello").await.unwrap_err();
            ask(&host, "trap", "poison").await.unwrap_err();
            assert_eq!(told(&host, "trap", "ok").await, "ok");
            ask(&host, "denied", "demo/echo/main hi").await.unwrap_err();
            host.send(&demo("echo"), vec![0; (16 << 20) + 1])
                .unwrap_err();
        });
    });
    let mut counted = BTreeMap::new();
    for (key, _, _, value) in snapshots.snapshot().into_vec() {
        let key = key.key();
        let labels = key.labels().map(Label::value).collect::<Vec<_>>();
        let name = format!("{} {}", key.name(), labels.join(" "));
        match value {
            DebugValue::Counter(0) => {}
            DebugValue::Counter(count) => drop(counted.insert(name, count)),
            DebugValue::Histogram(times) => drop(counted.insert(name, times.len() as u64)),
            DebugValue::Gauge(_) => panic!("{name}"),
        }
    }
    let expected = [
        ("wasm_messages_total demo/asker/main request answered", 1),
        ("wasm_messages_total demo/asker/main callback answered", 1),
        ("wasm_messages_total demo/echo/main request answered", 1),
        ("wasm_messages_total demo/error/main request guest-error", 1),
        ("wasm_messages_total demo/trap/main request failed", 1),
        ("wasm_messages_total demo/trap/main request answered", 1),
        (
            "wasm_messages_total demo/denied/main request guest-error",
            1,
        ),
        ("wasm_dead_letters_total demo/trap/main failed", 1),
        ("wasm_failures_total demo/trap/main", 1),
        ("wasm_restarts_total demo/trap/main", 1),
        ("wasm_denied_total demo/denied/main send", 1),
        ("wasm_refused_total demo/echo/main mailbox-bytes", 1),
        ("wasm_call_seconds demo/asker/main", 2),
        ("wasm_wait_seconds demo/trap/main", 2),
    ];
    for (name, count) in expected {
        assert_eq!(counted.get(name), Some(&count), "{name} in {counted:#?}");
    }
}

/// Panics over whatever is to be counted.
struct NoRecorder;

impl Recorder for NoRecorder {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &metrics::Metadata<'_>) -> Counter {
        panic!("it counts nothing")
    }

    fn register_gauge(&self, _: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        panic!("it counts nothing")
    }

    fn register_histogram(&self, _: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        panic!("it counts nothing")
    }
}

#[test]
fn a_recorder_that_panics_harms_no_component() {
    metrics::with_local_recorder(&NoRecorder, || {
        run(async {
            let host = load(&[component("echo", ECHO), restarted("trap", TRAP)]).await;
            assert_eq!(told(&host, "echo", "hello").await, "hello");
            ask(&host, "trap", "poison").await.unwrap_err();
            assert_eq!(told(&host, "trap", "ok").await, "ok");
            assert_eq!(causes(&host.dead_letters()), ["failed"]);
        });
    });
}

/// A span with its fields, and the number of the one it is within.
type Made = (String, Option<u64>);

/// Every span, numbered from 1.
#[derive(Clone, Default)]
struct Spans {
    made: Arc<Mutex<Vec<Made>>>,
    open: Arc<AtomicU64>,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("wasm_host")
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut shown = Shown(span.metadata().name().to_owned());
        span.record(&mut shown);
        let mut made = self.made.lock().unwrap();
        made.push((shown.0, span.parent().map(Id::into_u64)));
        self.open.fetch_add(1, Ordering::Relaxed);
        Id::from_u64(made.len() as u64)
    }

    fn try_close(&self, _: Id) -> bool {
        self.open.fetch_sub(1, Ordering::Relaxed);
        true
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.open.fetch_add(1, Ordering::Relaxed);
        id.clone()
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Shown(String);

impl Visit for Shown {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

/// Whoever reads events late, or never, holds up nobody, and is told what was missed.
#[test]
fn a_reader_of_events_that_does_not_read_stops_nothing() {
    const ASKED: u64 = 3000;
    run(async {
        let host = load(&[restarted("trap", TRAP), component("echo", ECHO)]).await;
        let mut late = host.events();
        for _ in 0..ASKED {
            assert_eq!(told(&host, "echo", "x").await, "x");
        }
        ask(&host, "trap", "poison").await.unwrap_err();
        assert_eq!(told(&host, "trap", "ok").await, "ok");
        host.stop().await;
        let (mut missed, mut handled, mut last) = (0, 0, None);
        while let Some(event) = late.next().await {
            match &event {
                wasm_host::Event::Missed { events, .. } => missed += events,
                wasm_host::Event::Message { .. } => handled += 1,
                _ => {}
            }
            last = Some(event);
        }
        assert!(missed > 0 && handled < ASKED, "{missed} {handled}");
        // One is of the component that failed.
        assert!(missed + handled > ASKED, "{missed} {handled}");
        assert!(matches!(last, Some(wasm_host::Event::Stopped)), "{last:?}");
    });
}

/// However many messages there are, a reader that is behind misses no failure over them.
#[test]
fn messages_push_out_no_failure() {
    const FAILURES: u64 = 5;
    const BETWEEN: u64 = 600;
    run(async {
        let host = load(&[restarted("trap", TRAP), component("error", GUEST_ERROR)]).await;
        let mut all = host.events();
        let mut errors = host.events().with_messages(HandledMessages::Errors);
        let mut others = host.events().with_messages(HandledMessages::None);
        for _ in 0..FAILURES {
            for _ in 0..BETWEEN {
                assert_eq!(told(&host, "trap", "ok").await, "ok");
            }
            ask(&host, "error", "hello").await.unwrap_err();
            ask(&host, "trap", "poison").await.unwrap_err();
            assert_eq!(told(&host, "trap", "ok").await, "ok");
        }
        host.stop().await;
        assert_eq!(kinds(&mut others).await, kinds_of_failures(FAILURES, false));
        assert_eq!(kinds(&mut errors).await, kinds_of_failures(FAILURES, true));
        let (mut missed, mut handled, mut rest) = (0, 0, Vec::new());
        while let Some(event) = all.next().await {
            match event {
                wasm_host::Event::Missed { events, .. } => missed += events,
                wasm_host::Event::Message {
                    reply: Reply::Nothing | Reply::Bytes(_),
                    ..
                } => handled += 1,
                event => rest.push(event.kind()),
            }
        }
        assert_eq!(missed + handled, FAILURES * (BETWEEN + 1));
        assert_eq!(handled, 1_024);
        assert_eq!(rest, kinds_of_failures(FAILURES, true));
    });
}

/// Nor over dead letters, of which a component that fails leaves as many as its mailbox has.
#[test]
fn dead_letters_push_out_no_failure() {
    const FAILURES: usize = 4;
    const WAITING: usize = 600;
    run(async {
        let host = load(&[component("trap", TRAP)]).await;
        let mut late = host.events().with_messages(HandledMessages::None);
        for _ in 0..FAILURES {
            for text in ["poison"].into_iter().chain([""; WAITING]) {
                host.send(&demo("trap"), text.to_owned()).unwrap();
            }
            host.drain(SECOND).await.unwrap();
            host.restart(&demo("trap")).await.unwrap();
        }
        host.stop().await;
        let (mut missed, mut dead, mut rest) = (0, 0, Vec::new());
        while let Some(event) = late.next().await {
            match event {
                wasm_host::Event::Missed { events, .. } => missed += events,
                wasm_host::Event::DeadLetter { .. } => dead += 1,
                event => rest.push(event.kind()),
            }
        }
        let mut expected = ["failed", "quarantined", "restarted"].repeat(FAILURES);
        expected.extend(["unloaded", "stopped"]);
        assert_eq!(rest, expected);
        assert_eq!(dead, 1_024);
        assert_eq!(missed + dead, (FAILURES * (1 + WAITING)) as u64);
    });
}

async fn kinds(events: &mut Events) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        kinds.push(event.kind());
    }
    kinds
}

/// What is told of so many failures and the end of two components, with the messages that were
/// answered with an error or without.
fn kinds_of_failures(failures: u64, with_errors: bool) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for _ in 0..failures {
        kinds.extend(with_errors.then_some("message"));
        kinds.extend(["failed", "dead-letter", "restarted"]);
    }
    kinds.extend(["unloaded", "unloaded", "stopped"]);
    kinds
}

#[test]
fn events_that_nobody_reads_take_so_many_bytes() {
    run(async {
        let host = host_with(HostLimits::default().with_event_bytes(4_000));
        let mut late = host.events();
        host.load(component("echo", ECHO)).await.unwrap();
        for _ in 0..100 {
            assert_eq!(told(&host, "echo", "x").await, "x");
        }
        let (mut missed, mut kept) = (0, 0);
        while let Some(event) = late.try_next() {
            match event {
                wasm_host::Event::Missed { events, .. } => missed += events,
                _ => kept += 1,
            }
        }
        assert!(missed > 50 && kept > 1, "{missed} {kept}");
    });
}

#[test]
fn a_span_leads_from_a_message_to_the_callback() {
    let spans = Spans::default();
    // As long as there is one dispatcher only, it is the thread that comes first to a span
    // who decides for all whether anybody wants it, and the other tests want none.
    let _another = Dispatch::new(spans.clone());
    let _guard = tracing::subscriber::set_default(spans.clone());
    run(async {
        let host = load(&[component("asker", CALLBACK), component("counter", COUNTER)]).await;
        told(&host, "asker", "demo/counter/main hello").await;
        host.drain(SECOND).await.unwrap();
        let made = spans.made.lock().unwrap().clone();
        let program = "from=host/program/main";
        let (asker, counter) = ("demo/asker/main", "demo/counter/main");
        assert_eq!(
            made,
            [
                (
                    format!("message kind=\"request\" {program} to={asker} bytes=23"),
                    None
                ),
                (
                    format!("message kind=\"request\" from={asker} to={counter} bytes=5"),
                    Some(1)
                ),
                (
                    format!("message kind=\"callback\" from={counter} to={asker} bytes=1"),
                    Some(2)
                ),
            ]
        );
        // None is kept open when nothing is on its way.
        assert_eq!(spans.open.load(Ordering::Relaxed), 0);
        assert!(last_callback(&host, "asker").await.ends_with("|-|1"));
    });
}
