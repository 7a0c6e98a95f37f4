//! What an engine does with the timers that components set.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, ComponentHandle, ComponentState, ComponentTimers, HostServices,
    SecurityValidator, TimerError,
};
use wasm_fixtures::ALARM;

use super::lab::{config, permitted};
use super::{Engine, Feature, Lab};
use crate::lock::lock;
use crate::suite::{Case, cases};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["timers":
        "Sets a timer that is due after `delay` at the earliest; its number, which is no other's \
         of the component." => [
            what_a_component_sets_is_set_as_it_says,
        ],
        "Takes a timer of the component back; whether it was still to come." => [
            what_a_component_takes_back_is_taken_back,
        ],
        "Why a timer was not set or not taken back; the cases of the contract's `timer-error`." => [
            what_the_timers_refuse_is_told_whatever_was_asked,
        ],
        "An engine calls it from inside the component's guest call, after it has checked the \
         permission and the bounds." => [
            what_is_not_granted_or_taken_back_sets_no_timer,
        ],
        "The delay or the payload is out of bounds." => [
            a_timer_is_due_within_ten_years_and_carries_up_to_4_kib,
        ],
    ]
}

/// As large as the contract's numbers are, and larger than 32 bits.
const NUMBER: u64 = 7_000_000_007;

/// Ten years, in milliseconds.
const LONGEST_MILLIS: u64 = 3_650 * 24 * 60 * 60 * 1_000;

const LONGEST_BYTES: usize = 4 << 10;

#[derive(Debug, PartialEq)]
enum Asked {
    Set(ComponentHandle, Duration, Bytes),
    Cancel(ComponentHandle, u64),
}

/// Timers that write down what they are asked for, and keep none.
#[derive(Default)]
struct Noted {
    asked: Mutex<Vec<Asked>>,
    refusal: Mutex<Option<TimerError>>,
}

impl Noted {
    fn services(self: &Arc<Self>) -> HostServices {
        HostServices::default().with_timers(self.clone())
    }

    fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *lock(&self.asked))
    }

    fn note(&self, asked: Asked) -> Result<(), TimerError> {
        lock(&self.asked).push(asked);
        lock(&self.refusal).clone().map_or(Ok(()), Err)
    }
}

#[async_trait]
impl ComponentTimers for Noted {
    async fn set(
        &self,
        of: &ComponentHandle,
        delay: Duration,
        payload: Bytes,
    ) -> Result<u64, TimerError> {
        self.note(Asked::Set(of.clone(), delay, payload))?;
        Ok(NUMBER)
    }

    async fn cancel(&self, of: &ComponentHandle, timer: u64) -> Result<bool, TimerError> {
        self.note(Asked::Cancel(of.clone(), timer))?;
        Ok(timer == NUMBER)
    }
}

/// Takes back whatever was granted.
struct TakesBack;

impl SecurityValidator for TakesBack {
    fn validate(&self, _: &ComponentHandle, asked: &Capability) -> Result<(), CapabilityDenied> {
        Err(CapabilityDenied {
            capability: asked.clone(),
            reason: "not today".to_owned(),
        })
    }
}

async fn what_a_component_sets_is_set_as_it_says<E: Engine + ?Sized>(lab: Lab<E>) {
    let timers = Arc::new(Noted::default());
    let bench = lab.bench_with(timers.services());
    let alarm = bench.load(ALARM, permitted()).await;
    for (command, millis, payload) in [
        (&b"1500 tea"[..], 1_500, &b"tea"[..]),
        (b"0 now", 0, b"now"),
        (b"7 ", 7, b""),
        (b"5000000000 \0\xff", 5_000_000_000, b"\0\xff"),
    ] {
        assert_eq!(
            bench.ask(&alarm, command.to_vec()).await,
            NUMBER.to_string()
        );
        let (of, delay) = (alarm.clone(), Duration::from_millis(millis));
        let payload = Bytes::from_static(payload);
        assert_eq!(timers.take_asked(), [Asked::Set(of, delay, payload)]);
    }
}

async fn what_a_component_takes_back_is_taken_back<E: Engine + ?Sized>(lab: Lab<E>) {
    let timers = Arc::new(Noted::default());
    let bench = lab.bench_with(timers.services());
    // The second is granted nothing: taking a timer back needs no permission.
    for config in [permitted(), config()] {
        let alarm = bench.load(ALARM, config).await;
        for (timer, was_to_come) in [(NUMBER, "true"), (1, "false"), (u64::MAX, "false")] {
            let told = bench.ask(&alarm, format!("cancel {timer}")).await;
            assert_eq!(told, was_to_come, "{timer}");
            assert_eq!(timers.take_asked(), [Asked::Cancel(alarm.clone(), timer)]);
        }
    }
}

async fn what_the_timers_refuse_is_told_whatever_was_asked<E: Engine + ?Sized>(lab: Lab<E>) {
    let timers = Arc::new(Noted::default());
    let bench = lab.bench_with(timers.services());
    let alarm = bench.load(ALARM, permitted()).await;
    let text = || "as told".to_owned();
    let denied = CapabilityDenied::not_granted(Capability::Storage);
    for (error, case) in [
        (TimerError::TooMany, "too-many"),
        (TimerError::Invalid(text()), "invalid"),
        (TimerError::Denied(denied), "permission-denied"),
        (TimerError::NotSet(text()), "not-set"),
    ] {
        *lock(&timers.refusal) = Some(error);
        for command in ["10 tea", "cancel 1"] {
            assert_eq!(bench.refusal(&alarm, command).await, case, "{command}");
        }
        assert_eq!(bench.state(&alarm).await, ComponentState::Ready);
    }
}

async fn what_is_not_granted_or_taken_back_sets_no_timer<E: Engine + ?Sized>(lab: Lab<E>) {
    let timers = Arc::new(Noted::default());
    let taken_back = timers.services().with_validator(Arc::new(TakesBack));
    for (services, config) in [(timers.services(), config()), (taken_back, permitted())] {
        let bench = lab.bench_with(services);
        let alarm = bench.load(ALARM, config).await;
        assert_eq!(bench.refusal(&alarm, "10 tea").await, "permission-denied");
        assert_eq!(timers.take_asked(), []);
    }
}

async fn a_timer_is_due_within_ten_years_and_carries_up_to_4_kib<E: Engine + ?Sized>(lab: Lab<E>) {
    let timers = Arc::new(Noted::default());
    let bench = lab.bench_with(timers.services());
    let alarm = bench.load(ALARM, permitted()).await;
    let command = |millis: u64, bytes: usize| format!("{millis} {}", "a".repeat(bytes));
    let at_most = command(LONGEST_MILLIS, LONGEST_BYTES);
    assert_eq!(bench.ask(&alarm, at_most).await, NUMBER.to_string());
    assert_eq!(timers.take_asked().len(), 1);
    for (millis, bytes) in [
        (LONGEST_MILLIS + 1, 0),
        (u64::MAX, 0),
        (0, LONGEST_BYTES + 1),
    ] {
        let told = bench.refusal(&alarm, command(millis, bytes)).await;
        assert_eq!(told, "invalid", "{millis} ms, {bytes} bytes");
        assert_eq!(timers.take_asked(), []);
    }
}
