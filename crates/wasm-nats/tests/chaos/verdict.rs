//! What became of every message.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::keeper::{KEEPERS, engine, keeper};
use crate::member::{Member, SECOND, Setup, settled};

/// What is stored and what is dead, once no other node is left.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) handled: u64,
    pub(crate) dead: u64,
    /// Handled, and a dead letter besides: it had been handled when its node died.
    pub(crate) both: u64,
    pub(crate) twice: Vec<String>,
    pub(crate) lost: Vec<String>,
    /// How many were handled only by the judge.
    pub(crate) late: usize,
    pub(crate) causes: BTreeMap<String, u64>,
}

impl Verdict {
    pub(crate) fn is_fine(&self) -> bool {
        self.twice.is_empty() && self.lost.is_empty()
    }
}

/// Tries this for a minute.
async fn patiently<T, E: Debug>(mut what: impl AsyncFnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match what().await {
            Ok(done) => return done,
            Err(error) => assert!(began.elapsed() < 60 * SECOND, "it is not read: {error:?}"),
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Looks at all that was accepted.
pub(crate) async fn judge(setup: &Setup, accepted: &BTreeSet<String>) -> Verdict {
    let member = setup.join_with("judge", engine).await.expect("a node");
    settled(setup.partitions, &[&member]).await;
    let mut verdict = look(&member, accepted).await;
    if !verdict.lost.is_empty() {
        // What still waits is not lost, and not what this is about either: it is told.
        sleep(20 * SECOND).await;
        let later = look(&member, accepted).await;
        verdict.late = verdict.lost.len() - later.lost.len().min(verdict.lost.len());
        verdict.lost = later.lost;
    }
    member.leave().await;
    verdict
}

async fn look(member: &Member, accepted: &BTreeSet<String>) -> Verdict {
    let storage = &member.host.services().storage;
    let mut verdict = Verdict::default();
    let mut effects = BTreeMap::new();
    for number in 0..KEEPERS {
        let id = keeper(number);
        // On a machine that is busy with other things this node may lose its lease, too.
        let keys = patiently(async || storage.list_keys(&id, "", None, usize::MAX).await).await;
        for key in keys {
            let value = patiently(async || storage.get(&id, &key).await).await;
            effects.insert(key, value.map_or(0, |it| it.len()));
        }
    }
    let mut dead = BTreeSet::new();
    let reader = member.node.connection();
    let mut after = 0;
    loop {
        let letters = patiently(async || reader.dead_letters(after, 1_000).await).await;
        let Some(last) = letters.last() else {
            break;
        };
        after = last.number;
        for letter in letters {
            *verdict.causes.entry(letter.cause).or_default() += 1;
            let text = letter.message.payload.as_bytes().to_vec();
            dead.insert(String::from_utf8(text).expect("a text"));
        }
    }
    for text in accepted {
        let count = effects.get(text).copied().unwrap_or(0);
        let is_dead = dead.contains(text);
        verdict.handled += u64::from(count > 0);
        verdict.dead += u64::from(is_dead);
        verdict.both += u64::from(is_dead && count > 0);
        if count == 0 && !is_dead {
            verdict.lost.push(text.clone());
        }
    }
    verdict.twice = effects
        .into_iter()
        .filter(|(_, count)| *count > 1)
        .map(|(text, _)| text)
        .collect();
    verdict
}
