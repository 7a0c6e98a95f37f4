//! What a call may send, messages and bytes, and what is taken of that.

use std::sync::Arc;

use wasm_core::{ComponentConfig, HostServices, MessagingError, WasmError};
use wasm_fixtures::SPENDER;

use super::lab::{MIB, may, permitted, whom};
use super::{Engine, Feature, Lab};
use crate::suite::{Case, cases};
use crate::{Fault, Faulty, Method, RecordingRouter};

pub(super) fn cases<E: Engine + ?Sized>() -> Vec<Case<Lab<E>, Feature>> {
    cases!["spending":
        "Bytes of payload that one call may send, those of a broadcast counted once" => [
            all_that_a_call_sends_is_counted_together needs Feature::MessageBudget,
        ],
        "Where one of the budgets does not have as much left, nothing is taken from either." => [
            bytes_that_are_too_many_take_no_bytes needs Feature::MessageBudget,
            bytes_that_are_too_many_take_no_messages needs Feature::MessageBudget,
            messages_that_are_too_many_take_no_messages needs Feature::MessageBudget,
            messages_that_are_too_many_take_no_bytes needs Feature::MessageBudget,
        ],
        "`send`: takes it from the call's budget, checks the target and the permission, and \
         hands the message to the router." => [
            what_is_denied_is_taken_from_the_budget needs Feature::MessageBudget,
            what_the_router_refuses_is_taken_from_the_budget needs Feature::MessageBudget,
        ],
        "Gives the call that begins its full budgets, whichever export it calls." => [
            every_message_may_send_as_much needs Feature::MessageBudget,
            a_shutdown_may_send_as_much needs Feature::MessageBudget,
        ],
    ]
}

/// Messages that a call may send.
const MESSAGES: usize = 1_024;

/// All the bytes that a call may send, in messages of 1 MiB.
const ALL_BYTES: usize = 8;

/// What [`SPENDER`] answers to these words.
async fn spent<E: Engine + ?Sized>(
    lab: &Lab<E>,
    services: HostServices,
    config: ComponentConfig,
    words: &[String],
) -> String {
    let bench = lab.bench_with(services);
    let spender = bench.load(SPENDER, config).await;
    bench.ask(&spender, words.join(" ")).await
}

fn recorded(router: &Arc<RecordingRouter>) -> HostServices {
    HostServices::default().with_router(router.clone())
}

/// The answer of one that may do everything, and how often its router was called.
async fn spent_freely<E: Engine + ?Sized>(lab: &Lab<E>, words: &[String]) -> (String, usize) {
    let router = Arc::new(RecordingRouter::new());
    let letters = spent(lab, recorded(&router), permitted(), words).await;
    (letters, router.take_calls().len())
}

fn send(bytes: u64) -> String {
    format!("s{bytes}")
}

fn request(bytes: u64) -> String {
    format!("r{bytes}")
}

fn broadcast(bytes: u64, recipients: usize) -> String {
    format!("b{bytes}*{recipients}")
}

/// So many messages of 1 MiB.
fn mebibytes(count: usize) -> Vec<String> {
    vec![send(MIB); count]
}

async fn all_that_a_call_sends_is_counted_together<E: Engine + ?Sized>(lab: Lab<E>) {
    let each = [send(MIB), request(MIB), broadcast(MIB, 2)];
    let mut words: Vec<_> = each.iter().cycle().take(ALL_BYTES).cloned().collect();
    words.extend([send(1), request(1), broadcast(1, 1)]);
    words.extend([send(0), request(0), broadcast(0, 1)]);
    let spent = spent_freely(&lab, &words).await;
    assert_eq!(spent, ("++++++++qqq+++".to_owned(), 11));
}

async fn bytes_that_are_too_many_take_no_bytes<E: Engine + ?Sized>(lab: Lab<E>) {
    let mut words = mebibytes(ALL_BYTES - 1);
    words.push(send(MIB - 1));
    let too_many = [send(2), request(2), broadcast(2, 1)];
    words.extend(too_many);
    words.extend([send(1), send(1)]);
    let spent = spent_freely(&lab, &words).await;
    assert_eq!(spent, ("++++++++qqq+q".to_owned(), 9));
}

async fn bytes_that_are_too_many_take_no_messages<E: Engine + ?Sized>(lab: Lab<E>) {
    let mut words = mebibytes(ALL_BYTES);
    let rest = MESSAGES - words.len();
    words.extend([broadcast(1, rest), broadcast(0, rest), send(0)]);
    let spent = spent_freely(&lab, &words).await;
    assert_eq!(spent, ("++++++++q+q".to_owned(), 9));
}

async fn messages_that_are_too_many_take_no_messages<E: Engine + ?Sized>(lab: Lab<E>) {
    let words = [
        broadcast(0, MESSAGES + 1),
        broadcast(0, MESSAGES - 1),
        broadcast(0, 2),
        send(0),
        send(0),
    ];
    let spent = spent_freely(&lab, &words).await;
    assert_eq!(spent, ("q+q+q".to_owned(), 2));
}

async fn messages_that_are_too_many_take_no_bytes<E: Engine + ?Sized>(lab: Lab<E>) {
    let mut words = vec![broadcast(MIB, MESSAGES + 1)];
    words.extend(mebibytes(ALL_BYTES));
    words.push(send(1));
    let spent = spent_freely(&lab, &words).await;
    assert_eq!(spent, ("q++++++++q".to_owned(), ALL_BYTES));
}

async fn what_is_denied_is_taken_from_the_budget<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let may_ask = || may(|p| p.request = whom("demo/sink/main"));
    let mut words = mebibytes(ALL_BYTES - 1);
    words.extend([broadcast(MIB, 1), request(1), request(0)]);
    let letters = spent(&lab, recorded(&router), may_ask(), &words).await;
    assert_eq!(letters, "ddddddddq+", "bytes");
    let words = [broadcast(0, MESSAGES - 2), send(0), request(0), request(0)];
    let letters = spent(&lab, recorded(&router), may_ask(), &words).await;
    assert_eq!(letters, "dd+q", "messages");
}

async fn what_the_router_refuses_is_taken_from_the_budget<E: Engine + ?Sized>(lab: Lab<E>) {
    let full = Fault::Fail(MessagingError::InvalidMessage("not today".to_owned()));
    let router = Faulty::new(Arc::new(RecordingRouter::new()))
        .on_every_call(Method::Send, full.clone())
        .on_every_call(Method::Broadcast, full);
    let router: Arc<Faulty<_, _>> = Arc::new(router);
    let services = || HostServices::default().with_router(router.clone());
    let mut words = mebibytes(ALL_BYTES - 1);
    words.extend([broadcast(MIB, 1), request(1), request(0)]);
    let letters = spent(&lab, services(), permitted(), &words).await;
    assert_eq!(letters, "iiiiiiiiq+", "bytes");
    let words = [broadcast(0, MESSAGES - 2), send(0), request(0), request(0)];
    let letters = spent(&lab, services(), permitted(), &words).await;
    assert_eq!(letters, "ii+q", "messages");
}

/// All that a call may send, and then what it may not.
fn too_much() -> String {
    let mut words = mebibytes(ALL_BYTES);
    words.extend([broadcast(0, MESSAGES - ALL_BYTES), send(1), send(0)]);
    words.join(" ")
}

async fn every_message_may_send_as_much<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(recorded(&router));
    let spender = bench.load(SPENDER, permitted()).await;
    for _ in 0..3 {
        assert_eq!(bench.ask(&spender, too_much()).await, "+++++++++qq");
    }
}

async fn a_shutdown_may_send_as_much<E: Engine + ?Sized>(lab: Lab<E>) {
    let router = Arc::new(RecordingRouter::new());
    let bench = lab.bench_with(recorded(&router));
    let spender = bench.load(SPENDER, permitted()).await;
    assert_eq!(bench.ask(&spender, too_much()).await, "+++++++++qq");
    router.take_calls();
    bench.restart(&spender).await;
    let calls = router.take_calls().len();
    assert_eq!(calls, ALL_BYTES + 1, "what was sent before the restart");
    assert_eq!(bench.ask(&spender, too_much()).await, "+++++++++qq");
    match bench.engine.unload_component(&spender).await {
        Ok(()) => {}
        Err(WasmError::ShutdownFailed { error, .. }) => panic!("of all it may send: {error}"),
        Err(error) => panic!("{error}"),
    }
}
