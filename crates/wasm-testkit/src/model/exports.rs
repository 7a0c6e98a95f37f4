//! Interpreting what a fixture does when one of its exports is called.

use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use tokio::task::coop::consume_budget;

use wasm_core::{
    ComponentId, ComponentMessage, ComponentMetadata, CorrelationId, GuestError, HealthStatus,
    LifecycleError, LogLevel, MessagePayload, MessagingError, TIMER_TYPE, Timestamp, Trap,
};
use wasm_fixtures::{
    CONTROL_CHARACTERS, Lifecycle, METADATA, OnCallback, OnHealth, OnInitialize, OnMessage,
    OnMetadata, OnShutdown, Otherwise,
};

use super::call::{Run, Stop};
use super::host::{Case, HOST_CALL_FUEL, Target, cut};
use super::instance::{ALLOCATION_FUEL, Answer, Instance, bad_utf8, refused, unreachable};
use super::memory::TABLE_ELEMENT_BYTES;

/// Fuel of a call in which nothing else happens.
const CALL_FUEL: u64 = 100;

/// The size of the record in which a message is handed over.
const MESSAGE_BYTES: u64 = 104;

/// What a fixture that spends has room for, which is all that it sends at a time.
const SPENT_BYTES: usize = 1 << 20;

/// How it says that something was accepted.
const ACCEPTED: u8 = b'+';

/// By how much a table grows at a time until that is denied: 1,024 elements.
const TABLE_GROWTH_BYTES: u64 = 1_024 * TABLE_ELEMENT_BYTES;

impl Instance {
    /// Makes its memories and runs its start functions.
    pub(super) async fn instantiate(&mut self, lifecycle: Lifecycle) -> Run<()> {
        self.memory.instantiate(&lifecycle)?;
        match lifecycle.initialize {
            OnInitialize::SpinBefore => Err(self.spin().await),
            _ => Ok(()),
        }
    }

    pub(super) async fn initialize(
        &mut self,
        lifecycle: Lifecycle,
    ) -> Run<Result<(), LifecycleError>> {
        self.consume(CALL_FUEL)?;
        let guest = Arc::clone(&self.guest);
        let config = guest.config();
        self.allocate(4, config.variables().count() * 16)?;
        for (name, value) in config.variables() {
            self.allocate(1, name.len())?;
            self.allocate(1, value.len())?;
        }
        if let Some(data) = &config.config_data {
            self.allocate(1, data.len())?;
        }
        if lifecycle.message == OnMessage::Configuration {
            self.memory.keep();
        }
        match lifecycle.initialize {
            OnInitialize::Ok | OnInitialize::SpinBefore => Ok(Ok(())),
            OnInitialize::Fails(text) => uninitialized(text),
            OnInitialize::FailsAgain(text) => self.begin_once(text).await,
            OnInitialize::Sends => self.send_first().await,
            OnInitialize::Trap => Err(unreachable()),
            OnInitialize::Spin => Err(self.spin().await),
            OnInitialize::AsStored => {
                let case = self.obey_stored("initialize").await?;
                Ok(case.map_or(Ok(()), |case| Err(lifecycle_error(case))))
            }
        }
    }

    pub(super) async fn handle_message(
        &mut self,
        lifecycle: Lifecycle,
        message: ComponentMessage,
    ) -> Run<Answer> {
        self.receive(lifecycle, &message).await?;
        if let Some(on_message) = self.guest.own.clone() {
            let answer = on_message(Arc::clone(&self.guest.calls), message).await;
            if let Ok(Some(reply)) = &answer {
                self.allocate(1, reply.len())?;
            }
            return Ok(answer);
        }
        let payload = message.payload.clone().into_bytes();
        match lifecycle.message {
            OnMessage::Nothing => Ok(Ok(None)),
            OnMessage::Echo => some(payload),
            OnMessage::Count => {
                self.messages += 1;
                let count = self.messages.to_string();
                self.say(count)
            }
            OnMessage::CountInStorage => self.count_in_storage().await,
            OnMessage::Timers => self.keep_timers(&message).await,
            OnMessage::Store => self.obey(&payload).await,
            OnMessage::Configuration => self.show_configuration(&payload),
            OnMessage::Envelope if *payload == *b"last" => Ok(Ok(self.last_callback())),
            OnMessage::Envelope => self.say(envelope(&message)),
            OnMessage::SelfId => {
                let id = self.self_id()?;
                self.say(id.to_string())
            }
            OnMessage::Send => {
                let (target, text) = Target::read(&payload);
                let sent = self.send(&target, text).await?;
                none_unless(sent)
            }
            OnMessage::SendBack => {
                let sent = self.send(&Target::of(&message.sender), payload).await?;
                none_unless(sent)
            }
            OnMessage::Broadcast => self.broadcast_to_listed(&payload).await,
            OnMessage::Request => self.make_request(&payload).await,
            OnMessage::LastCallback => Ok(Ok(self.last_callback())),
            OnMessage::Sleep => {
                self.sleep(number(&payload)).await?;
                some("awake")
            }
            OnMessage::Log => {
                for level in LogLevel::ALL {
                    self.log(level, &payload)?;
                }
                Ok(Ok(None))
            }
            OnMessage::Time if *payload == *b"time" => {
                let now = self.now()?;
                self.say(decimal(now))
            }
            OnMessage::Time => {
                let now = self.now()?;
                self.say(now.as_millis().to_string())
            }
            OnMessage::Directory => self.show_directory(&payload).await,
            OnMessage::SetHealth => {
                self.told = match &*payload {
                    b"healthy" => HealthStatus::Healthy,
                    b"degraded" => HealthStatus::Degraded,
                    b"unhealthy" => HealthStatus::Unhealthy,
                    _ => HealthStatus::Unknown,
                };
                Ok(Ok(None))
            }
            OnMessage::OkOr(_) if *payload == *b"ok" => some(payload),
            OnMessage::OkOr(otherwise) => self.misbehave(otherwise).await,
            OnMessage::EchoTwiceThenTrap => {
                self.messages += 1;
                if self.messages.is_multiple_of(3) {
                    return Err(unreachable());
                }
                some(payload)
            }
            // They have no room for a message: it does not get here.
            OnMessage::SpinInRealloc | OnMessage::BadPointerFromRealloc => Err(unreachable()),
            OnMessage::GrowAndCountPages => {
                let pages = self.memory.grow_in_turn();
                self.consume(pages.saturating_mul(ALLOCATION_FUEL))?;
                self.say(pages.to_string())
            }
            OnMessage::GrowOrTrap => self.grow_or_trap(&payload),
            OnMessage::RecurseThenCallHost => {
                self.recurse(number(&payload))?;
                self.now()?;
                some("back")
            }
            OnMessage::LogFlood { lines } => {
                for _ in 0..lines {
                    self.log(LogLevel::Info, b"flood")?;
                }
                Ok(Ok(None))
            }
            OnMessage::LogControlCharacters => {
                self.log(LogLevel::Info, CONTROL_CHARACTERS.message.as_bytes())?;
                Ok(Ok(None))
            }
            OnMessage::SendFlood { messages } => self.send_flood(messages).await,
            OnMessage::BroadcastStorm { recipients } => {
                self.allocate(4, recipients as usize * 24)?;
                let targets = vec![Target::sink(); recipients as usize];
                let sent = self.broadcast(&targets, zeros()).await?;
                none_unless(sent)
            }
            OnMessage::FillStorage => self.fill_storage().await,
            OnMessage::Spend => some(self.spend(&payload).await?),
            OnMessage::AsStored => match self.obey_stored("handle-message").await? {
                None => some(payload),
                Some(case) => Ok(Err(guest_error(case))),
            },
        }
    }

    pub(super) async fn handle_callback(
        &mut self,
        lifecycle: Lifecycle,
        message: ComponentMessage,
    ) -> Run<Result<(), GuestError>> {
        self.receive(lifecycle, &message).await?;
        match lifecycle.callback {
            // Nobody asks over HTTP here, which the component takes for an answer.
            OnCallback::Ok | OnCallback::Fetch => Ok(Ok(())),
            OnCallback::Keep => {
                let correlation = message.correlation_id.as_ref().map(CorrelationId::as_str);
                let content_type = message.message_type.as_deref();
                let mut kept = Vec::new();
                for part in [
                    correlation.unwrap_or("-"),
                    "|",
                    content_type.unwrap_or("-"),
                    "|",
                ] {
                    kept.extend_from_slice(part.as_bytes());
                }
                kept.extend_from_slice(message.payload.as_bytes());
                self.keep_of_callback(kept)
            }
            OnCallback::KeepEnvelope => self.keep_of_callback(envelope(&message).into_bytes()),
            OnCallback::AsStored => {
                let case = self.obey_stored("handle-callback").await?;
                Ok(case.map_or(Ok(()), |case| Err(guest_error(case))))
            }
            OnCallback::Fails(text) => Ok(Err(GuestError::RuntimeError(text.to_owned()))),
            OnCallback::Trap => Err(unreachable()),
        }
    }

    pub(super) async fn metadata(&mut self, lifecycle: Lifecycle) -> Run<ComponentMetadata> {
        self.consume(CALL_FUEL)?;
        if lifecycle.metadata == OnMetadata::AsStored {
            self.obey_stored("metadata").await?;
        }
        match lifecycle.metadata {
            OnMetadata::Usual | OnMetadata::AsStored => Ok(ComponentMetadata {
                name: METADATA.name.to_owned(),
                version: METADATA.version.to_owned(),
                description: METADATA.description.to_owned(),
                author: METADATA.author.to_owned(),
                license: METADATA.license.to_owned(),
                supported_operations: METADATA
                    .supported_operations
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                stateful: lifecycle.stateful,
            }),
            OnMetadata::BadUtf8 => Err(bad_utf8()),
        }
    }

    pub(super) async fn health(&mut self, lifecycle: Lifecycle) -> Run<HealthStatus> {
        self.consume(CALL_FUEL)?;
        match lifecycle.health {
            OnHealth::Healthy => Ok(HealthStatus::Healthy),
            OnHealth::AsTold => Ok(self.told),
            OnHealth::Spin => Err(self.spin().await),
            OnHealth::AsStored => Ok(match self.obey_stored("health").await? {
                None | Some(0) => HealthStatus::Healthy,
                Some(1) => HealthStatus::Degraded,
                Some(2) => HealthStatus::Unhealthy,
                Some(_) => HealthStatus::Unknown,
            }),
        }
    }

    pub(super) async fn shutdown(
        &mut self,
        lifecycle: Lifecycle,
    ) -> Run<Result<(), LifecycleError>> {
        self.guest.calls.begin_shutdown();
        self.consume(CALL_FUEL)?;
        match lifecycle.shutdown {
            OnShutdown::Ok => Ok(Ok(())),
            OnShutdown::Fails(text) => not_shut_down(text),
            OnShutdown::Requests => {
                let bye = Bytes::from_static(b"bye");
                match self.request(&Target::sink(), bye).await? {
                    Ok(_) => Ok(Ok(())),
                    Err(error) => not_shut_down(error.name()),
                }
            }
            OnShutdown::Sends => {
                let bye = Bytes::from_static(b"bye");
                match self.send(&Target::sink(), bye).await? {
                    Ok(()) => Ok(Ok(())),
                    Err(error) => not_shut_down(error.name()),
                }
            }
            OnShutdown::Broadcasts => {
                let bye = Bytes::from_static(b"bye");
                let targets = [Target::sink(), Target::demo(b"drain")];
                match self.broadcast(&targets, bye).await? {
                    Ok(()) => Ok(Ok(())),
                    Err(error) => not_shut_down(error.name()),
                }
            }
            OnShutdown::Logs => {
                self.log(LogLevel::Info, b"bye")?;
                Ok(Ok(()))
            }
            OnShutdown::Stores => {
                let bye = Bytes::from_static(b"bye");
                match self.storage_set(b"ended", bye).await? {
                    Ok(()) => Ok(Ok(())),
                    Err(error) => not_shut_down(error.name()),
                }
            }
            OnShutdown::Spends(words) => {
                let letters = self.spend(&Bytes::from_static(words.as_bytes())).await?;
                match letters.bytes().all(|letter| letter == ACCEPTED) {
                    true => Ok(Ok(())),
                    false => not_shut_down(&letters),
                }
            }
            OnShutdown::Trap => Err(unreachable()),
            OnShutdown::Spin => Err(self.spin().await),
            OnShutdown::AsStored => {
                let case = self.obey_stored("shutdown").await?;
                Ok(case.map_or(Ok(()), |case| Err(lifecycle_error(case))))
            }
        }
    }

    /// Takes a message from the host, which puts it on the heap.
    async fn receive(&mut self, lifecycle: Lifecycle, message: &ComponentMessage) -> Run<()> {
        self.guest.calls.begin_message(message.hops);
        self.consume(CALL_FUEL)?;
        match lifecycle.message {
            OnMessage::SpinInRealloc => return Err(self.spin().await),
            OnMessage::BadPointerFromRealloc => {
                return Err(refused("`cabi_realloc` returned a pointer out of bounds"));
            }
            _ => {}
        }
        self.allocate(8, MESSAGE_BYTES as usize)?;
        self.lower_id(&message.sender)?;
        self.allocate(1, message.payload.len())?;
        if let Some(correlation) = &message.correlation_id {
            self.allocate(1, correlation.as_str().len())?;
        }
        if let Some(reply_to) = &message.reply_to {
            self.lower_id(reply_to)?;
        }
        if let Some(content_type) = &message.message_type {
            self.allocate(1, content_type.len())?;
        }
        Ok(())
    }

    async fn begin_once(&mut self, again: &str) -> Run<Result<(), LifecycleError>> {
        match self.storage_exists(b"begun").await? {
            Ok(false) => {}
            Ok(true) => return uninitialized(again),
            Err(error) => return uninitialized(error.name()),
        }
        match self.storage_set(b"begun", Bytes::new()).await? {
            Ok(()) => Ok(Ok(())),
            Err(error) => uninitialized(error.name()),
        }
    }

    async fn send_first(&mut self) -> Run<Result<(), LifecycleError>> {
        let sink = Target::sink();
        if let Err(error) = self.send(&sink, Bytes::from_static(b"hello")).await? {
            return uninitialized(error.name());
        }
        match self.request(&sink, Bytes::from_static(b"question")).await? {
            Ok(_) => Ok(Ok(())),
            Err(error) => uninitialized(error.name()),
        }
    }

    async fn count_in_storage(&mut self) -> Run<Answer> {
        let stored = match self.storage_get(b"count").await? {
            Ok(stored) => stored,
            Err(error) => return failed(&error),
        };
        let count = stored.map_or(0, |text| number(&text)).wrapping_add(1);
        let text = Bytes::from(count.to_string());
        self.allocate(1, text.len())?;
        match self.storage_set(b"count", text.clone()).await? {
            Ok(()) => some(text),
            Err(error) => failed(&error),
        }
    }

    async fn keep_timers(&mut self, message: &ComponentMessage) -> Run<Answer> {
        let payload = message.payload.clone().into_bytes();
        if message.message_type.as_deref() == Some(TIMER_TYPE) {
            return self.write_down(&payload).await;
        }
        let (first, rest) = cut(&payload, b' ');
        if payload.starts_with(b"cancel ") {
            return match self.cancel_timer(number(&rest)).await? {
                Ok(true) => some("true"),
                Ok(false) => some("false"),
                Err(error) => failed(&error),
            };
        }
        match self.set_timer(number(&first), rest).await? {
            Ok(timer) => self.say(timer.to_string()),
            Err(error) => failed(&error),
        }
    }

    /// A timer of this name has come.
    async fn write_down(&mut self, name: &Bytes) -> Run<Answer> {
        let before = match self.storage_get(name).await? {
            Ok(before) => before.unwrap_or_default(),
            Err(error) => return failed(&error),
        };
        let now = self.now()?.as_millis();
        let times = [&*before, format!("{now} ").as_bytes()].concat();
        self.allocate(1, times.len())?;
        none_unless(self.storage_set(name, times.into()).await?)
    }

    async fn obey(&mut self, payload: &Bytes) -> Run<Answer> {
        let (command, rest) = cut(payload, b' ');
        let (key, value) = cut(&rest, b' ');
        match command.first() {
            Some(b's') => none_unless(self.storage_set(&key, value).await?),
            Some(b'd') => none_unless(self.storage_delete(&key).await?),
            Some(b'g') => match self.storage_get(&key).await? {
                Ok(value) => Ok(Ok(value.map(MessagePayload::from))),
                Err(error) => failed(&error),
            },
            Some(b'e') => match self.storage_exists(&key).await? {
                Ok(true) => some("true"),
                Ok(false) => some("false"),
                Err(error) => failed(&error),
            },
            Some(b'k') => match self.storage_list_keys(&key).await? {
                Ok(keys) => self.say_lines(&keys),
                Err(error) => failed(&error),
            },
            _ => match self.storage_usage().await? {
                Ok((usage, quota)) => {
                    self.say(format!("{} {quota} {}", usage.used_bytes, usage.key_count))
                }
                Err(error) => failed(&error),
            },
        }
    }

    /// Does what its storage says under the name of an export; the number of the error
    /// to answer with, if it says so.
    async fn obey_stored(&mut self, export: &'static str) -> Run<Option<u64>> {
        let Ok(Some(command)) = self.storage_get(export.as_bytes()).await? else {
            return Ok(None);
        };
        let (command, rest) = cut(&command, b' ');
        match command.first() {
            Some(b't') => return Err(unreachable()),
            Some(b'l') => return Err(self.spin().await),
            Some(b'g') => {
                let pages = self.memory.grow_in_turn();
                self.consume(pages.saturating_mul(ALLOCATION_FUEL))?;
                return Err(unreachable());
            }
            Some(b's') => {
                // Whatever comes of it.
                let _ = self.send(&Target::sink(), export.into()).await?;
            }
            Some(b'w') => self.sleep(number(&rest)).await?,
            Some(b'f') => return Ok(Some(number(&rest))),
            _ => {}
        }
        Ok(None)
    }

    fn keep_of_callback(&mut self, text: Vec<u8>) -> Run<Result<(), GuestError>> {
        self.allocate(1, text.len())?;
        self.memory.keep_only(text.len() as u64);
        self.last_callback = Some(text.into());
        Ok(Ok(()))
    }

    fn last_callback(&self) -> Option<MessagePayload> {
        self.last_callback.clone().map(MessagePayload::from)
    }

    fn show_configuration(&mut self, payload: &[u8]) -> Run<Answer> {
        let guest = Arc::clone(&self.guest);
        let config = guest.config();
        match payload {
            b"env" => {
                let lines = config
                    .variables()
                    .map(|(name, value)| format!("{name}={value}"));
                let lines: Vec<String> = lines.collect();
                self.say_lines(&lines)
            }
            b"limits" => {
                let limits = &config.limits;
                let fuel = limits.fuel().map(|fuel| fuel.to_string());
                self.say(format!(
                    "{} {} {}",
                    limits.memory_bytes(),
                    limits.timeout().as_millis(),
                    fuel.as_deref().unwrap_or("unmetered")
                ))
            }
            _ => Ok(Ok(config.config_data.clone())),
        }
    }

    async fn broadcast_to_listed(&mut self, payload: &Bytes) -> Run<Answer> {
        let (mut ids, text) = cut(payload, b' ');
        let mut targets = Vec::new();
        loop {
            let (id, rest) = cut(&ids, b',');
            self.allocate(4, 24)?;
            targets.push(Target::read(&id).0);
            if rest.is_empty() {
                break;
            }
            ids = rest;
        }
        let sent = self.broadcast(&targets, text).await?;
        none_unless(sent)
    }

    async fn make_request(&mut self, payload: &Bytes) -> Run<Answer> {
        if **payload == *b"last" {
            return Ok(Ok(self.last_callback()));
        }
        if let Some(request) = payload.strip_prefix(b"cancel ") {
            let cancelled = self.cancel_request(request).await?;
            return none_unless(cancelled);
        }
        let (target, text) = Target::read(payload);
        match self.request(&target, text).await? {
            Ok(correlation) => some(correlation.as_str().to_owned()),
            Err(error) => failed(&error),
        }
    }

    async fn show_directory(&mut self, payload: &Bytes) -> Run<Answer> {
        if payload.is_empty() {
            let ids = self.list_components().await?;
            let lines: Vec<String> = ids.iter().map(ToString::to_string).collect();
            return self.say_lines(&lines);
        }
        let (target, _) = Target::read(payload);
        match self.component_info(&target).await? {
            Ok(info) => self.say(format!(
                "{}|{}|{}|{}",
                info.id, info.name, info.version, info.health
            )),
            Err(case) => Ok(Err(GuestError::RuntimeError(case.to_owned()))),
        }
    }

    async fn send_flood(&mut self, messages: u32) -> Run<Answer> {
        let target = Target::sink();
        for count in 0..messages {
            if let Err(error) = self.send(&target, Bytes::from_static(b"flood")).await? {
                return self.say(format!("{count} {}", error.name()));
            }
        }
        self.say(messages.to_string())
    }

    fn grow_or_trap(&mut self, payload: &[u8]) -> Run<Answer> {
        let divides = match payload.first() {
            Some(b'g') => false,
            Some(b'd') => true,
            _ => return Err(unreachable()),
        };
        let pages = self.memory.grow_in_turn();
        self.consume(pages.saturating_mul(ALLOCATION_FUEL))?;
        match divides {
            true => Err(Stop::Trap(Trap::IntegerDivisionByZero)),
            false => self.say(pages.to_string()),
        }
    }

    /// A letter for each of the words.
    async fn spend(&mut self, words: &Bytes) -> Run<String> {
        self.allocate(1, SPENT_BYTES)?;
        self.allocate(1, words.len())?;
        let mut letters = String::new();
        let mut rest = words.clone();
        while !rest.is_empty() {
            let (word, others) = cut(&rest, b' ');
            letters.push(char::from(self.spend_once(&word).await?));
            rest = others;
        }
        Ok(letters)
    }

    async fn spend_once(&mut self, word: &Bytes) -> Run<u8> {
        let (size, times) = cut(&word.slice(1.min(word.len())..), b'*');
        let bytes = Bytes::from(vec![0; (number(&size) as usize).min(SPENT_BYTES)]);
        let sink = Target::sink();
        let spent = match word.first() {
            Some(b's') => self.send(&sink, bytes).await?,
            Some(b'r') => self.request(&sink, bytes).await?.map(drop),
            Some(b'b') => {
                let times = number(&times) as usize;
                self.allocate(4, times * 24)?;
                self.broadcast(&vec![sink; times], bytes).await?
            }
            _ => Ok(()),
        };
        let letter = |error: &MessagingError| error.name().as_bytes()[0];
        Ok(spent.err().as_ref().map_or(ACCEPTED, letter))
    }

    async fn fill_storage(&mut self) -> Run<Answer> {
        for count in 0_u64.. {
            // Until the deadline, if the quota is large and the fuel unmetered.
            consume_budget().await;
            let key = count.to_string();
            self.consume(ALLOCATION_FUEL)?;
            if let Err(error) = self.storage_set(key.as_bytes(), zeros()).await? {
                return self.say(format!("{count} {}", error.name()));
            }
        }
        Err(self.spin().await)
    }

    async fn misbehave(&mut self, otherwise: Otherwise) -> Run<Answer> {
        match otherwise {
            Otherwise::GuestError(text) => Ok(Err(GuestError::RuntimeError(text.to_owned()))),
            Otherwise::Trap => Err(unreachable()),
            Otherwise::Spin | Otherwise::SpinAfterEcho => Err(self.spin().await),
            Otherwise::GrowUntilDenied => {
                let pages = self.memory.grow_in_turn();
                self.consume(pages.saturating_mul(ALLOCATION_FUEL))?;
                Err(unreachable())
            }
            Otherwise::GrowForever => {
                self.memory.grow_in_turn();
                Err(self.spin().await)
            }
            Otherwise::GrowTableUntilDenied => {
                while self.memory.grow(TABLE_GROWTH_BYTES).is_ok() {
                    self.consume(ALLOCATION_FUEL)?;
                }
                Err(unreachable())
            }
            Otherwise::Recurse => {
                self.recurse(u64::MAX)?;
                Ok(Ok(None))
            }
            Otherwise::SleepForever => {
                self.sleep(u64::MAX).await?;
                some("awake")
            }
            Otherwise::WaitInWasi => {
                self.consume(HOST_CALL_FUEL)?;
                pending().await
            }
            // All that is asked for anywhere is more than WASI gives at once.
            Otherwise::AskForRandomBytes(_) => Err(refused("too many random bytes at once")),
            Otherwise::HugeAnswer => Err(refused("the answer is out of bounds of memory")),
            Otherwise::BadUtf8 => Err(bad_utf8()),
        }
    }

    /// Answers a text that it has to write first.
    fn say(&mut self, text: String) -> Run<Answer> {
        self.allocate(1, text.len())?;
        some(text)
    }

    fn say_lines(&mut self, lines: &[String]) -> Run<Answer> {
        let mut text = String::new();
        for line in lines {
            let line = format!("{line}\n");
            self.allocate(1, line.len())?;
            text.push_str(&line);
        }
        some(text)
    }
}

/// `SENDER|CORRELATION|REPLY-TO|TIME|TYPE|LENGTH`.
fn envelope(message: &ComponentMessage) -> String {
    let correlation = message.correlation_id.as_ref().map(CorrelationId::as_str);
    let reply_to = message.reply_to.as_ref().map(ComponentId::as_str);
    format!(
        "{}|{}|{}|{}|{}|{}",
        message.sender,
        correlation.unwrap_or("-"),
        reply_to.unwrap_or("-"),
        decimal(message.timestamp),
        message.message_type.as_deref().unwrap_or("-"),
        message.payload.len()
    )
}

/// The case that has this number in the contract.
fn guest_error(case: u64) -> GuestError {
    let text = "as stored".to_owned();
    match case {
        0 => GuestError::ComponentNotFound(text),
        1 => GuestError::InstantiationFailed(text),
        2 => GuestError::ExportNotFound(text),
        3 => GuestError::Timeout,
        4 => GuestError::ResourceLimitExceeded(text),
        5 => GuestError::InvalidComponent(text),
        _ => GuestError::RuntimeError(text),
    }
}

/// The case that has this number in the contract.
fn lifecycle_error(case: u64) -> LifecycleError {
    let text = "as stored".to_owned();
    match case {
        0 => LifecycleError::InitializationFailed(text),
        1 => LifecycleError::AlreadyInitialized,
        2 => LifecycleError::NotInitialized,
        3 => LifecycleError::ShutdownFailed(text),
        _ => LifecycleError::InvalidState(text),
    }
}

fn some(payload: impl Into<MessagePayload>) -> Run<Answer> {
    Ok(Ok(Some(payload.into())))
}

fn failed(error: &impl Case) -> Run<Answer> {
    Ok(Err(GuestError::RuntimeError(error.name().to_owned())))
}

fn uninitialized(text: &str) -> Run<Result<(), LifecycleError>> {
    Ok(Err(LifecycleError::InitializationFailed(text.to_owned())))
}

fn not_shut_down(text: &str) -> Run<Result<(), LifecycleError>> {
    Ok(Err(LifecycleError::ShutdownFailed(text.to_owned())))
}

fn none_unless(outcome: Result<(), impl Case>) -> Run<Answer> {
    match outcome {
        Ok(()) => Ok(Ok(None)),
        Err(error) => failed(&error),
    }
}

fn zeros() -> Bytes {
    Bytes::from_static(&[0; 1_024])
}

/// The digits up to the first other byte; a number that is too large goes around.
fn number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0, |number: u64, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'))
    })
}

fn decimal(time: Timestamp) -> String {
    format!("{}.{:09}", time.seconds, time.nanoseconds % 1_000_000_000)
}
