//! For every [`ComponentDirectory`].

use std::convert::Infallible;
use std::fmt::{self, Debug};
use std::sync::Arc;

use async_trait::async_trait;

use wasm_core::{ComponentDirectory, ComponentId, ComponentInfo, HealthStatus};

use super::id;
use crate::suite::{Case, cases};

/// A directory and who writes it.
#[async_trait]
pub trait DirectoryBench: Send + Sync {
    /// What is tried.
    fn directory(&self) -> &dyn ComponentDirectory;

    /// Lets a component be there, in place of one with the same id.
    async fn insert(&self, info: ComponentInfo);

    /// Lets a component be there no longer.
    async fn remove(&self, id: &ComponentId);
}

/// A directory of nobody.
#[derive(Clone)]
pub struct Subject(Arc<dyn DirectoryBench>);

impl Subject {
    /// Of a bench to which nothing was added.
    pub fn new(bench: impl DirectoryBench + 'static) -> Self {
        Self(Arc::new(bench))
    }

    async fn insert(&self, name: &str, health: HealthStatus) {
        self.0.insert(info(name, health)).await;
    }

    async fn list(&self, after: Option<&str>, limit: usize) -> Vec<String> {
        let after = after.map(id);
        let ids = self.0.directory().list(after.as_ref(), limit).await;
        ids.iter().map(ToString::to_string).collect()
    }
}

impl Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// Every case.
pub fn cases() -> Vec<Case<Subject, Infallible>> {
    cases!["directory":
        "At most `limit` ids after `after`, ascending, each once." => [
            ids_ascend_and_come_once,
            ids_come_after_another,
            no_more_ids_come_than_asked_for,
            pages_hold_every_id_once,
            an_empty_directory_is_empty,
        ],
        "`None` when no such component is loaded." => [
            who_is_not_there_is_none,
            who_has_left_is_none,
        ],
        "As last known; nobody is asked for it." => [
            an_entry_is_what_was_last_known,
        ],
    ]
}

fn info(of: &str, health: HealthStatus) -> ComponentInfo {
    ComponentInfo {
        id: id(of),
        name: format!("the component {of}"),
        version: "1.2.3".to_owned(),
        health,
    }
}

/// `demo/a.b/x` comes after `demo/a-b/x` and before `demo/a/x`, as bytes do.
const SOME: [&str; 5] = [
    "demo/b/x",
    "demo/a/x",
    "demo/a.b/x",
    "Demo/z/x",
    "demo/a-b/x",
];
const SORTED: [&str; 5] = [
    "Demo/z/x",
    "demo/a-b/x",
    "demo/a.b/x",
    "demo/a/x",
    "demo/b/x",
];

async fn with_some(subject: &Subject) {
    for name in SOME {
        subject.insert(name, HealthStatus::Healthy).await;
    }
}

async fn ids_ascend_and_come_once(subject: Subject) {
    with_some(&subject).await;
    with_some(&subject).await;
    assert_eq!(subject.list(None, usize::MAX).await, SORTED);
}

async fn ids_come_after_another(subject: Subject) {
    with_some(&subject).await;
    assert_eq!(subject.list(Some("demo/a.b/x"), 9).await, SORTED[3..]);
    // It need not be there itself.
    assert_eq!(subject.list(Some("demo/a.a/x"), 9).await, SORTED[2..]);
    assert_eq!(subject.list(Some("demo/b/x"), 9).await, [""; 0]);
}

async fn no_more_ids_come_than_asked_for(subject: Subject) {
    with_some(&subject).await;
    assert_eq!(subject.list(None, 0).await, [""; 0]);
    assert_eq!(subject.list(None, 2).await, SORTED[..2]);
    assert_eq!(subject.list(Some(SORTED[0]), 1).await, SORTED[1..2]);
}

async fn pages_hold_every_id_once(subject: Subject) {
    let expected: Vec<String> = (0..100).map(|n| format!("demo/n{n:03}/x")).collect();
    for name in expected.iter().rev() {
        subject.insert(name, HealthStatus::Healthy).await;
    }
    for size in [1, 7, 100, 101] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = subject.list(found.last().map(String::as_str), size).await;
            if page.is_empty() {
                break;
            }
            found.extend(page);
            let count = found.len();
            assert!(count <= expected.len(), "{count} in pages of {size}");
        }
        assert_eq!(found, expected, "in pages of {size}");
    }
}

async fn an_empty_directory_is_empty(subject: Subject) {
    assert_eq!(subject.list(None, 9).await, [""; 0]);
    assert_eq!(subject.list(Some("demo/a/x"), 9).await, [""; 0]);
}

async fn who_is_not_there_is_none(subject: Subject) {
    with_some(&subject).await;
    for nobody in ["demo/c/x", "demo/a/y", "demo/a/X"] {
        assert_eq!(subject.0.directory().info(&id(nobody)).await, None);
    }
}

async fn who_has_left_is_none(subject: Subject) {
    with_some(&subject).await;
    subject.0.remove(&id("demo/a/x")).await;
    assert_eq!(subject.0.directory().info(&id("demo/a/x")).await, None);
    assert_eq!(subject.list(Some("demo/a.b/x"), 9).await, ["demo/b/x"]);
    subject.insert("demo/a/x", HealthStatus::Unknown).await;
    let back = subject.0.directory().info(&id("demo/a/x")).await;
    assert_eq!(back, Some(info("demo/a/x", HealthStatus::Unknown)));
}

async fn an_entry_is_what_was_last_known(subject: Subject) {
    with_some(&subject).await;
    for health in [
        HealthStatus::Degraded,
        HealthStatus::Unhealthy,
        HealthStatus::Unknown,
        HealthStatus::Healthy,
    ] {
        subject.insert("demo/a/x", health).await;
        let found = subject.0.directory().info(&id("demo/a/x")).await;
        assert_eq!(found, Some(info("demo/a/x", health)));
    }
    let other = subject.0.directory().info(&id("demo/b/x")).await;
    assert_eq!(other, Some(info("demo/b/x", HealthStatus::Healthy)));
}
