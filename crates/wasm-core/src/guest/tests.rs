use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::poll::now;
use crate::{
    Clock, ComponentDirectory, ComponentInfo, ComponentMessage, ComponentTimers, CorrelationId,
    HealthStatus, InvalidComponentId, LogLevel, MessageRouter, MessagingError, Permissions,
    ResourceLimits, SecurityValidator, StorageError, TimerError,
};

const AT_7_MS: Timestamp = Timestamp {
    seconds: 0,
    nanoseconds: 7_000_000,
};

/// Every service of a host, which writes down in which order it was asked.
#[derive(Default)]
struct World {
    asked: Mutex<Vec<String>>,
    taken_back: Mutex<Option<Capability>>,
    others: Vec<ComponentId>,
}

impl World {
    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

#[async_trait]
impl MessageRouter for World {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        let (to, at) = (&message.recipient, message.timestamp.as_millis());
        self.note(format!(
            "send from {from} as {} to {to} at {at}",
            message.sender
        ));
        Ok(())
    }

    async fn request(
        &self,
        _: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        self.note(format!(
            "request to {} within {timeout:?}",
            message.recipient
        ));
        Ok("r1".into())
    }

    async fn cancel_request(
        &self,
        _: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        self.note(format!("cancel {}", request.as_str()));
        Ok(())
    }
}

impl SecurityValidator for World {
    fn validate(
        &self,
        _: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        self.note(format!("validate {capability}"));
        match &*self.taken_back.lock().unwrap() {
            Some(taken) if taken == capability => Err(CapabilityDenied {
                capability: capability.clone(),
                reason: "taken back".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    fn denied(&self, _: &ComponentHandle, denied: &CapabilityDenied) {
        self.note(format!("denied {}", denied.capability));
    }
}

#[async_trait]
impl ComponentDirectory for World {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        self.note("list");
        let later = self.others.iter().filter(|id| Some(*id) > after);
        later.take(limit).cloned().collect()
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        self.others.contains(id).then(|| ComponentInfo {
            id: id.clone(),
            name: "known".to_owned(),
            version: "1.2.3".to_owned(),
            health: HealthStatus::Healthy,
        })
    }
}

#[async_trait]
impl ComponentTimers for World {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        self.note(format!(
            "timer of {of} in {delay:?}, {} bytes",
            payload.len()
        ));
        Ok(9)
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        self.note(format!("cancel timer {timer} of {of}"));
        Ok(true)
    }
}

impl Clock for World {
    fn now(&self) -> Timestamp {
        AT_7_MS
    }
}

struct Lines(Arc<World>);

impl GuestLog for Lines {
    fn write(&self, level: LogLevel, line: &dyn Fn() -> String) {
        self.0.note(format!("{level}: {}", line()));
    }

    fn denied(&self, denied: &CapabilityDenied) {
        self.0.note(format!("logged: {denied}"));
    }
}

/// An id as a guest writes it.
#[derive(Clone)]
struct To(&'static str);

impl TryFrom<To> for ComponentId {
    type Error = InvalidComponentId;

    fn try_from(To(text): To) -> Result<Self, Self::Error> {
        text.parse()
    }
}

fn id(text: &str) -> ComponentId {
    text.parse().unwrap()
}

fn everything() -> Permissions {
    let others = || vec!["demo/*/main".parse().unwrap()];
    Permissions {
        send: others(),
        request: others(),
        broadcast: others(),
        storage: Some(1000),
        log: Some(LogLevel::Info),
        ..Permissions::default()
    }
}

fn guest(world: &Arc<World>, permissions: Permissions) -> Guest {
    let limits = ResourceLimits::new(1 << 20, Duration::from_secs(1), None).unwrap();
    let services = HostServices::default()
        .with_router(world.clone())
        .with_validator(world.clone())
        .with_directory(world.clone())
        .with_timers(world.clone())
        .with_clock(world.clone());
    let guest = Guest::new(
        ComponentHandle::new(id("demo/me/main"), 3),
        ComponentConfig::new(limits).with_permissions(permissions),
        services,
        Arc::new(Lines(world.clone())),
    );
    guest.begin_call();
    guest
}

fn granted() -> (Arc<World>, Guest) {
    let world = Arc::new(World::default());
    let guest = guest(&world, everything());
    (world, guest)
}

fn payload(bytes: usize) -> Bytes {
    vec![0; bytes].into()
}

#[test]
fn a_permission_is_checked_before_the_validator_and_both_before_the_router() {
    let (world, guest) = granted();
    now(guest.send(To("demo/you/main"), payload(1))).unwrap();
    assert_eq!(
        world.asked(),
        [
            "validate send to demo/you/main",
            "send from demo/me/main#3 as demo/me/main to demo/you/main at 7"
        ]
    );
    let denied = now(guest.send(To("other/you/main"), payload(1))).unwrap_err();
    assert!(matches!(&denied, MessagingError::DeliveryFailed(text) if text.contains("`send`")));
    let asked = world.asked();
    assert_eq!(asked[0], "denied send to other/you/main");
    assert!(asked[1].starts_with("logged: permission denied: send to other/you/main"));
    assert_eq!(asked.len(), 2);
}

#[test]
fn what_the_validator_took_back_reaches_no_service() {
    let (world, guest) = granted();
    *world.taken_back.lock().unwrap() = Some(Capability::Storage);
    let io = StorageError::Io("permission denied: storage: taken back".to_owned());
    assert_eq!(now(guest.get("k")), Err(io.clone()));
    assert_eq!(now(guest.set("k", payload(1))), Err(io.clone()));
    assert_eq!(now(guest.delete("k")), Err(io.clone()));
    assert_eq!(now(guest.exists("k")), Err(io.clone()));
    assert_eq!(now(guest.list_keys("")), Err(io.clone()));
    assert_eq!(now(guest.storage_usage()), Err(io));
    assert_eq!(now(guest.services().storage.get(guest.id(), "k")), Ok(None));
}

#[test]
fn a_request_is_made_under_the_routers_id_and_not_in_the_last_call() {
    let (world, guest) = granted();
    let second = Duration::from_secs(1);
    let request = now(guest.request(To("demo/you/main"), payload(1), second)).unwrap();
    now(guest.cancel_request(&request)).unwrap();
    assert_eq!(
        world.asked(),
        [
            "validate request to demo/you/main",
            "request to demo/you/main within 1s",
            "cancel r1"
        ]
    );
    guest.begin_shutdown();
    guest.begin_call();
    let refused = now(guest.request(To("demo/you/main"), payload(1), second));
    assert!(matches!(refused, Err(MessagingError::InvalidMessage(_))));
    assert_eq!(world.asked(), [""; 0]);
    now(guest.send(To("demo/you/main"), payload(1))).unwrap();
}

#[test]
fn a_call_sends_so_many_messages_and_bytes_and_the_next_one_as_many_again() {
    let (_, guest) = granted();
    let you = || To("demo/you/main");
    let full = Err(MessagingError::QueueFull);
    for _ in 0..2 {
        now(guest.broadcast(vec![you(); 1023], payload(0))).unwrap();
        assert_eq!(now(guest.broadcast(vec![you(); 2], payload(0))), full);
        now(guest.send(you(), payload(0))).unwrap();
        assert_eq!(now(guest.send(you(), payload(0))), full);
        assert_eq!(
            now(guest.request(you(), payload(0), Duration::ZERO)),
            Err(MessagingError::QueueFull)
        );
        guest.begin_call();
        now(guest.broadcast(vec![you(); 9], payload(8 << 20))).unwrap();
        assert_eq!(now(guest.send(you(), payload(1))), full);
        now(guest.send(you(), payload(0))).unwrap();
        guest.begin_call();
    }
}

#[test]
fn all_of_a_broadcast_is_checked_before_any_of_it_is_sent() {
    let (world, guest) = granted();
    let targets = vec![To("demo/you/main"), To("not an id")];
    let refused = now(guest.broadcast(targets, payload(1)));
    assert!(matches!(refused, Err(MessagingError::InvalidMessage(_))));
    assert_eq!(world.asked(), ["validate broadcast to demo/you/main"]);
    now(guest.broadcast(vec![To("demo/a/main"), To("demo/b/main")], payload(1))).unwrap();
    let asked = world.asked();
    assert!(asked[2].contains("to demo/a/main") && asked[3].contains("to demo/b/main"));
}

#[test]
fn a_key_has_1_to_1024_bytes() {
    let (_, guest) = granted();
    let invalid = |outcome: Result<(), StorageError>| matches!(outcome, Err(StorageError::InvalidKey(text)) if text.contains("1 to 1024"));
    for key in [String::new(), "k".repeat(1025)] {
        assert!(invalid(now(guest.get(&key)).map(drop)));
        assert!(invalid(now(guest.set(&key, payload(1)))));
        assert!(invalid(now(guest.delete(&key))));
        assert!(invalid(now(guest.exists(&key)).map(drop)));
    }
    let long = "k".repeat(1024);
    guest_keeps(&guest, &long[..64]);
    assert_eq!(now(guest.get(&long)), Ok(None));
}

fn guest_keeps(guest: &Guest, key: &str) {
    now(guest.set(key, payload(9))).unwrap();
    assert_eq!(now(guest.get(key)), Ok(Some(payload(9))));
    assert_eq!(now(guest.exists(key)), Ok(true));
    assert_eq!(now(guest.list_keys("")), Ok(vec![key.to_owned()]));
    let (usage, quota) = now(guest.storage_usage()).unwrap();
    assert_eq!((usage.key_count, quota), (1, 1000));
    let more = now(guest.set("more", payload(1000)));
    assert_eq!(more, Err(StorageError::QuotaExceeded));
    now(guest.delete(key)).unwrap();
    assert_eq!(now(guest.exists(key)), Ok(false));
}

#[test]
fn a_list_of_keys_is_whole_or_refused() {
    let mut permissions = everything();
    permissions.storage = Some(u64::MAX);
    let guest = guest(&Arc::default(), permissions);
    for key in 0..4096 {
        now(guest.set(&format!("{key}"), payload(0))).unwrap();
    }
    assert_eq!(now(guest.list_keys("")).unwrap().len(), 4096);
    now(guest.set("one more", payload(0))).unwrap();
    let refused = now(guest.list_keys("")).unwrap_err();
    assert!(refused.to_string().contains("4096"), "{refused}");
    assert_eq!(now(guest.list_keys("one")).unwrap(), ["one more"]);
}

#[test]
fn it_sees_itself_and_whom_it_may_message_page_by_page() {
    let others = (0..2000).map(|n| id(&format!("demo/c{n:04}/main")));
    let hidden = (0..300).map(|n| id(&format!("aaa/c{n:04}/main")));
    let world = Arc::new(World {
        others: hidden.chain(others).collect(),
        ..World::default()
    });
    let guest = guest(&world, everything());
    let seen = now(guest.list_components());
    assert_eq!(seen.len(), 1025);
    assert_eq!(seen[1023], id("demo/c1023/main"));
    assert_eq!(seen[1024], id("demo/me/main"));
    // Those that it may not see fill a page of 256 and some of the next.
    assert_eq!(world.asked().len(), 6);
    assert_eq!(
        now(guest.component_info(To("demo/c0001/main")))
            .unwrap()
            .name,
        "known"
    );
    let itself = now(guest.component_info(To("demo/me/main"))).unwrap();
    assert_eq!(
        (&*itself.name, itself.health),
        ("me", HealthStatus::Unknown)
    );
    for nobody in ["aaa/c0001/main", "demo/nobody/main"] {
        let reason = now(guest.component_info(To(nobody))).unwrap_err();
        assert_eq!(reason, format!("no component {nobody} is loaded"));
    }
    assert!(now(guest.component_info(To("no id"))).is_err());
}

#[test]
fn a_line_is_bounded_and_cannot_pass_for_others() {
    let (world, guest) = granted();
    guest.log(LogLevel::Debug, "not granted", &[]);
    assert_eq!(world.asked()[0], "denied log at debug");
    let pair = |n: usize| (format!("k{n}"), "a b\n".to_owned());
    let context: Vec<_> = (0..20).map(pair).collect();
    guest.log(LogLevel::Info, "hello\nworld", &context[..2]);
    let asked = world.asked();
    assert_eq!(
        asked[1],
        r#"info: hello\u{a}world "k0"="a b\u{a}" "k1"="a b\u{a}""#
    );
    guest.log(LogLevel::Info, &"x".repeat(5000), &context);
    let line = world.asked().pop().unwrap();
    assert!(
        line.contains(" \"k15\"=") && !line.contains(" \"k16\"="),
        "{line}"
    );
    assert!((2048..2400).contains(&line.len()), "{}", line.len());
    // Where no character is parted.
    guest.log(LogLevel::Info, &format!("x{}", "é".repeat(2000)), &[]);
    let line = world.asked().pop().unwrap();
    assert_eq!(line, format!("info: x{}…", "é".repeat(1023)));
    guest.log(LogLevel::Info, &"é".repeat(1024), &[]);
    let line = world.asked().pop().unwrap();
    assert_eq!(line, format!("info: {}", "é".repeat(1024)));
}

#[test]
fn it_is_who_it_was_loaded_as() {
    let (_, guest) = granted();
    assert_eq!(*guest.id(), id("demo/me/main"));
    assert_eq!(guest.handle().handle_id(), 3);
    assert_eq!(guest.config().permissions, everything());
    assert_eq!(guest.now(), AT_7_MS);
    assert!(format!("{guest:?}").starts_with("Guest { handle: "));
}

#[test]
fn a_timer_needs_storage_and_is_bounded_in_time_and_bytes() {
    let (world, guest) = granted();
    let second = Duration::from_secs(1);
    assert_eq!(now(guest.set_timer(second, payload(4_096))), Ok(9));
    assert_eq!(now(guest.cancel_timer(9)), Ok(true));
    assert_eq!(
        world.asked(),
        [
            "validate storage",
            "timer of demo/me/main#3 in 1s, 4096 bytes",
            "cancel timer 9 of demo/me/main#3"
        ]
    );
    for (delay, bytes, expected) in [
        (
            second,
            4_097,
            "its payload has 4097 bytes; one has up to 4096",
        ),
        (Duration::MAX, 0, "a timer is due within 3650 days"),
    ] {
        let refused = now(guest.set_timer(delay, payload(bytes)));
        assert_eq!(refused, Err(TimerError::Invalid(expected.to_owned())));
    }
    let without = self::guest(&world, Permissions::default());
    let denied = now(without.set_timer(second, payload(1)));
    assert!(matches!(denied, Err(TimerError::Denied(_))), "{denied:?}");
}
