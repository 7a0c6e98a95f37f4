//! Engines that each break a sentence of the contract, and the cases that find them
//! out. An engine that is not found out is a case that is missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bounds;
mod budgets;
mod ends;
mod hosts;
mod loading;
mod messages;
mod order;
mod policies;
mod services;
mod spending;
mod usage;
mod wrong;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::panic::set_hook;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use wasm_core::{HostServices, LogLevel, Permissions, RuntimeEngine};
use wasm_testkit::conformance::{Feature, Harness, Lab, Settings, cases};
use wasm_testkit::{Broken, Conditions, Time};

use wrong::Wrong;

type Make = dyn Fn(HostServices, Settings) -> Arc<dyn RuntimeEngine> + Send + Sync;

/// A wrong engine, what it breaks, and which cases must say so.
struct Row {
    name: &'static str,
    sentence: &'static str,
    cases: &'static [&'static str],
    make: Arc<Make>,
}

/// Wrong engines, by the sentence that they break.
#[derive(Default)]
struct List {
    rows: Vec<Row>,
    sentence: &'static str,
}

impl List {
    /// The part in question of the sentence that those break which follow.
    fn breaks(&mut self, sentence: &'static str) {
        self.sentence = sentence;
    }

    fn wrong<S: Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        cases: &'static [&'static str],
        make: impl Fn(Wrong) -> Wrong<S> + Send + Sync + 'static,
    ) -> &mut Row {
        let sentence = self.sentence;
        let make =
            move |services, settings| make(Wrong::around_the_model(services, settings)).build();
        self.rows.push(Row {
            name,
            sentence,
            cases,
            make: Arc::new(make),
        });
        self.rows.last_mut().unwrap()
    }
}

impl Row {
    /// Another sentence than those around it.
    fn breaking(&mut self, sentence: &'static str) {
        self.sentence = sentence;
    }
}

fn rows() -> Vec<Row> {
    let mut list = List::default();
    for add in [
        loading::rows,
        budgets::rows,
        order::rows,
        policies::rows,
        messages::rows,
        ends::rows,
        usage::rows,
        services::rows,
        bounds::rows,
        spending::rows,
    ] {
        add(&mut list);
    }
    list.rows
}

fn permissions() -> Permissions {
    let everybody = || vec!["*/*/*".parse().unwrap()];
    let mut permissions = Permissions::default();
    permissions.send = everybody();
    permissions.request = everybody();
    permissions.broadcast = everybody();
    permissions.storage = Some(64 << 10);
    permissions.log = Some(LogLevel::Trace);
    permissions
}

#[derive(Clone)]
struct Subject(Arc<Make>);

impl Harness for Subject {
    type Engine = dyn RuntimeEngine;

    fn engine(&self, services: HostServices, settings: Settings) -> Arc<dyn RuntimeEngine> {
        (self.0)(services, settings)
    }

    fn features(&self) -> &[Feature] {
        &Feature::ALL
    }
}

/// What those cases of the suite say of an engine that are asked, by name of the case.
fn verdict(make: &Arc<Make>, is_asked: impl Fn(&str) -> bool) -> BTreeMap<&'static str, Broken> {
    let conditions = Conditions {
        time: Time::Paused,
        patience: Duration::from_secs(10),
    };
    let harness = Arc::new(Subject(make.clone()));
    let mut verdict = BTreeMap::new();
    for case in cases().into_iter().filter(|case| is_asked(case.name())) {
        let harness = Arc::clone(&harness);
        if let Err(broken) = case.run(conditions, move || Lab::new(harness)) {
            verdict.insert(case.name(), broken);
        }
    }
    verdict
}

/// Of all of them, in their order.
fn verdicts(
    rows: &[Row],
    is_asked: impl Fn(&Row, &str) -> bool + Copy + Sync,
) -> Vec<BTreeMap<&'static str, Broken>> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let some = || {
        let mut some = Vec::new();
        while let place = next.fetch_add(1, Ordering::Relaxed)
            && let Some(row) = rows.get(place)
        {
            some.push((place, verdict(&row.make, |case| is_asked(row, case))));
        }
        some
    };
    let mut all: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(some)).collect();
        let done = running.into_iter().map(|thread| thread.join().unwrap());
        done.flatten().collect()
    });
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, verdict)| verdict).collect()
}

/// Hundreds of cases panic here as they should.
fn quietly() {
    set_hook(Box::new(|panic| {
        // Those are on threads named after their cases.
        let thread = thread::current();
        if !thread.name().is_some_and(|name| name.contains("::")) {
            eprintln!("{panic}");
        }
    }));
}

#[test]
fn the_model_keeps_the_contract() {
    let mut list = List::default();
    let right = list.wrong("is not wrong", &[], |wrong| wrong);
    assert_eq!(verdict(&right.make, |_| true), BTreeMap::new());
}

#[test]
fn one_that_counts_by_itself_what_is_sent_keeps_the_contract() {
    let mut list = List::default();
    let right = list.wrong("is not wrong", &[], spending::right);
    assert_eq!(verdict(&right.make, |_| true), BTreeMap::new());
}

#[test]
fn every_wrong_engine_is_found_out_and_told_which_sentence_it_breaks() {
    quietly();
    let sentences: BTreeMap<_, _> = cases::<dyn RuntimeEngine>()
        .iter()
        .map(|case| (case.name(), case.sentence()))
        .collect();
    let rows = rows();
    let mut missed = Vec::new();
    let is_named = |row: &Row, case: &str| row.cases.contains(&case);
    for (row, verdict) in rows.iter().zip(verdicts(&rows, is_named)) {
        let name = row.name;
        for case in row.cases {
            let text = verdict.get(case).map(ToString::to_string);
            let told = sentences
                .get(case)
                .map(|sentence| format!("broken sentence: {sentence}\n{case}: "));
            match (text, told) {
                (Some(text), Some(told)) if text.starts_with(&told) => {}
                (text, _) => missed.push(format!("{name}: {case} says {text:?}")),
            }
        }
        let told = row.cases.first().and_then(|case| sentences.get(case));
        if !told.is_some_and(|sentence| sentence.contains(row.sentence)) {
            missed.push(format!("{name}: breaks {:?}, not {told:?}", row.sentence));
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}

/// What breaks one thing does not break everything.
#[test]
#[ignore = "all cases of all wrong engines: a minute or two"]
fn every_case_finds_some_engine_out_and_no_engine_fails_all() {
    quietly();
    let mut untried = BTreeSet::new();
    for case in cases::<dyn RuntimeEngine>() {
        untried.insert(case.name());
    }
    let most = untried.len() / 2;
    let rows = rows();
    for (row, verdict) in rows.iter().zip(verdicts(&rows, |_, _| true)) {
        untried.retain(|case| !verdict.contains_key(case));
        assert!(
            verdict.len() <= most,
            "{}: {} failed",
            row.name,
            verdict.len()
        );
    }
    assert_eq!(untried, BTreeSet::new(), "cases that no engine fails");
}

#[test]
fn names_are_unique() {
    let rows = rows();
    let names: BTreeSet<_> = rows.iter().map(|row| row.name).collect();
    assert_eq!(names.len(), rows.len());
}
