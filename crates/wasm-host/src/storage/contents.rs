//! Whose data a store has, and whether all of it is in order.

use std::collections::BTreeMap;

use redb::{Database, ReadableDatabase, ReadableTable};

use wasm_core::text::Escaped;

use super::open::{ENTRIES, USAGES};

/// What a whole store has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct StoreContents {
    /// Whose data there is, with the bytes of all keys and values and the number of keys, by
    /// the texts of their ids.
    pub owners: BTreeMap<String, (u64, u64)>,
    /// What is not in order, each as a sentence; nothing of a store that is.
    pub problems: Vec<String>,
}

/// Reads everything that there is.
pub(super) fn contents(database: &Database) -> Result<StoreContents, redb::Error> {
    let transaction = database.begin_read()?;
    let mut contents = StoreContents::default();
    let entries = transaction.open_table(ENTRIES)?;
    for entry in entries.iter()? {
        let (key, value) = entry?;
        let (owner, key) = key.value();
        let bytes = (key.len() + value.value().len()) as u64;
        let counted = contents.owners.entry(owner.to_owned()).or_default();
        *counted = (counted.0 + bytes, counted.1 + 1);
    }
    let usages = transaction.open_table(USAGES)?;
    let mut known = BTreeMap::new();
    for usage in usages.iter()? {
        let (owner, counts) = usage?;
        known.insert(owner.value().to_owned(), counts.value());
    }
    for owner in contents.owners.keys().chain(known.keys()) {
        let found = contents.owners.get(owner).copied().unwrap_or_default();
        let written = known.get(owner).copied().unwrap_or_default();
        if found != written {
            contents.problems.push(format!(
                "{} keeps {} keys and {} bytes, and is charged for {} keys and {} bytes",
                Escaped::new(owner),
                found.1,
                found.0,
                written.1,
                written.0
            ));
        }
    }
    contents.problems.sort();
    contents.problems.dedup();
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::{RedbStorage, StoreReader};
    use wasm_core::{ComponentId, ComponentStorage as _};

    #[tokio::test]
    async fn what_is_counted_is_what_there_is() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("store.redb");
        let contents = || StoreReader::open(&path).unwrap().contents().unwrap();
        RedbStorage::open(&path).unwrap().close().await.unwrap();
        assert_eq!(contents(), StoreContents::default());
        let storage = RedbStorage::open(&path).unwrap();
        let id = |name| ComponentId::new("demo", name, "main").unwrap();
        for (name, key, value) in [("a", "k", "one"), ("a", "key", ""), ("b", "k", "x")] {
            let owner = id(name);
            let set = storage.set(&owner, key, value.into(), 1 << 20);
            set.await.unwrap();
        }
        storage.close().await.unwrap();
        let contents = contents();
        let owners = [
            ("demo/a/main".to_owned(), (7, 2)),
            ("demo/b/main".to_owned(), (2, 1)),
        ];
        assert_eq!(contents.owners, BTreeMap::from(owners));
        assert_eq!(contents.problems, [""; 0]);

        // As damage that nothing else shows.
        let database = Database::open(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let mut usages = transaction.open_table(USAGES).unwrap();
            usages.insert("demo/a/main", (8, 2)).unwrap();
            usages.insert("demo/c/main", (1, 1)).unwrap();
        }
        transaction.commit().unwrap();
        let problems = super::contents(&database).unwrap().problems;
        assert_eq!(
            problems,
            [
                "demo/a/main keeps 2 keys and 7 bytes, and is charged for 2 keys and 8 bytes",
                "demo/c/main keeps 0 keys and 0 bytes, and is charged for 1 keys and 1 bytes",
            ]
        );
    }
}
