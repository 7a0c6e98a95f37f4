//! Messages that a component sends itself later.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use wasm_core::{
    ComponentId, ComponentMessage, ComponentStorage, GuestError, HostServices, MemoryStorage,
    StartPolicy, StorageError, StorageUsage, TIMER_TYPE, TimerError,
};
use wasm_host::{Component, Host, HostBuilder, HostError, LetterKind, Phase, timers_owner};
use wasm_testkit::wasm_fixtures::ECHO;
use wasm_testkit::{Fault, Faulty, Method, ModelEngine, OwnAnswer};

use crate::support::{SECOND, ask, causes, component, demo, is, restarted, told};

/// What the timers of a component brought, and when.
type Rung = Arc<Mutex<Vec<(String, Instant)>>>;

/// `demo/alarm/main`: `set MILLIS TEXT` sets a timer, `cancel NUMBER` takes one back. A timer
/// with the text `poison` traps it.
fn alarm(services: HostServices, rung: &Rung) -> Arc<ModelEngine> {
    let rung = Arc::clone(rung);
    let engine = ModelEngine::new(services).with_host(&demo("alarm"), move |host, message| {
        let rung = Arc::clone(&rung);
        Box::pin(async move {
            let text = text_of(&message);
            if message.message_type.as_deref() == Some(TIMER_TYPE) {
                assert_eq!(message.sender, message.recipient);
                assert_ne!(text, "poison");
                rung.lock().unwrap().push((text, Instant::now()));
                return Ok(message
                    .correlation_id
                    .map(|id| id.as_str().to_owned().into()));
            }
            let mut words = text.splitn(3, ' ');
            let command = words.next().unwrap_or_default();
            let number: u64 = words.next().unwrap_or_default().parse().unwrap_or_default();
            let answer = match command {
                "set" => {
                    let payload = words.next().unwrap_or_default().to_owned().into();
                    let set = host.set_timer(Duration::from_millis(number), payload).await;
                    set.map(|timer| timer.to_string())
                }
                _ => host.cancel_timer(number).await.map(|was| was.to_string()),
            };
            match answer {
                Ok(answer) => Ok(Some(answer.into())),
                Err(error) => Err(GuestError::RuntimeError(error.to_string())),
            }
        }) as OwnAnswer
    });
    Arc::new(engine)
}

fn text_of(message: &ComponentMessage) -> String {
    String::from_utf8(message.payload.as_bytes().to_vec()).unwrap()
}

fn host_over(storage: Arc<dyn ComponentStorage>, rung: &Rung) -> Host<ModelEngine> {
    let builder = HostBuilder::new().with_storage(storage);
    builder
        .start(|services| Ok::<_, String>(alarm(services, rung)))
        .unwrap()
}

async fn loaded(component: Component) -> (Host<ModelEngine>, Rung) {
    let rung = Rung::default();
    let host = host_over(Arc::new(MemoryStorage::new()), &rung);
    host.load(component).await.unwrap();
    (host, rung)
}

fn texts(rung: &Rung) -> Vec<String> {
    let rung = rung.lock().unwrap();
    rung.iter().map(|(text, _)| text.clone()).collect()
}

/// What the store has of timers.
async fn kept(storage: &dyn ComponentStorage) -> Vec<String> {
    let owner = "host/timers/main".parse().unwrap();
    storage.list_keys(&owner, "", None, 1_000).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_timer_comes_once_and_not_early() {
    let (host, rung) = loaded(component("alarm", ECHO)).await;
    let began = Instant::now();
    for (millis, text) in [(2_000, "b"), (1_000, "a"), (0, "now"), (90_000, "c")] {
        told(&host, "alarm", &format!("set {millis} {text}")).await;
    }
    sleep(60 * SECOND).await;
    assert_eq!(texts(&rung), ["now", "a", "b"]);
    sleep(60 * SECOND).await;
    assert_eq!(texts(&rung), ["now", "a", "b", "c"]);
    for ((text, at), millis) in rung.lock().unwrap().iter().zip([0, 1_000, 2_000, 90_000]) {
        let due = began + Duration::from_millis(millis);
        assert!(*at >= due && *at < due + SECOND / 10, "{text}");
    }
    assert_eq!(kept(&*host.services().storage).await, [""; 0]);
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_is_cancelled_does_not_come() {
    let (host, rung) = loaded(component("alarm", ECHO)).await;
    let timer = told(&host, "alarm", "set 1000 a").await;
    let other = told(&host, "alarm", "set 1000 b").await;
    assert_ne!(timer, other);
    let cancel = format!("cancel {timer}");
    assert_eq!(told(&host, "alarm", &cancel).await, "true");
    assert_eq!(told(&host, "alarm", &cancel).await, "false");
    sleep(2 * SECOND).await;
    assert_eq!(texts(&rung), ["b"]);
    let cancel = format!("cancel {other}");
    assert_eq!(told(&host, "alarm", &cancel).await, "false");
    assert_eq!(kept(&*host.services().storage).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_component_has_so_many_timers() {
    let (host, _) = loaded(component("alarm", ECHO)).await;
    for _ in 0..64 {
        told(&host, "alarm", "set 1000 a").await;
    }
    let refused = ask(&host, "alarm", "set 1000 a").await.unwrap_err();
    let expected = TimerError::TooMany.to_string();
    assert!(refused.to_string().contains(&expected), "{refused}");
    sleep(2 * SECOND).await;
    told(&host, "alarm", "set 1000 a").await;
}

#[tokio::test(start_paused = true)]
async fn a_timer_outlives_its_instance_and_wakes_its_component() {
    let mut sleepy = restarted("alarm", ECHO);
    sleepy.supervision.start = StartPolicy::OnMessage;
    sleepy.supervision.idle = Some(SECOND);
    let (host, rung) = loaded(sleepy.clone()).await;
    told(&host, "alarm", "set 60000 asleep").await;
    sleep(30 * SECOND).await;
    assert!(is(&host, "alarm", Phase::Asleep).await);
    sleep(31 * SECOND).await;
    assert_eq!(texts(&rung), ["asleep"]);
    told(&host, "alarm", "set 1000 restarted").await;
    host.restart(&demo("alarm")).await.unwrap();
    sleep(2 * SECOND).await;
    told(&host, "alarm", "set 1000 swapped").await;
    host.swap(sleepy.clone()).await.unwrap();
    sleep(2 * SECOND).await;
    told(&host, "alarm", "set 1000 loaded again").await;
    host.unload(&demo("alarm")).await.unwrap();
    sleep(10 * SECOND).await;
    host.load(sleepy).await.unwrap();
    sleep(2 * SECOND).await;
    assert_eq!(
        texts(&rung),
        ["asleep", "restarted", "swapped", "loaded again"]
    );
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_outlives_the_host() {
    let storage = Arc::new(MemoryStorage::new());
    let rung = Rung::default();
    let host = host_over(storage.clone(), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    told(&host, "alarm", "set 1 first").await;
    sleep(SECOND).await;
    told(&host, "alarm", "set 1 second").await;
    told(&host, "alarm", "set 3600000 third").await;
    host.stop().await;
    drop(host);
    let host = host_over(storage.clone(), &rung);
    sleep(10 * SECOND).await;
    // Whose they are has to be there.
    host.load(component("alarm", ECHO)).await.unwrap();
    sleep(10 * SECOND).await;
    assert_eq!(texts(&rung), ["first", "second"]);
    assert_eq!(kept(&*storage).await.len(), 1);
    assert_eq!(host.dead_letters().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_timer_over_which_the_process_ended_is_a_dead_letter() {
    let storage = Arc::new(MemoryStorage::new());
    let owner = "host/timers/main".parse().unwrap();
    // Begun, as of a process that was killed.
    let begun = [b"b".as_slice(), &7_u64.to_be_bytes(), b"half done"].concat();
    let key = "demo/alarm/main/0000000000000005";
    storage
        .set(&owner, key, begun.into(), u64::MAX)
        .await
        .unwrap();
    let rung = Rung::default();
    let host = host_over(storage.clone(), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    sleep(10 * SECOND).await;
    let dead = host.dead_letters();
    assert_eq!(causes(&dead), ["interrupted"]);
    assert_eq!(dead[0].kind, LetterKind::Timer);
    assert_eq!(dead[0].message.payload.as_bytes(), b"half done");
    assert_eq!(kept(&*storage).await, [""; 0]);
    assert_eq!(texts(&rung), [""; 0]);
    // Whoever knows better can have it delivered.
    host.redeliver(dead[0].number).unwrap();
    host.drain(SECOND).await.unwrap();
    assert_eq!(texts(&rung), ["half done"]);
}

/// Whatever numbers and times the store has, as after an import.
#[tokio::test(start_paused = true)]
async fn odd_timers_in_the_store_harm_nobody() {
    let storage = Arc::new(MemoryStorage::new());
    for (key, kept) in [
        (
            "demo/alarm/main/ffffffffffffffff",
            &b"w\xff\xff\xff\xff\xff\xff\xff\xffx"[..],
        ),
        ("demo/alarm/main/0000000000000001", b"w"),
        ("demo/alarm/main/0000000000000002", b"x12345678"),
        ("demo/alarm/main/0000000000000003x", b"w\0\0\0\0\0\0\0\0x"),
        ("demo/alarm", b"w\0\0\0\0\0\0\0\0x"),
    ] {
        let kept = Bytes::from_static(kept);
        let set = storage.set(&timers_owner(), key, kept, u64::MAX).await;
        assert_eq!(set, Ok(()));
    }
    let rung = Rung::default();
    let host = host_over(storage, &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    sleep(SECOND).await;
    let error = ask(&host, "alarm", "set 10 a").await.unwrap_err();
    assert!(error.to_string().contains("timers"), "{error}");
    assert_eq!(
        told(&host, "alarm", &format!("cancel {}", u64::MAX)).await,
        "true"
    );
    assert!(is(&host, "alarm", Phase::Ready).await);
}

#[tokio::test(start_paused = true)]
async fn a_timer_that_fails_its_component_is_a_dead_letter() {
    let (host, rung) = loaded(restarted("alarm", ECHO)).await;
    told(&host, "alarm", "set 100 poison").await;
    told(&host, "alarm", "set 200 a").await;
    sleep(10 * SECOND).await;
    assert_eq!(causes(&host.dead_letters()), ["failed"]);
    assert_eq!(texts(&rung), ["a"]);
    assert_eq!(kept(&*host.services().storage).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_timer_waits_for_a_store_that_fails() {
    let memory = Arc::new(MemoryStorage::new());
    let fails = || Fault::Fail(StorageError::Io("no space".to_owned()));
    // The first call sets the first timer, the third begins the second one.
    let storage = Faulty::new(memory.clone())
        .on_call(Method::Set, 1, fails())
        .on_call(Method::Set, 3, fails())
        .on_call(Method::Delete, 1, fails());
    let rung = Rung::default();
    let host = host_over(Arc::new(storage), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    let refused = ask(&host, "alarm", "set 100 a").await.unwrap_err();
    assert!(refused.to_string().contains("no space"), "{refused}");
    let began = Instant::now();
    told(&host, "alarm", "set 100 b").await;
    sleep(10 * SECOND).await;
    assert_eq!(texts(&rung), ["b"]);
    let late = rung.lock().unwrap()[0].1 - began;
    assert!((SECOND..2 * SECOND).contains(&late), "{late:?}");
    assert_eq!(kept(&*memory).await, [""; 0]);
}

/// Panics at the first call of each method.
#[derive(Default)]
struct Panicking {
    memory: MemoryStorage,
    has_set: AtomicBool,
    has_deleted: AtomicBool,
    has_listed: AtomicBool,
}

fn panic_first(has_done: &AtomicBool) {
    assert!(has_done.swap(true, Ordering::SeqCst), "the first time");
}

#[async_trait]
impl ComponentStorage for Panicking {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.memory.get(owner, key).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        panic_first(&self.has_set);
        self.memory.set(owner, key, value, quota_bytes).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        panic_first(&self.has_deleted);
        self.memory.delete(owner, key).await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        panic_first(&self.has_listed);
        self.memory.list_keys(owner, prefix, after, limit).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.memory.usage(owner).await
    }
}

#[tokio::test(start_paused = true)]
async fn timers_outlive_a_store_that_panics() {
    let storage = Arc::new(Panicking::default());
    let rung = Rung::default();
    let host = host_over(storage.clone(), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    let refused = ask(&host, "alarm", "set 100 a").await.unwrap_err();
    assert!(refused.to_string().contains("panicked"), "{refused}");
    told(&host, "alarm", "set 100 b").await;
    sleep(10 * SECOND).await;
    assert_eq!(texts(&rung), ["b"]);
    assert_eq!(kept(&storage.memory).await, [""; 0]);
}

/// Counts warnings.
#[derive(Clone, Default)]
struct Warnings(Arc<AtomicUsize>);

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Each of those that are due is tried again every second.
#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_told_once_however_many_timers_wait_for_it() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let failed = || Fault::Fail(StorageError::Io("the disk is full".to_owned()));
    // From when the first are set on for a while, and so for the second.
    let failing = (21..=300).chain(341..=600);
    let storage = failing.fold(Faulty::new(Arc::new(MemoryStorage::new())), |it, call| {
        it.on_call(Method::Set, call, failed())
    });
    let rung = Rung::default();
    let host = host_over(Arc::new(storage), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    for round in 1..=2 {
        for _ in 0..20 {
            told(&host, "alarm", "set 1000 a").await;
        }
        sleep(60 * SECOND).await;
        assert_eq!(texts(&rung).len(), 20 * round);
        assert_eq!(warnings.0.load(Ordering::SeqCst), round);
    }
}

/// Where the host stops while it removes them.
#[tokio::test(start_paused = true)]
async fn no_timer_that_is_over_is_left_by_a_stop() {
    let memory = Arc::new(MemoryStorage::new());
    let storage = Faulty::new(memory.clone()).on_call(Method::Delete, 1, Fault::Hang);
    let rung = Rung::default();
    let host = host_over(Arc::new(storage), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    for text in ["a", "b", "c"] {
        told(&host, "alarm", &format!("set 1000 {text}")).await;
    }
    sleep(2 * SECOND).await;
    assert_eq!(texts(&rung), ["a", "b", "c"]);
    assert_eq!(kept(&*memory).await.len(), 1);
    host.stop().await;
    assert_eq!(kept(&*memory).await, [""; 0]);
}

/// Where the store takes ever so long to remove the first.
#[tokio::test(start_paused = true)]
async fn no_timer_waits_for_another_to_be_removed() {
    let memory = Arc::new(MemoryStorage::new());
    let storage = Faulty::new(memory.clone()).on_call(Method::Delete, 1, Fault::Hang);
    let rung = Rung::default();
    let host = host_over(Arc::new(storage), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    let began = Instant::now();
    told(&host, "alarm", "set 1000 a").await;
    told(&host, "alarm", "set 2000 b").await;
    sleep(5 * SECOND).await;
    assert_eq!(texts(&rung), ["a", "b"]);
    let late = rung.lock().unwrap()[1].1 - began;
    assert!((2 * SECOND..3 * SECOND).contains(&late), "{late:?}");
    // Nor does the second wait to be removed.
    assert_eq!(kept(&*memory).await.len(), 1);
}

/// Where the store takes a thousand seconds for each of them.
#[tokio::test(start_paused = true)]
async fn so_many_timers_are_removed_at_a_time() {
    let memory = Arc::new(MemoryStorage::new());
    let slow = Fault::Delay(1_000 * SECOND);
    let storage = Faulty::new(memory.clone()).on_every_call(Method::Delete, slow);
    let rung = Rung::default();
    let host = host_over(Arc::new(storage), &rung);
    host.load(component("alarm", ECHO)).await.unwrap();
    for so_many in [64, 128] {
        // As many as a component has at a time.
        for _ in 0..64 {
            told(&host, "alarm", "set 1000 a").await;
        }
        sleep(10 * SECOND).await;
        assert_eq!(texts(&rung).len(), so_many);
        assert_eq!(kept(&*memory).await.len(), so_many);
    }
    sleep(1_000 * SECOND).await;
    assert_eq!(kept(&*memory).await.len(), 64);
    sleep(1_000 * SECOND).await;
    assert_eq!(kept(&*memory).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_loaded_where_timers_are_kept() {
    let (host, _) = loaded(component("alarm", ECHO)).await;
    let mut impostor = component("alarm", ECHO);
    impostor.id = "host/timers/main".parse().unwrap();
    let refused = host.load(impostor).await.unwrap_err();
    assert!(matches!(refused, HostError::Reserved(_)), "{refused}");
}
