//! What the host in memory has and does.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::grants::{Grants, check_id};
use crate::config::Config;
use crate::directory::ComponentInfo;
use crate::health::HealthStatus;
use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::message::CorrelationId;
use crate::messaging::MessagingError;
use crate::payload::Payload;
use crate::storage::{StorageError, StorageUsage};

// The numbers of every host; `tests/agreement.rs` holds them to those.
const MESSAGES_PER_CALL: usize = 1024;
const SENT_BYTES_PER_CALL: usize = 8 << 20;
const OPEN_REQUESTS: usize = 256;
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
const MAX_KEY_BYTES: usize = 1024;
const BYTES_PER_KEY: usize = 256;
const MAX_LISTED_KEYS: usize = 4096;
const MAX_LISTED_COMPONENTS: usize = 1024;
const MAX_LINE_BYTES: usize = 2048;
const MAX_PAIRS: usize = 16;

/// A message that a component sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// To whom; of a broadcast, each recipient has one of its own.
    pub to: ComponentId,
    /// What it carries.
    pub payload: Payload,
}

/// A request that a component made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Asked {
    /// By which it is answered.
    pub id: CorrelationId,
    /// Whom.
    pub to: ComponentId,
    /// What it carries.
    pub payload: Payload,
    /// How long the component waits for the answer.
    pub timeout: Duration,
}

/// An open request.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) to: ComponentId,
    deadline: Duration,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) id: ComponentId,
    pub(crate) grants: Grants,
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) store: BTreeMap<String, Vec<u8>>,
    pub(crate) others: BTreeSet<ComponentId>,
    /// Whom no message reaches, and what is said about it.
    pub(crate) refused: BTreeMap<ComponentId, MessagingError>,
    pub(crate) sent: Vec<Sent>,
    pub(crate) asked: Vec<Asked>,
    pub(crate) logged: Vec<String>,
    pub(crate) denied: Vec<String>,
    pub(crate) is_shutting_down: bool,
    open: BTreeMap<CorrelationId, Open>,
    latest_request: u64,
    messages_left: usize,
    bytes_left: usize,
}

type Shared = Rc<RefCell<World>>;

thread_local! {
    /// The host of the call that runs, the innermost last.
    static CURRENT: RefCell<Vec<Shared>> = const { RefCell::new(Vec::new()) };
}

/// Has the host of the running call do something.
pub(crate) fn current<R>(act: impl FnOnce(&mut World) -> R) -> R {
    let world = CURRENT.with_borrow(|all| all.last().cloned());
    let Some(world) = world else {
        panic!(
            "what a host does for a component was called outside of a component; in a test, \
             make a `wasm_guest::testing::Host` and send the component a message, or call \
             `Host::within`"
        );
    };
    let mut world = world.borrow_mut();
    act(&mut world)
}

/// Runs a call of the component, with the budgets of one.
pub(crate) fn call<R>(world: &Shared, run: impl FnOnce() -> R) -> R {
    struct Leave;

    impl Drop for Leave {
        fn drop(&mut self) {
            CURRENT.with_borrow_mut(|all| drop(all.pop()));
        }
    }

    {
        let mut world = world.borrow_mut();
        world.messages_left = MESSAGES_PER_CALL;
        world.bytes_left = SENT_BYTES_PER_CALL;
    }
    CURRENT.with_borrow_mut(|all| all.push(Rc::clone(world)));
    let _leave = Leave;
    run()
}

impl World {
    pub(crate) fn new(id: ComponentId) -> Self {
        Self {
            id,
            grants: Grants::default(),
            config: Config::default(),
            // A time that a clock might show.
            now: Duration::from_secs(1_700_000_000),
            store: BTreeMap::new(),
            others: BTreeSet::new(),
            refused: BTreeMap::new(),
            sent: Vec::new(),
            asked: Vec::new(),
            logged: Vec::new(),
            denied: Vec::new(),
            is_shutting_down: false,
            open: BTreeMap::new(),
            latest_request: 0,
            messages_left: 0,
            bytes_left: 0,
        }
    }

    /// An instance begins, which has no open requests.
    pub(crate) fn begin_instance(&mut self) {
        self.is_shutting_down = false;
        self.open.clear();
        self.asked.clear();
    }

    pub(crate) fn send(&mut self, to: ComponentId, payload: Payload) -> Result<(), MessagingError> {
        self.take(1, &payload)?;
        self.check_target(&to, "send")?;
        self.deliver(&to)?;
        self.sent.push(Sent { to, payload });
        Ok(())
    }

    pub(crate) fn broadcast(
        &mut self,
        to: Vec<ComponentId>,
        payload: &Payload,
    ) -> Result<(), MessagingError> {
        self.take(to.len(), payload)?;
        to.iter()
            .try_for_each(|to| self.check_target(to, "broadcast"))?;
        to.iter().try_for_each(|to| self.deliver(to))?;
        self.sent.extend(to.into_iter().map(|to| Sent {
            to,
            payload: payload.clone(),
        }));
        Ok(())
    }

    pub(crate) fn request(
        &mut self,
        to: ComponentId,
        payload: Payload,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        if self.is_shutting_down {
            let reason = "a component that shuts down is not there for the answer";
            return Err(MessagingError::InvalidMessage(reason.to_owned()));
        }
        self.take(1, &payload)?;
        self.check_target(&to, "request")?;
        if self.open.len() == OPEN_REQUESTS {
            return Err(MessagingError::QueueFull);
        }
        self.deliver(&to)?;
        self.latest_request += 1;
        let id = format!("request-{}", self.latest_request);
        let open = Open {
            to: to.clone(),
            deadline: self.now + timeout.min(MAX_TIMEOUT),
        };
        self.open.insert(id.clone(), open);
        self.asked.push(Asked {
            id: id.clone(),
            to,
            payload,
            timeout,
        });
        Ok(id)
    }

    pub(crate) fn cancel(&mut self, request: &str) -> Result<(), MessagingError> {
        match self.open.remove(request) {
            Some(_) => {
                self.asked.retain(|asked| asked.id != request);
                Ok(())
            }
            None => Err(MessagingError::InvalidMessage(format!(
                "no open request {request}"
            ))),
        }
    }

    /// Takes an open request out, to be answered.
    pub(crate) fn close(&mut self, request: &str) -> Option<Open> {
        self.open.remove(request)
    }

    /// Turns the clock until the next request is overdue, or if none is by then, to `until`.
    pub(crate) fn next_overdue(&mut self, until: Duration) -> Option<(CorrelationId, Open)> {
        let first = self.open.iter().min_by_key(|(_, open)| open.deadline);
        let overdue = first.filter(|(_, open)| open.deadline <= until);
        let Some((id, deadline)) = overdue.map(|(id, open)| (id.clone(), open.deadline)) else {
            self.now = self.now.max(until);
            return None;
        };
        self.now = self.now.max(deadline);
        self.open.remove(&id).map(|open| (id, open))
    }

    fn take(&mut self, recipients: usize, payload: &Payload) -> Result<(), MessagingError> {
        let messages = self.messages_left.checked_sub(recipients);
        let bytes = self.bytes_left.checked_sub(payload.as_bytes().len());
        let Some((messages, bytes)) = messages.zip(bytes) else {
            return Err(MessagingError::QueueFull);
        };
        (self.messages_left, self.bytes_left) = (messages, bytes);
        Ok(())
    }

    fn check_target(&mut self, to: &ComponentId, key: &str) -> Result<(), MessagingError> {
        check_id(to).map_err(MessagingError::InvalidMessage)?;
        let patterns = match key {
            "send" => &self.grants.send,
            "request" => &self.grants.request,
            _ => &self.grants.broadcast,
        };
        if patterns.iter().any(|pattern| pattern.matches(to)) {
            return Ok(());
        }
        let reason = self.deny(&format!("{key} to {to}"), key);
        Err(MessagingError::DeliveryFailed(reason))
    }

    fn deliver(&self, to: &ComponentId) -> Result<(), MessagingError> {
        self.refused.get(to).cloned().map_or(Ok(()), Err)
    }

    /// Notes what was denied; the host's words for it.
    fn deny(&mut self, what: &str, key: &str) -> String {
        let reason = format!("{what}: not granted by `{key}` in [permissions]");
        self.denied.push(reason.clone());
        format!("permission denied: {reason}")
    }

    pub(crate) fn log(&mut self, level: LogLevel, text: &str, context: &[(&str, String)]) {
        if self.grants.log.is_none_or(|kept| level < kept) {
            self.deny(&format!("log at {level}"), "log");
            return;
        }
        let mut line = format!(
            "{level}: {}",
            &text[..text.floor_char_boundary(MAX_LINE_BYTES)]
        );
        for (key, value) in context.iter().take(MAX_PAIRS) {
            line.push_str(&format!(" {key}={value}"));
        }
        self.logged.push(line);
    }

    pub(crate) fn components(&self) -> Vec<ComponentId> {
        let seen = self.others.iter().filter(|id| self.may_see(id));
        let mut seen: Vec<_> = seen.take(MAX_LISTED_COMPONENTS).cloned().collect();
        // As the texts are ordered, in which `/` comes after `-` and `.`.
        seen.sort_by_key(ToString::to_string);
        let own = self.id.to_string();
        if let Err(place) = seen.binary_search_by_key(&own, ToString::to_string) {
            seen.insert(place, self.id.clone());
        }
        seen
    }

    pub(crate) fn component_info(&self, id: ComponentId) -> Result<ComponentInfo, String> {
        check_id(&id)?;
        let is_there = id == self.id || self.others.contains(&id);
        if !is_there || !self.may_see(&id) {
            return Err(format!("no component {id} is loaded"));
        }
        Ok(ComponentInfo {
            name: id.name.clone(),
            version: String::new(),
            health: HealthStatus::Unknown,
            id,
        })
    }

    fn may_see(&self, id: &ComponentId) -> bool {
        *id == self.id || self.grants.reaches(id)
    }

    pub(crate) fn get(&mut self, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.check_key(key)?;
        Ok(self.store.get(key).cloned())
    }

    pub(crate) fn set(&mut self, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        let quota = self.check_key(key)?;
        let replaced = self.store.get(key).map_or(0, |old| entry_bytes(key, old));
        let bytes = self.used_bytes() - replaced + entry_bytes(key, &value);
        if bytes > quota {
            return Err(StorageError::QuotaExceeded);
        }
        self.store.insert(key.to_owned(), value);
        Ok(())
    }

    pub(crate) fn delete(&mut self, key: &str) -> Result<(), StorageError> {
        self.check_key(key)?;
        self.store.remove(key);
        Ok(())
    }

    pub(crate) fn keys(&mut self, prefix: &str) -> Result<Vec<String>, StorageError> {
        self.check_storage()?;
        let keys = self.store.range(prefix.to_owned()..).map(|(key, _)| key);
        let keys = keys.take_while(|key| key.starts_with(prefix));
        let keys: Vec<_> = keys.take(MAX_LISTED_KEYS + 1).cloned().collect();
        if keys.len() > MAX_LISTED_KEYS {
            let reason = format!("more than {MAX_LISTED_KEYS} keys match; ask for a longer prefix");
            return Err(StorageError::Io(reason));
        }
        Ok(keys)
    }

    pub(crate) fn storage_usage(&mut self) -> Result<StorageUsage, StorageError> {
        let quota_bytes = self.check_storage()?;
        Ok(StorageUsage {
            used_bytes: self.used_bytes(),
            quota_bytes,
            key_count: self.store.len() as u64,
        })
    }

    fn used_bytes(&self) -> u64 {
        let entries = self.store.iter();
        entries.map(|(key, value)| entry_bytes(key, value)).sum()
    }

    /// The quota, if storage is granted.
    fn check_storage(&mut self) -> Result<u64, StorageError> {
        match self.grants.storage {
            Some(quota) => Ok(quota),
            None => Err(StorageError::Io(self.deny("storage", "storage"))),
        }
    }

    fn check_key(&mut self, key: &str) -> Result<u64, StorageError> {
        let quota = self.check_storage()?;
        let length = key.len();
        if (1..=MAX_KEY_BYTES).contains(&length) {
            return Ok(quota);
        }
        Err(StorageError::InvalidKey(format!(
            "it has {length} bytes; a key has 1 to {MAX_KEY_BYTES}"
        )))
    }
}

/// As a quota counts them.
fn entry_bytes(key: &str, value: &[u8]) -> u64 {
    (key.len() + value.len() + BYTES_PER_KEY) as u64
}
