//! That the suite quotes the contract, and all of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use wasm_core::RuntimeEngine;
use wasm_testkit::conformance::cases;
use wasm_testkit::{Case, suites};

/// What no case can prove: a heading, a pointer to other sentences, a reason, and what
/// is between an engine and its machine.
const NOTHING_TO_PROVE: [&str; 5] = [
    "Runs components.",
    "`WasmError::Unsupported` where the engine cannot run.",
    "As `call_handle_message`.",
    "So a new version can be compiled while the old one serves.",
    "An engine that has nothing to do ahead of time need not implement this; one that wraps \
     another forwards it.",
];

/// What the contract leaves to an engine; `tests/right_engines` has one that does so.
const LEFT_TO_THE_ENGINE: [&str; 6] = [
    "Where an engine has one thread for all its guests, one that computes may hold up the \
     others until it waits or ends.",
    "Before that it waits for its turn.",
    "An engine may let it wait although nothing is ahead of it, and may answer some time after \
     it has ended.",
    "An engine that has one resident instance for each component refuses to load others, with \
     `WasmError::Unsupported`.",
    "Numbers come in no given order.",
    "What is freed may be freed a little later.",
];

/// The documentation in a source file, one string for each run of comment lines,
/// with links reduced to their text.
fn documentation(source: &str) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in source.lines() {
        let comment = line.trim().strip_prefix("///");
        match comment.map(str::trim) {
            Some("") | None => paragraphs.push(String::new()),
            Some(heading) if heading.starts_with('#') => paragraphs.push(String::new()),
            Some(text) => {
                let paragraph = paragraphs.last_mut().unwrap();
                if !paragraph.is_empty() {
                    paragraph.push(' ');
                }
                paragraph.push_str(text);
            }
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs.iter().map(|text| without_links(text)).collect()
}

fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('[') {
        let Some(end) = rest[start..].find(']').map(|end| start + end) else {
            break;
        };
        plain.push_str(&rest[..start]);
        let (inside, after) = (&rest[start + 1..end], &rest[end + 1..]);
        if !inside.starts_with('`') {
            plain.push_str(&rest[start..=end]);
            rest = after;
            continue;
        }
        plain.push_str(inside);
        rest = match after
            .strip_prefix('(')
            .and_then(|link| link.split_once(')'))
        {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain + rest
}

fn sentences(paragraph: &str) -> Vec<String> {
    let paragraph = match paragraph
        .strip_prefix('*')
        .and_then(|p| p.split_once(".* "))
    {
        Some((_, text)) => text,
        None => paragraph,
    };
    let mut found = Vec::new();
    let mut rest = paragraph;
    while let Some(end) = rest.find(". ") {
        found.push(rest[..=end].to_owned());
        rest = &rest[end + 2..];
    }
    found.push(rest.to_owned());
    found
}

fn core() -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wasm-core/src");
    let folders = [source.clone(), source.join("guest")];
    let mut sources = Vec::new();
    for entry in folders.iter().flat_map(|it| fs::read_dir(it).unwrap()) {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            sources.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
    sources
}

fn sentences_of<S: 'static, F: Copy>(cases: &[Case<S, F>]) -> Vec<&'static str> {
    cases.iter().map(Case::sentence).collect()
}

fn quoted() -> BTreeSet<&'static str> {
    let cases = cases::<dyn RuntimeEngine>();
    cases.iter().map(Case::sentence).collect()
}

#[test]
fn every_quotation_is_in_the_documentation_of_wasm_core() {
    let documented: Vec<String> = core()
        .iter()
        .flat_map(|(_, source)| documentation(source))
        .collect();
    let suites = [
        sentences_of(&cases::<dyn RuntimeEngine>()),
        sentences_of(&suites::storage::cases()),
        sentences_of(&suites::router::cases()),
        sentences_of(&suites::validator::cases()),
        sentences_of(&suites::directory::cases()),
        sentences_of(&suites::clock::cases()),
        sentences_of(&suites::loader::cases()),
    ];
    let made_up: Vec<_> = suites
        .concat()
        .into_iter()
        .filter(|quoted| !documented.iter().any(|text| text.contains(quoted)))
        .collect();
    assert!(made_up.is_empty(), "{made_up:#?}");
}

#[test]
fn every_sentence_of_the_engines_contract_is_quoted() {
    let sources = core();
    let (_, engine) = sources
        .iter()
        .find(|(name, _)| name == "engine.rs")
        .unwrap();
    let quoted = quoted();
    let mut unproven = Vec::new();
    for paragraph in documentation(engine) {
        for sentence in sentences(&paragraph) {
            let proven = quoted
                .iter()
                .any(|quoted| sentence.contains(quoted) || quoted.contains(sentence.as_str()));
            let left_out = [&NOTHING_TO_PROVE[..], &LEFT_TO_THE_ENGINE];
            if !proven && !left_out.concat().contains(&&*sentence) {
                unproven.push(sentence);
            }
        }
    }
    assert!(unproven.is_empty(), "{unproven:#?}");
}

#[test]
fn names_are_unique() {
    let cases = cases::<dyn RuntimeEngine>();
    let names: BTreeSet<_> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len());
}
