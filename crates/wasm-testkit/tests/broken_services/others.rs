//! Validators, clocks and loaders that each break a sentence.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{
    Capability, CapabilityDenied, Clock, ComponentHandle, ComponentId, ComponentLoader, Defect,
    SecurityValidator, Timestamp, WasmError,
};
use wasm_testkit::MemoryLoader;
use wasm_testkit::suites::loader::{LoaderBench, Subject};
use wasm_testkit::suites::{clock, loader, validator};

use crate::{all_are_found_out, verdict};

/// How a validator goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judging {
    AsItShould,
    ByTurns,
    OnlyWhomItKnows,
    OfSomethingElse,
    WithoutAReason,
    UnlessItIsTold,
}

const VALIDATORS: &[(Judging, &[&str])] = &[
    (Judging::ByTurns, &["the_same_question_has_the_same_answer"]),
    (Judging::OnlyWhomItKnows, &["nobody_is_too_unknown_to_ask"]),
    (
        Judging::OfSomethingElse,
        &["a_refusal_names_what_was_asked_for"],
    ),
    (Judging::WithoutAReason, &["a_refusal_says_why"]),
    (
        Judging::UnlessItIsTold,
        &["whatever_was_refused_it_may_be_told"],
    ),
];

/// Refuses everything.
struct Judge {
    judging: Judging,
    odd: AtomicBool,
}

impl SecurityValidator for Judge {
    fn validate(
        &self,
        component: &ComponentHandle,
        capability: &Capability,
    ) -> Result<(), CapabilityDenied> {
        let odd = self.odd.fetch_xor(true, Ordering::Relaxed);
        if self.judging == Judging::ByTurns && odd {
            return Ok(());
        }
        let known = self.judging != Judging::OnlyWhomItKnows || component.handle_id() < 9;
        assert!(known, "{component} is unknown");
        let mut denied = CapabilityDenied::not_granted(capability.clone());
        match self.judging {
            Judging::OfSomethingElse => denied.capability = Capability::Storage,
            Judging::WithoutAReason => denied.reason.clear(),
            _ => {}
        }
        Err(denied)
    }

    fn denied(&self, component: &ComponentHandle, _: &CapabilityDenied) {
        let deaf = self.judging == Judging::UnlessItIsTold;
        assert!(!deaf, "{component} was refused something");
    }
}

#[test]
fn every_broken_validator_is_found_out() {
    let with = |judging| {
        move || {
            let odd = AtomicBool::new(false);
            Arc::new(Judge { judging, odd }) as validator::Subject
        }
    };
    let found = verdict(validator::cases(), with(Judging::AsItShould));
    assert_eq!(found, BTreeMap::new());
    all_are_found_out("validator", VALIDATORS, validator::cases, with);
}

/// How a clock goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Telling {
    AsItShould,
    InNanosecondsOnly,
    OneTimeOnly,
    EachDayTwice,
}

const CLOCKS: &[(Telling, &[&str])] = &[
    (
        Telling::InNanosecondsOnly,
        &["nanoseconds_are_less_than_a_second"],
    ),
    (
        Telling::OneTimeOnly,
        &["many_may_ask_at_once", "it_answers_again_and_again"],
    ),
    (Telling::EachDayTwice, &["it_answers_again_and_again"]),
];

struct Teller {
    telling: Telling,
    asked: AtomicU64,
}

impl Clock for Teller {
    fn now(&self) -> Timestamp {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let (seconds, nanoseconds) = match self.telling {
            Telling::AsItShould => (asked, 999_999_999),
            Telling::InNanosecondsOnly => (0, 1_000_000_000),
            Telling::OneTimeOnly if asked > 0 => panic!("asked again"),
            Telling::OneTimeOnly => (0, 0),
            Telling::EachDayTwice => (asked * 24 * 60 * 60, 0),
        };
        Timestamp {
            seconds,
            nanoseconds,
        }
    }
}

#[test]
fn every_broken_clock_is_found_out() {
    let with = |telling| {
        move || {
            let asked = AtomicU64::new(0);
            Arc::new(Teller { telling, asked }) as clock::Subject
        }
    };
    let found = verdict(clock::cases(), with(Telling::AsItShould));
    assert_eq!(found, BTreeMap::new());
    all_are_found_out("clock", CLOCKS, clock::cases, with);
}

/// How a loader goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loading {
    AsItShould,
    WithoutTheEnd,
    OnlyComponents,
    TheFirst,
    ByName,
    NothingAsEmpty,
    WithoutAPlace,
    Nothing,
    Everything,
    WhateverBeginsLikeWasm,
}

const LOADERS: &[(Loading, &[&str])] = &[
    (
        Loading::WithoutTheEnd,
        &["bytes_come_back_as_they_were_put"],
    ),
    (
        Loading::OnlyComponents,
        &["bytes_of_no_component_come_back_too"],
    ),
    (Loading::TheFirst, &["the_latest_bytes_count"]),
    (Loading::ByName, &["ids_have_bytes_of_their_own"]),
    (
        Loading::NothingAsEmpty,
        &["what_is_not_there_is_a_load_error_with_its_place"],
    ),
    (
        Loading::WithoutAPlace,
        &["what_is_not_there_is_a_load_error_with_its_place"],
    ),
    (Loading::Nothing, &["a_component_is_valid"]),
    (
        Loading::Everything,
        &["what_cannot_be_a_component_is_not_valid"],
    ),
    (
        Loading::WhateverBeginsLikeWasm,
        &["what_cannot_be_a_component_is_not_valid"],
    ),
];

struct Shelf {
    inner: MemoryLoader,
    loading: Loading,
}

impl Shelf {
    fn place(&self, id: &ComponentId) -> ComponentId {
        match self.loading {
            Loading::ByName => ComponentId::new("any", id.name(), "any").unwrap(),
            _ => id.clone(),
        }
    }
}

#[async_trait]
impl ComponentLoader for Shelf {
    async fn load_bytes(&self, id: &ComponentId) -> Result<Bytes, WasmError> {
        let loaded = self.inner.load_bytes(&self.place(id)).await;
        match (self.loading, loaded) {
            (Loading::WithoutTheEnd, Ok(bytes)) => Ok(bytes.slice(..bytes.len() / 2)),
            (Loading::OnlyComponents, Ok(bytes)) => {
                self.validate(id, &bytes)?;
                Ok(bytes)
            }
            (Loading::NothingAsEmpty, Err(_)) => Ok(Bytes::new()),
            (Loading::WithoutAPlace, Err(WasmError::LoadFailed { reason, source, .. })) => {
                Err(WasmError::LoadFailed {
                    path: Default::default(),
                    reason,
                    source,
                })
            }
            (_, loaded) => loaded,
        }
    }

    fn validate(&self, id: &ComponentId, bytes: &[u8]) -> Result<(), WasmError> {
        let defect = match (self.loading, Defect::check_header(bytes)) {
            (Loading::Nothing, _) => Defect::Empty,
            (Loading::Everything, _) => return Ok(()),
            (Loading::WhateverBeginsLikeWasm, _) if bytes.starts_with(b"\0asm") => return Ok(()),
            (_, Ok(())) => return Ok(()),
            (_, Err(defect)) => defect,
        };
        Err(WasmError::invalid_component(id, defect))
    }
}

#[async_trait]
impl LoaderBench for Shelf {
    fn loader(&self) -> &dyn ComponentLoader {
        self
    }

    async fn put(&self, id: &ComponentId, bytes: Bytes) {
        let place = self.place(id);
        let first = self.inner.load_bytes(&place).await.is_err();
        if self.loading != Loading::TheFirst || first {
            self.inner.insert(place, bytes);
        }
    }
}

#[test]
fn every_broken_loader_is_found_out() {
    let with = |loading| {
        move || {
            let inner = MemoryLoader::new();
            Subject::new(Shelf { inner, loading })
        }
    };
    let found = verdict(loader::cases(), with(Loading::AsItShould));
    assert_eq!(found, BTreeMap::new());
    all_are_found_out("loader", LOADERS, loader::cases, with);
}
