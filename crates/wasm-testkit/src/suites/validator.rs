//! For every [`SecurityValidator`].

use std::convert::Infallible;
use std::sync::Arc;

use tokio::task::JoinSet;

use wasm_core::{Capability, CapabilityDenied, ComponentHandle, LogLevel, SecurityValidator};

use super::id;
use crate::suite::{Case, cases};

/// A validator in whatever state, as long as nobody changes it meanwhile.
pub type Subject = Arc<dyn SecurityValidator>;

/// Every case.
pub fn cases() -> Vec<Case<Subject, Infallible>> {
    cases!["validator":
        "It is asked at every host call of the contract's interfaces that needs a capability" => [
            the_same_question_has_the_same_answer,
            many_may_ask_at_once,
            nobody_is_too_unknown_to_ask,
        ],
        "What was asked for." => [
            a_refusal_names_what_was_asked_for,
        ],
        "Why it is refused, and what would grant it." => [
            a_refusal_says_why,
        ],
        "Told of every refusal, its own and those by the permissions the component was loaded \
         with: for an audit." => [
            whatever_was_refused_it_may_be_told,
        ],
    ]
}

fn handle(number: u64) -> ComponentHandle {
    ComponentHandle::new(id("demo/a/main"), number)
}

fn capabilities() -> Vec<Capability> {
    let target = || id("demo/b/main");
    let mut capabilities = vec![
        Capability::Send(target()),
        Capability::Request(target()),
        Capability::Broadcast(target()),
        Capability::Storage,
    ];
    capabilities.extend(LogLevel::ALL.map(Capability::Log));
    capabilities
}

fn answers(validator: &Subject, number: u64) -> Vec<Result<(), CapabilityDenied>> {
    let ask = |capability| validator.validate(&handle(number), capability);
    capabilities().iter().map(ask).collect()
}

async fn the_same_question_has_the_same_answer(validator: Subject) {
    let first = answers(&validator, 1);
    for _ in 0..10 {
        assert_eq!(answers(&validator, 1), first);
    }
}

async fn many_may_ask_at_once(validator: Subject) {
    let expected = answers(&validator, 1);
    let mut questions = JoinSet::new();
    for _ in 0..16 {
        let validator = Arc::clone(&validator);
        questions.spawn(async move { answers(&validator, 1) });
    }
    for found in questions.join_all().await {
        assert_eq!(found, expected);
    }
}

async fn nobody_is_too_unknown_to_ask(validator: Subject) {
    for number in [0, u64::MAX] {
        let given = answers(&validator, number);
        assert_eq!(given.len(), capabilities().len());
    }
}

async fn a_refusal_names_what_was_asked_for(validator: Subject) {
    for (asked, answer) in capabilities().into_iter().zip(answers(&validator, 1)) {
        if let Err(denied) = answer {
            assert_eq!(denied.capability, asked);
        }
    }
}

async fn a_refusal_says_why(validator: Subject) {
    for denied in answers(&validator, 1).into_iter().filter_map(Result::err) {
        assert!(!denied.reason.trim().is_empty(), "{denied}");
    }
}

async fn whatever_was_refused_it_may_be_told(validator: Subject) {
    for capability in capabilities() {
        let denied = CapabilityDenied::not_granted(capability);
        for number in [1, u64::MAX] {
            validator.denied(&handle(number), &denied);
        }
    }
    // It may grow stricter by that, but still answers.
    assert_eq!(answers(&validator, 1).len(), capabilities().len());
}
