//! For every [`ComponentLoader`].

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use wasm_core::{ComponentId, ComponentLoader, Defect, WasmError};
use wasm_fixtures::{CORE_MODULE, ECHO};

use super::id;
use crate::suite::{Case, cases};

/// A loader and where it looks.
#[async_trait]
pub trait LoaderBench: Send + Sync {
    /// What is tried.
    fn loader(&self) -> &dyn ComponentLoader;

    /// Puts bytes where they are looked for, in place of what was there.
    async fn put(&self, id: &ComponentId, bytes: Bytes);
}

/// A loader of nothing.
#[derive(Clone)]
pub struct Subject(Arc<dyn LoaderBench>);

impl Subject {
    /// Of a bench to which nothing was added.
    pub fn new(bench: impl LoaderBench + 'static) -> Self {
        Self(Arc::new(bench))
    }

    async fn holds(&self, of: &str, bytes: &[u8]) {
        match self.0.loader().load_bytes(&id(of)).await {
            Ok(loaded) => assert!(loaded == bytes, "{of} is not what was put there"),
            Err(error) => panic!("{error}"),
        }
    }

    async fn defect(&self, bytes: &[u8]) -> Option<Defect> {
        match self.0.loader().validate(&id("demo/a/main"), bytes) {
            Ok(()) => None,
            Err(WasmError::InvalidComponent { defect, .. }) => Some(defect),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// Every case.
pub fn cases() -> Vec<Case<Subject, Infallible>> {
    cases!["loader":
        "The bytes of a component, as they are stored." => [
            bytes_come_back_as_they_were_put,
            bytes_of_no_component_come_back_too,
            the_latest_bytes_count,
            ids_have_bytes_of_their_own,
        ],
        "`WasmError::LoadFailed` with the place that was looked at, when there is nothing, it \
         cannot be read or it is larger than the loader allows." => [
            what_is_not_there_is_a_load_error_with_its_place,
        ],
        "Looks at what can be told without an engine; an engine validates in full." => [
            a_component_is_valid,
            what_cannot_be_a_component_is_not_valid,
        ],
    ]
}

async fn bytes_come_back_as_they_were_put(subject: Subject) {
    subject
        .0
        .put(&id("demo/a/main"), Bytes::from_static(ECHO.wasm))
        .await;
    subject.holds("demo/a/main", ECHO.wasm).await;
    subject.holds("demo/a/main", ECHO.wasm).await;
}

async fn bytes_of_no_component_come_back_too(subject: Subject) {
    for bytes in [&b""[..], b"text", CORE_MODULE.wasm] {
        subject
            .0
            .put(&id("demo/a/main"), Bytes::from_static(bytes))
            .await;
        subject.holds("demo/a/main", bytes).await;
    }
}

async fn the_latest_bytes_count(subject: Subject) {
    for bytes in [&b"first"[..], b"second, and longer", b"3"] {
        subject
            .0
            .put(&id("demo/a/main"), Bytes::from_static(bytes))
            .await;
        subject.holds("demo/a/main", bytes).await;
    }
}

async fn ids_have_bytes_of_their_own(subject: Subject) {
    let ids = [
        "demo/a/main",
        "demo/a/two",
        "demo/b/main",
        "other/a/main",
        "demo/a.b/main",
    ];
    for of in ids {
        subject
            .0
            .put(&id(of), Bytes::from_static(of.as_bytes()))
            .await;
    }
    for of in ids {
        subject.holds(of, of.as_bytes()).await;
    }
}

async fn what_is_not_there_is_a_load_error_with_its_place(subject: Subject) {
    subject.0.put(&id("demo/b/main"), Bytes::new()).await;
    let error = match subject.0.loader().load_bytes(&id("demo/a/main")).await {
        Ok(bytes) => panic!("{} bytes of nothing", bytes.len()),
        Err(error) => error,
    };
    assert!(error.is_load_error(), "{error}");
    assert!(
        matches!(&error, WasmError::LoadFailed { path, reason, .. }
            if !reason.is_empty() && path.to_string_lossy().contains('a')),
        "{error}"
    );
}

async fn a_component_is_valid(subject: Subject) {
    assert_eq!(subject.defect(ECHO.wasm).await, None);
}

async fn what_cannot_be_a_component_is_not_valid(subject: Subject) {
    assert_eq!(subject.defect(b"").await, Some(Defect::Empty));
    assert_eq!(subject.defect(b"(component)").await, Some(Defect::Text));
    let module = subject.defect(CORE_MODULE.wasm).await;
    assert_eq!(module, Some(Defect::CoreModule));
    let script = subject.defect(b"#!/bin/sh").await;
    assert!(matches!(script, Some(Defect::NotWasm { .. })), "{script:?}");
    let future = subject.defect(b"\0asm\x0e\0\x01\0").await;
    assert!(
        matches!(future, Some(Defect::UnknownVersion { .. })),
        "{future:?}"
    );
}
