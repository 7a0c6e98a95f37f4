//! Services that each break a sentence, and the cases that find them out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod others;
mod routers;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::yield_now;

use wasm_core::{
    ComponentDirectory, ComponentId, ComponentInfo, ComponentStorage, StorageError, StorageUsage,
};
use wasm_testkit::suites::directory::{self, DirectoryBench};
use wasm_testkit::suites::{router, storage};
use wasm_testkit::{Case, Conditions, MemoryDirectory, MemoryStorage, Time};

use routers::{ROUTERS, Routing};

/// How a storage goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    CountsNoKeys,
    CountsOnlyBytes,
    CountsWhatIsReplaced,
    CountsCharacters,
    HasOneQuotaForAll,
    KnowsNoQuota,
    IsShared,
    IgnoresCaseOfOwners,
    IgnoresCaseOfKeys,
    KeepsTheFirst,
    EndsValuesAtAZero,
    TakesEmptyForMissing,
    ForgetsToDelete,
    ObjectsToDeletingNothing,
    DeletesWhatItCannotReplace,
    ListsBackwards,
    ListsFromAfterOn,
    ListsOneMore,
    IgnoresPrefixes,
    TakesPrefixesForPatterns,
    ListsWhatWasDeleted,
    TakesAfterForAPage,
    ChecksThenWrites,
    WritesInTwoSteps,
    CountsNoKeysInUsage,
}

use Flaw::{
    ChecksThenWrites, CountsCharacters, CountsNoKeys, CountsNoKeysInUsage, CountsOnlyBytes,
    CountsWhatIsReplaced, DeletesWhatItCannotReplace, EndsValuesAtAZero, ForgetsToDelete,
    HasOneQuotaForAll, IgnoresCaseOfKeys, IgnoresCaseOfOwners, IgnoresPrefixes, IsShared,
    KeepsTheFirst, KnowsNoQuota, ListsBackwards, ListsFromAfterOn, ListsOneMore,
    ListsWhatWasDeleted, ObjectsToDeletingNothing, TakesAfterForAPage, TakesEmptyForMissing,
    TakesPrefixesForPatterns, WritesInTwoSteps,
};

/// What must be said of each.
const STORAGES: &[(Flaw, &[&str])] = &[
    (CountsNoKeys, &["the_quota_counts_keys_and_values"]),
    (
        CountsOnlyBytes,
        &[
            "every_key_counts_besides_its_bytes",
            "a_quota_is_one_of_keys_too",
        ],
    ),
    (CountsWhatIsReplaced, &["what_is_replaced_no_longer_counts"]),
    (CountsCharacters, &["the_quota_counts_keys_and_values"]),
    (HasOneQuotaForAll, &["every_owner_has_a_quota_of_its_own"]),
    (
        KnowsNoQuota,
        &[
            "the_quota_counts_keys_and_values",
            "a_refused_write_changes_nothing",
            "under_a_lowered_quota_a_store_can_only_shrink",
        ],
    ),
    (
        IsShared,
        &[
            "owners_do_not_see_each_other",
            "no_key_reaches_another_owner",
        ],
    ),
    (
        IgnoresCaseOfOwners,
        &["ids_that_look_alike_are_different_owners"],
    ),
    (
        IgnoresCaseOfKeys,
        &[
            "keys_are_texts_of_any_kind",
            "what_was_never_stored_is_none",
        ],
    ),
    (KeepsTheFirst, &["the_latest_value_counts"]),
    (
        EndsValuesAtAZero,
        &["values_are_bytes_of_any_kind_and_length"],
    ),
    (
        TakesEmptyForMissing,
        &[
            "what_is_stored_is_what_was_set",
            "a_key_exists_from_when_it_is_set_until_it_is_deleted",
        ],
    ),
    (
        ForgetsToDelete,
        &[
            "what_is_deleted_no_longer_counts",
            "usage_is_what_the_quota_counts",
        ],
    ),
    (
        ObjectsToDeletingNothing,
        &["deleting_what_is_not_there_changes_nothing"],
    ),
    (
        DeletesWhatItCannotReplace,
        &["a_refused_write_changes_nothing"],
    ),
    (ListsBackwards, &["keys_are_listed_in_order_of_bytes"]),
    (ListsFromAfterOn, &["keys_are_listed_after_another"]),
    (ListsOneMore, &["no_more_keys_are_listed_than_asked_for"]),
    (IgnoresPrefixes, &["keys_are_listed_by_prefix"]),
    (TakesPrefixesForPatterns, &["a_prefix_is_no_pattern"]),
    (ListsWhatWasDeleted, &["what_was_deleted_is_not_listed"]),
    (TakesAfterForAPage, &["pages_hold_every_key_once"]),
    (
        ChecksThenWrites,
        &["a_quota_is_not_exceeded_by_writing_at_once"],
    ),
    (
        WritesInTwoSteps,
        &["a_dropped_write_is_done_whole_or_not_at_all"],
    ),
    (CountsNoKeysInUsage, &["usage_is_what_the_quota_counts"]),
];

struct Storage {
    inner: MemoryStorage,
    flaw: Flaw,
    deleted: Mutex<BTreeSet<String>>,
}

fn flawed(flaw: Flaw) -> storage::Subject {
    Arc::new(Storage {
        inner: MemoryStorage::new(),
        flaw,
        deleted: Mutex::default(),
    })
}

impl Storage {
    fn owner(&self, owner: &ComponentId) -> ComponentId {
        match self.flaw {
            IsShared => "all/of/them".parse().unwrap(),
            IgnoresCaseOfOwners => owner.to_string().to_lowercase().parse().unwrap(),
            _ => owner.clone(),
        }
    }

    fn key(&self, key: &str) -> String {
        match self.flaw {
            IgnoresCaseOfKeys => key.to_lowercase(),
            _ => key.to_owned(),
        }
    }

    async fn bytes_of(&self, owner: &ComponentId, key: &str) -> u64 {
        let value = self.inner.get(owner, key).await.unwrap();
        value.map_or(0, |value| (key.len() + value.len()) as u64)
    }
}

#[async_trait]
impl ComponentStorage for Storage {
    async fn get(&self, owner: &ComponentId, key: &str) -> Result<Option<Bytes>, StorageError> {
        let value = self.inner.get(&self.owner(owner), &self.key(key)).await?;
        Ok(value.filter(|value| self.flaw != TakesEmptyForMissing || !value.is_empty()))
    }

    async fn set(
        &self,
        owner: &ComponentId,
        key: &str,
        value: Bytes,
        quota_bytes: u64,
    ) -> Result<(), StorageError> {
        let (inner, owner, key) = (&self.inner, self.owner(owner), self.key(key));
        let used = inner.usage(&owner).await?.used_bytes;
        let (mut value, mut quota) = (value, quota_bytes);
        let keys = inner.list_keys(&owner, "", None, usize::MAX).await?;
        match self.flaw {
            CountsNoKeys => {
                let names: usize = keys.iter().map(String::len).sum::<usize>() + key.len();
                quota = quota.saturating_add(names as u64);
            }
            CountsOnlyBytes => {
                let keys = keys.len() as u64 + 1;
                quota = quota.saturating_add(StorageUsage::of(0, keys).used_bytes);
            }
            CountsCharacters => {
                let more = key.len() - key.chars().count();
                quota = quota.saturating_add(more as u64);
            }
            CountsWhatIsReplaced => {
                quota = quota.saturating_sub(self.bytes_of(&owner, &key).await);
            }
            HasOneQuotaForAll => {
                for other in ["demo/a/main", "demo/b/main"] {
                    let other: ComponentId = other.parse().unwrap();
                    if other != owner {
                        let theirs = inner.usage(&other).await?.used_bytes;
                        quota = quota.saturating_sub(theirs);
                    }
                }
            }
            KnowsNoQuota => quota = u64::MAX,
            EndsValuesAtAZero => {
                let end = value.iter().position(|byte| *byte == 0);
                value.truncate(end.unwrap_or(value.len()));
            }
            KeepsTheFirst if inner.exists(&owner, &key).await? => return Ok(()),
            ChecksThenWrites => {
                let more = (key.len() + value.len()) as u64;
                if used.saturating_add(StorageUsage::of(more, 1).used_bytes) > quota {
                    return Err(StorageError::QuotaExceeded);
                }
                yield_now().await;
                quota = u64::MAX;
            }
            WritesInTwoSteps => {
                inner.delete(&owner, &key).await?;
                yield_now().await;
            }
            _ => {}
        }
        let outcome = inner.set(&owner, &key, value, quota).await;
        if outcome.is_err() && self.flaw == DeletesWhatItCannotReplace {
            inner.delete(&owner, &key).await?;
        }
        outcome
    }

    async fn delete(&self, owner: &ComponentId, key: &str) -> Result<(), StorageError> {
        let (owner, key) = (self.owner(owner), self.key(key));
        match self.flaw {
            ForgetsToDelete => {
                let quota = u64::MAX;
                self.inner.set(&owner, &key, Bytes::new(), quota).await
            }
            ObjectsToDeletingNothing if !self.inner.exists(&owner, &key).await? => {
                Err(StorageError::NotFound(key))
            }
            _ => {
                self.inner.delete(&owner, &key).await?;
                self.deleted.lock().unwrap().insert(key);
                Ok(())
            }
        }
    }

    async fn list_keys(
        &self,
        owner: &ComponentId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StorageError> {
        let owner = self.owner(owner);
        let prefix = if self.flaw == IgnoresPrefixes {
            ""
        } else {
            prefix
        };
        let limit = limit.saturating_add(usize::from(self.flaw == ListsOneMore));
        let after = after.filter(|_| self.flaw != TakesAfterForAPage);
        let mut keys = self.inner.list_keys(&owner, prefix, after, limit).await?;
        match (self.flaw, after) {
            (TakesPrefixesForPatterns, _) => {
                let like = |key: &String| {
                    let mut characters = key.chars();
                    prefix.chars().all(|wanted| {
                        let found = characters.next();
                        found.is_some() && wanted == '_' || found == Some(wanted)
                    })
                };
                keys = self.inner.list_keys(&owner, "", after, limit).await?;
                keys.retain(like);
            }
            (ListsWhatWasDeleted, None) => {
                keys.extend(self.deleted.lock().unwrap().iter().cloned());
                keys.sort();
                keys.truncate(limit);
            }
            (ListsBackwards, _) => keys.reverse(),
            (ListsFromAfterOn, Some(after)) if self.inner.exists(&owner, after).await? => {
                keys.insert(0, after.to_owned());
                keys.truncate(limit);
            }
            _ => {}
        }
        Ok(keys)
    }

    async fn usage(&self, owner: &ComponentId) -> Result<StorageUsage, StorageError> {
        let owner = self.owner(owner);
        let mut usage = self.inner.usage(&owner).await?;
        if self.flaw == CountsNoKeysInUsage {
            let keys = self.inner.list_keys(&owner, "", None, usize::MAX).await?;
            usage.used_bytes -= keys.iter().map(|key| key.len() as u64).sum::<u64>();
        }
        Ok(usage)
    }
}

/// How a directory goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    AsItShould,
    Twice,
    Backwards,
    FromAfterOn,
    OneMore,
    OfThoseWhoLeft,
    OfTheFirstHealth,
}

const DIRECTORIES: &[(Listing, &[&str])] = &[
    (Listing::Twice, &["ids_ascend_and_come_once"]),
    (Listing::Backwards, &["ids_ascend_and_come_once"]),
    (Listing::FromAfterOn, &["ids_come_after_another"]),
    (Listing::OneMore, &["no_more_ids_come_than_asked_for"]),
    (Listing::OfThoseWhoLeft, &["who_has_left_is_none"]),
    (
        Listing::OfTheFirstHealth,
        &["an_entry_is_what_was_last_known"],
    ),
];

struct Directory {
    inner: MemoryDirectory,
    listing: Listing,
}

#[async_trait]
impl ComponentDirectory for Directory {
    async fn list(&self, after: Option<&ComponentId>, limit: usize) -> Vec<ComponentId> {
        let more = usize::from(self.listing == Listing::OneMore);
        let mut ids = self.inner.list(after, limit.saturating_add(more)).await;
        match (self.listing, after) {
            (Listing::Twice, _) if limit > ids.len() => ids.extend(ids.clone()),
            (Listing::Backwards, _) => ids.reverse(),
            (Listing::FromAfterOn, Some(after)) if limit > ids.len() => {
                ids.insert(0, after.clone());
            }
            _ => {}
        }
        ids
    }

    async fn info(&self, id: &ComponentId) -> Option<ComponentInfo> {
        self.inner.info(id).await
    }
}

#[async_trait]
impl DirectoryBench for Directory {
    fn directory(&self) -> &dyn ComponentDirectory {
        self
    }

    async fn insert(&self, info: ComponentInfo) {
        let known = self.inner.info(&info.id).await;
        if self.listing != Listing::OfTheFirstHealth || known.is_none() {
            self.inner.insert(info);
        }
    }

    async fn remove(&self, id: &ComponentId) {
        if self.listing != Listing::OfThoseWhoLeft {
            self.inner.remove(id);
        }
    }
}

/// What a suite says, by name of the case.
fn verdict<S: 'static, F: Copy>(
    cases: Vec<Case<S, F>>,
    make: impl Fn() -> S + Clone + Send + 'static,
) -> BTreeMap<&'static str, String> {
    let conditions = Conditions {
        time: Time::Paused,
        patience: Duration::from_secs(10),
    };
    let mut verdict = BTreeMap::new();
    for case in cases {
        if let Err(broken) = case.run(conditions, make.clone()) {
            assert_eq!(broken.sentence, case.sentence());
            verdict.insert(case.name(), broken.finding);
        }
    }
    verdict
}

#[test]
fn a_storage_without_a_flaw_passes() {
    let found = verdict(storage::cases(), || flawed(Flaw::None));
    assert_eq!(found, BTreeMap::new());
}

#[test]
fn every_broken_storage_is_found_out() {
    for (flaw, expected) in STORAGES {
        let found = verdict(storage::cases(), || flawed(*flaw));
        for case in *expected {
            let name = format!("storage::{case}");
            assert!(found.contains_key(&*name), "{flaw:?}: {name}, {found:#?}");
        }
    }
}

/// That each is found out by the cases beside it.
fn all_are_found_out<W: Copy + Debug, S: 'static, F: Copy, M>(
    theme: &str,
    broken: &[(W, &[&str])],
    cases: fn() -> Vec<Case<S, F>>,
    with: impl Fn(W) -> M,
) where
    M: Fn() -> S + Clone + Send + 'static,
{
    for (what, expected) in broken {
        let found = verdict(cases(), with(*what));
        for case in *expected {
            let name = format!("{theme}::{case}");
            assert!(found.contains_key(&*name), "{what:?}: {name}, {found:#?}");
        }
    }
}

#[test]
fn a_router_that_does_as_it_should_passes() {
    let found = verdict(router::cases(), || routers::subject(Routing::AsItShould));
    assert_eq!(found, BTreeMap::new());
}

#[test]
fn every_broken_router_is_found_out() {
    all_are_found_out("router", ROUTERS, router::cases, |routing| {
        move || routers::subject(routing)
    });
}

#[test]
fn every_broken_directory_is_found_out() {
    let with = |listing| {
        let inner = MemoryDirectory::new;
        move || {
            directory::Subject::new(Directory {
                inner: inner(),
                listing,
            })
        }
    };
    let found = verdict(directory::cases(), with(Listing::AsItShould));
    assert_eq!(found, BTreeMap::new());
    for (listing, expected) in DIRECTORIES {
        let found = verdict(directory::cases(), with(*listing));
        for case in *expected {
            let name = format!("directory::{case}");
            assert!(
                found.contains_key(&*name),
                "{listing:?}: {name}, {found:#?}"
            );
        }
    }
}
