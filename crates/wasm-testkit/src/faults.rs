use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::sleep;

use wasm_core::{
    ComponentConfig, ComponentHandle, ComponentId, ComponentLoader, ComponentMessage,
    ComponentMetadata, ComponentStorage, ComponentUsage, CorrelationId, HealthStatus,
    MessagePayload, MessageRouter, MessagingError, Preparation, RuntimeEngine, StorageError,
    StorageUsage, WasmError,
};

use crate::Method;
use crate::lock::lock;

/// How many faults a failing test is told.
const REPORTED: usize = 20;

/// What happens to a call instead of going well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault<E> {
    /// Ends in this error at once; what is wrapped is not called.
    Fail(E),
    /// Is made this much later, by tokio's clock.
    Delay(Duration),
    /// Never ends; what is wrapped is not called.
    Hang,
    /// Is made, dropped when it first waits, and ends in this error: the caller does
    /// not learn what became of it. One that never waits is done.
    Drop(E),
}

/// An engine, router, storage or loader of which some calls do not go well.
///
/// Wraps what implements [`RuntimeEngine`], [`MessageRouter`], [`ComponentStorage`]
/// or [`ComponentLoader`], and implements the same; `E` is the error of that trait.
/// Faults are chosen by method and number, or drawn from a seed. Where both fit, the
/// chosen one counts.
///
/// ```
/// use std::sync::Arc;
///
/// use wasm_core::{ComponentId, ComponentStorage, MemoryStorage, StorageError};
/// use wasm_testkit::{Fault, Faulty, Method};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let failure = StorageError::Io("disk full".to_owned());
/// let storage = Faulty::new(Arc::new(MemoryStorage::new()))
///     .on_call(Method::Set, 2, Fault::Fail(failure.clone()));
///
/// let owner = ComponentId::new("demo", "a", "main")?;
/// storage.set(&owner, "one", "1".into(), 1_000).await?;
/// assert_eq!(storage.set(&owner, "two", "2".into(), 1_000).await, Err(failure));
/// storage.set(&owner, "two", "2".into(), 1_000).await?;
/// # Ok(())
/// # }
/// ```
///
/// One with random faults prints the seed and the latest of them when it is dropped:
/// what a test prints is shown when it fails.
pub struct Faulty<S: ?Sized, E> {
    inner: Arc<S>,
    chosen: Vec<Chosen<E>>,
    random: Option<Random<E>>,
    state: Mutex<State>,
}

struct Chosen<E> {
    method: Method,
    /// Every one, if there is none.
    nth: Option<u64>,
    fault: Fault<E>,
}

struct Random<E> {
    seed: u64,
    probability: f64,
    faults: Vec<Fault<E>>,
}

#[derive(Debug, Default)]
struct State {
    calls: HashMap<Method, u64>,
    injected: Vec<(Method, u64)>,
}

impl<S: ?Sized, E> Faulty<S, E> {
    /// All calls go well.
    pub fn new(inner: Arc<S>) -> Self {
        Self {
            inner,
            chosen: Vec::new(),
            random: None,
            state: Mutex::default(),
        }
    }

    /// Lets the `nth` call of `method` have this fault, counted from 1.
    ///
    /// # Panics
    /// If `nth` is 0: it would never happen.
    #[must_use]
    #[track_caller]
    pub fn on_call(mut self, method: Method, nth: u64, fault: Fault<E>) -> Self {
        assert_ne!(nth, 0, "calls are counted from 1");
        let nth = Some(nth);
        self.chosen.push(Chosen { method, nth, fault });
        self
    }

    /// Lets every call of `method` have this fault, unless another was chosen for it
    /// before.
    #[must_use]
    pub fn on_every_call(mut self, method: Method, fault: Fault<E>) -> Self {
        let nth = None;
        self.chosen.push(Chosen { method, nth, fault });
        self
    }

    /// Lets each call, of whichever method, have one of these faults with a
    /// probability between 0 and 1.
    ///
    /// What happens to the nth call of a method depends on the seed alone, not on
    /// what else is called meanwhile.
    ///
    /// # Panics
    /// If `probability` is not from 0 to 1.
    #[must_use]
    #[track_caller]
    pub fn at_random(
        mut self,
        seed: u64,
        probability: f64,
        faults: impl IntoIterator<Item = Fault<E>>,
    ) -> Self {
        assert!(
            (0.0..=1.0).contains(&probability),
            "{probability} is not a probability"
        );
        self.random = Some(Random {
            seed,
            probability,
            faults: faults.into_iter().collect(),
        });
        self
    }

    /// Which calls had a fault so far: their method and number, in the order in which
    /// they came.
    pub fn injected(&self) -> Vec<(Method, u64)> {
        lock(&self.state).injected.clone()
    }

    /// What is wrapped.
    pub fn inner(&self) -> &Arc<S> {
        &self.inner
    }
}

impl<S: ?Sized, E: Clone> Faulty<S, E> {
    async fn call<T>(
        &self,
        method: Method,
        call: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match self.next_fault(method) {
            None => call.await,
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Delay(by)) => {
                sleep(by).await;
                call.await
            }
            Some(Fault::Hang) => pending().await,
            Some(Fault::Drop(error)) => {
                let mut call = pin!(call);
                poll_fn(|cx| {
                    // Whatever it answers, if it does.
                    let _ = call.as_mut().poll(cx);
                    Poll::Ready(())
                })
                .await;
                Err(error)
            }
        }
    }

    fn next_fault(&self, method: Method) -> Option<Fault<E>> {
        let mut state = lock(&self.state);
        let count = state.calls.entry(method).or_default();
        *count += 1;
        let nth = *count;
        let fits = |chosen: &&Chosen<E>| {
            chosen.method == method && chosen.nth.is_none_or(|chosen| chosen == nth)
        };
        let chosen = self.chosen.iter().find(fits).map(|chosen| &chosen.fault);
        let random = || self.random.as_ref()?.draw(method, nth);
        let fault = chosen.or_else(random)?.clone();
        state.injected.push((method, nth));
        Some(fault)
    }
}

impl<E> Random<E> {
    fn draw(&self, method: Method, nth: u64) -> Option<&Fault<E>> {
        let mut random = SplitMix(self.seed);
        random.stir(method as u64);
        random.stir(nth);
        // The 53 bits that a float between 0 and 1 has room for.
        let drawn = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        if drawn >= self.probability || self.faults.is_empty() {
            return None;
        }
        let place = random.next() % self.faults.len() as u64;
        self.faults.get(place as usize)
    }
}

/// SplitMix64, which makes good numbers of any seed, zero included.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn stir(&mut self, value: u64) {
        self.0 = self.next() ^ value;
    }
}

impl<S: ?Sized, E> Debug for Faulty<S, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("seed", &self.random.as_ref().map(|random| random.seed))
            .field("injected", &lock(&self.state).injected)
            .finish_non_exhaustive()
    }
}

impl<S: ?Sized, E> Faulty<S, E> {
    fn report(&self) -> Option<String> {
        let random = self.random.as_ref()?;
        let injected = &lock(&self.state).injected;
        if injected.is_empty() {
            return None;
        }
        let last = &injected[injected.len().saturating_sub(REPORTED)..];
        let calls: Vec<String> = last
            .iter()
            .map(|(method, nth)| format!("{method} {nth}"))
            .collect();
        Some(format!(
            "{} faults, drawn from seed {}; the last of them: {}",
            injected.len(),
            random.seed,
            calls.join(", ")
        ))
    }
}

impl<S: ?Sized, E> Drop for Faulty<S, E> {
    fn drop(&mut self) {
        // Not only in a panic: a test may fail by what it returns, or on another thread.
        if let Some(report) = self.report() {
            eprintln!("{report}");
        }
    }
}

#[async_trait]
impl<S: RuntimeEngine + ?Sized> RuntimeEngine for Faulty<S, WasmError> {
    async fn prepare_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: &ComponentConfig,
    ) -> Result<Preparation, WasmError> {
        let call = self.inner.prepare_component(id, bytes, config);
        self.call(Method::PrepareComponent, call).await
    }

    async fn load_component(
        &self,
        id: &ComponentId,
        bytes: Bytes,
        config: ComponentConfig,
    ) -> Result<ComponentHandle, WasmError> {
        let call = self.inner.load_component(id, bytes, config);
        self.call(Method::LoadComponent, call).await
    }

    async fn unload_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let call = self.inner.unload_component(handle);
        self.call(Method::UnloadComponent, call).await
    }

    async fn call_handle_message(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<Option<MessagePayload>, WasmError> {
        let call = self.inner.call_handle_message(handle, message);
        self.call(Method::CallHandleMessage, call).await
    }

    async fn call_handle_callback(
        &self,
        handle: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), WasmError> {
        let call = self.inner.call_handle_callback(handle, message);
        self.call(Method::CallHandleCallback, call).await
    }

    async fn restart_component(&self, handle: &ComponentHandle) -> Result<(), WasmError> {
        let call = self.inner.restart_component(handle);
        self.call(Method::RestartComponent, call).await
    }

    async fn health(&self, handle: &ComponentHandle) -> Result<HealthStatus, WasmError> {
        self.call(Method::Health, self.inner.health(handle)).await
    }

    async fn metadata(&self, handle: &ComponentHandle) -> Result<ComponentMetadata, WasmError> {
        let call = self.inner.metadata(handle);
        self.call(Method::Metadata, call).await
    }

    async fn usage(&self, handle: &ComponentHandle) -> Result<ComponentUsage, WasmError> {
        self.call(Method::Usage, self.inner.usage(handle)).await
    }
}

#[async_trait]
impl<S: MessageRouter + ?Sized> MessageRouter for Faulty<S, MessagingError> {
    async fn send(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
    ) -> Result<(), MessagingError> {
        self.call(Method::Send, self.inner.send(from, message))
            .await
    }

    async fn request(
        &self,
        from: &ComponentHandle,
        message: ComponentMessage,
        timeout: Duration,
    ) -> Result<CorrelationId, MessagingError> {
        let call = self.inner.request(from, message, timeout);
        self.call(Method::Request, call).await
    }

    async fn cancel_request(
        &self,
        from: &ComponentHandle,
        request: &CorrelationId,
    ) -> Result<(), MessagingError> {
        let call = self.inner.cancel_request(from, request);
        self.call(Method::CancelRequest, call).await
    }

    async fn broadcast(
        &self,
        from: &ComponentHandle,
        messages: Vec<ComponentMessage>,
    ) -> Result<(), MessagingError> {
        let call = self.inner.broadcast(from, messages);
        self.call(Method::Broadcast, call).await
    }
}

#[async_trait]
impl<S: ComponentStorage + ?Sized> ComponentStorage for Faulty<S, StorageError> {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        self.call(Method::Get, self.inner.get(owner, key)).await
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let call = self.inner.set(owner, key, value, quota_bytes);
        self.call(Method::Set, call).await
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        self.call(Method::Delete, self.inner.delete(owner, key))
            .await
    }

    async fn exists(&self, owner: &ComponentId, key: &str) -> Result<bool, StorageError> {
        self.call(Method::Exists, self.inner.exists(owner, key))
            .await
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let call = self.inner.list_keys(owner, prefix, after, limit);
        self.call(Method::ListKeys, call).await
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        self.call(Method::Usage, self.inner.usage(owner)).await
    }
}

/// Only what waits can have a fault; `validate` is that of the wrapped loader.
#[async_trait]
impl<S: ComponentLoader + ?Sized> ComponentLoader for Faulty<S, WasmError> {
    async fn load_bytes(&self, id: &ComponentId) -> Result<Bytes, WasmError> {
        self.call(Method::LoadBytes, self.inner.load_bytes(id))
            .await
    }

    fn validate(&self, id: &ComponentId, bytes: &[u8]) -> Result<(), WasmError> {
        self.inner.validate(id, bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use tokio::time::{Instant, timeout};

    use wasm_core::{Defect, MemoryStorage};

    use super::*;
    use crate::poll::now;
    use crate::{MemoryLoader, RecordingRouter, mock};

    const SECOND: Duration = Duration::from_secs(1);

    fn id() -> ComponentId {
        ComponentId::new("demo", "a", "main").unwrap()
    }

    fn handle() -> ComponentHandle {
        ComponentHandle::new(id(), 1)
    }

    fn message() -> ComponentMessage {
        ComponentMessage::new(id(), id(), "hi")
    }

    fn failure() -> StorageError {
        StorageError::Io("as told".to_owned())
    }

    fn unsupported() -> WasmError {
        WasmError::Unsupported {
            what: "today".to_owned(),
        }
    }

    fn storage() -> Faulty<MemoryStorage, StorageError> {
        Faulty::new(Arc::new(MemoryStorage::new()))
    }

    #[test]
    fn a_chosen_call_fails_and_no_other() {
        let storage = storage().on_call(Method::Set, 2, Fault::Fail(failure()));
        let set = |key| now(storage.set(&id(), key, Bytes::new(), 1_000));
        assert_eq!(set("one"), Ok(()));
        assert_eq!(now(storage.get(&id(), "one")), Ok(Some(Bytes::new())));
        assert_eq!(set("two"), Err(failure()));
        assert_eq!(now(storage.exists(&id(), "two")), Ok(false));
        assert_eq!(set("two"), Ok(()));
        let keys = now(storage.list_keys(&id(), "", None, 9));
        assert_eq!(keys, Ok(vec!["one".to_owned(), "two".to_owned()]));
        assert_eq!(storage.injected(), [(Method::Set, 2)]);
    }

    #[test]
    fn the_first_choice_counts() {
        let full = MessagingError::QueueFull;
        let lost = MessagingError::DeliveryFailed("lost".to_owned());
        let router = Faulty::new(Arc::new(RecordingRouter::new()))
            .on_call(Method::Send, 1, Fault::Fail(lost.clone()))
            .on_every_call(Method::Send, Fault::Fail(full.clone()))
            .at_random(1, 1.0, [Fault::Hang]);
        assert_eq!(now(router.send(&handle(), message())), Err(lost));
        for _ in 0..2 {
            assert_eq!(now(router.send(&handle(), message())), Err(full.clone()));
        }
        assert_eq!(router.inner().calls(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_call_is_made_later_and_one_that_hangs_never() {
        let router = Faulty::new(Arc::new(RecordingRouter::new()))
            .on_call(Method::Request, 1, Fault::Delay(SECOND))
            .on_call(Method::Broadcast, 1, Fault::Hang);
        let start = Instant::now();
        let request = router.request(&handle(), message(), SECOND).await;
        assert_eq!(request, Ok("request-1".into()));
        assert_eq!(start.elapsed(), SECOND);
        let from = handle();
        let broadcast = timeout(3600 * SECOND, router.broadcast(&from, vec![message()]));
        assert_eq!(broadcast.await.ok(), None);
        let cancelled = router.cancel_request(&handle(), &"request-1".into()).await;
        assert_eq!(cancelled, Ok(()));
        assert_eq!(router.inner().calls().len(), 2);
    }

    #[tokio::test]
    async fn a_dropped_call_was_made_and_its_caller_does_not_learn_what_became_of_it() {
        let (engine, mut calls) = mock::pair();
        let inner: Arc<dyn RuntimeEngine> = Arc::new(engine);
        let engine =
            Faulty::new(inner).on_call(Method::CallHandleMessage, 1, Fault::Drop(unsupported()));
        let error = engine.call_handle_message(&handle(), message()).await;
        assert!(
            matches!(error, Err(WasmError::Unsupported { .. })),
            "{error:?}"
        );
        let (_, given, answer) = calls.try_next_call().unwrap().expect_message();
        assert_eq!(given, message());
        assert!(answer.is_cancelled());
        // One that never waits is done.
        let storage = storage().on_every_call(Method::Set, Fault::Drop(failure()));
        let set = storage.set(&id(), "key", Bytes::new(), 1_000).await;
        assert_eq!(set, Err(failure()));
        assert_eq!(storage.exists(&id(), "key").await, Ok(true));
    }

    #[tokio::test]
    async fn every_method_of_an_engine_can_have_a_fault() {
        let (engine, mut calls) = mock::pair();
        let methods = [
            Method::UnloadComponent,
            Method::CallHandleCallback,
            Method::RestartComponent,
            Method::Health,
            Method::Metadata,
            Method::Usage,
        ];
        let faulty = methods
            .iter()
            .fold(Faulty::new(Arc::new(engine)), |faulty, method| {
                faulty.on_every_call(*method, Fault::Fail(unsupported()))
            });
        let handle = handle();
        let errors = [
            faulty.unload_component(&handle).await.unwrap_err(),
            faulty
                .call_handle_callback(&handle, message())
                .await
                .unwrap_err(),
            faulty.restart_component(&handle).await.unwrap_err(),
            faulty.health(&handle).await.unwrap_err(),
            faulty.metadata(&handle).await.unwrap_err(),
            faulty.usage(&handle).await.unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.to_string(), unsupported().to_string());
        }
        assert_eq!(faulty.injected(), methods.map(|method| (method, 1)));
        assert!(calls.try_next_call().is_none());
    }

    #[test]
    fn a_loader_fails_to_load_and_still_validates() {
        let loader = MemoryLoader::new();
        loader.insert(id(), "bytes");
        let loader =
            Faulty::new(Arc::new(loader)).on_call(Method::LoadBytes, 1, Fault::Fail(unsupported()));
        let error = now(loader.load_bytes(&id())).unwrap_err();
        assert_eq!(error.to_string(), unsupported().to_string());
        assert_eq!(now(loader.load_bytes(&id())).unwrap(), "bytes");
        let error = loader.validate(&id(), b"").unwrap_err();
        assert!(
            matches!(
                error,
                WasmError::InvalidComponent {
                    defect: Defect::Empty,
                    ..
                }
            ),
            "{error}"
        );
    }

    /// Which of a hundred calls of `get` failed.
    fn drawn(seed: u64, probability: f64, beside: bool) -> Vec<(Method, u64)> {
        let storage = storage().at_random(seed, probability, [Fault::Fail(failure())]);
        for _ in 0..100 {
            let _ = now(storage.get(&id(), "key"));
            if beside {
                let _ = now(storage.usage(&id()));
            }
        }
        let mut injected = storage.injected();
        injected.retain(|(method, _)| *method == Method::Get);
        injected
    }

    #[test]
    fn the_seed_decides() {
        let some = drawn(7, 0.3, false);
        assert!((15..45).contains(&some.len()), "{some:?}");
        assert_eq!(drawn(7, 0.3, false), some);
        // Whatever else is called.
        assert_eq!(drawn(7, 0.3, true), some);
        assert_ne!(drawn(8, 0.3, false), some);
        assert_eq!(drawn(0, 0.0, false), []);
        assert_eq!(drawn(0, 1.0, false).len(), 100);
    }

    #[test]
    #[should_panic(expected = "calls are counted from 1")]
    fn no_call_comes_before_the_first() {
        let _ = storage().on_call(Method::Set, 0, Fault::Hang);
    }

    #[test]
    #[should_panic(expected = "30 is not a probability")]
    fn a_percentage_is_no_probability() {
        let _ = storage().at_random(1, 30.0, [Fault::Hang]);
    }

    #[test]
    fn each_fault_is_drawn() {
        let faults = [1, 2, 3].map(|n| Fault::Fail(StorageError::Io(n.to_string())));
        let storage = storage().at_random(3, 1.0, faults);
        let mut counts = HashMap::new();
        for _ in 0..300 {
            let error = now(storage.delete(&id(), "key")).unwrap_err();
            *counts.entry(error.to_string()).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|count| *count > 60), "{counts:?}");
    }

    #[test]
    fn a_failing_test_is_told_the_seed_and_what_came_of_it() {
        let storage = storage().at_random(42, 1.0, [Fault::Fail(failure())]);
        now(storage.get(&id(), "key")).unwrap_err();
        now(storage.get(&id(), "key")).unwrap_err();
        now(storage.usage(&id())).unwrap_err();
        assert_eq!(
            storage.report().as_deref(),
            Some("3 faults, drawn from seed 42; the last of them: get 1, get 2, usage 1")
        );
        assert_eq!(
            format!("{storage:?}"),
            "Faulty { seed: Some(42), injected: [(Get, 1), (Get, 2), (Usage, 1)], .. }"
        );
        // Printing it does not get in the way of the failure.
        let panic = catch_unwind(AssertUnwindSafe(move || {
            let _storage = storage;
            panic!("{}", "its own reason");
        }));
        let reason = panic.unwrap_err().downcast::<String>().unwrap();
        assert_eq!(*reason, "its own reason");
    }
}
