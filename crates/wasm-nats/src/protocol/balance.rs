//! Which partitions a node claims and which it gives back. Every node decides for itself from
//! what it sees; when all see the same, as many partitions move as must.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a node sees: the nodes that are alive, and who of them owns which partition. One
/// without an owner that is alive is free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// The partitions, in pools that are balanced each for itself: a node may own only some.
    pub pools: Vec<Range<u16>>,
    /// The nodes that own partitions of these pools only. One that names a pool comes before
    /// all that own whatever there is.
    pub only: BTreeMap<String, BTreeSet<usize>>,
    /// Who is alive: what these own is not free.
    pub nodes: BTreeSet<String>,
    /// Those of them that are giving back all that they own, and should own nothing.
    pub leaving: BTreeSet<String>,
    /// By partition.
    pub owners: BTreeMap<u16, String>,
}

/// What a node should do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be claimed, all of which are free.
    pub claim: Vec<u16>,
    /// To be given back, for those who have fewer.
    pub release: Vec<u16>,
}

impl View {
    /// What this node should do.
    pub fn plan(&self, node: &str) -> Plan {
        let mut plan = Plan::default();
        for pool in 0..self.pools.len() {
            self.plan_of(pool, node, &mut plan);
        }
        plan
    }

    fn plan_of(&self, pool: usize, node: &str, plan: &mut Plan) {
        let owned: Vec<_> = self.owned(pool, node).collect();
        let candidates = self.candidates(pool);
        let place = candidates.iter().position(|it| *it == node);
        let Some((place, share)) = place.zip(self.share(pool, node)) else {
            // It must not own any.
            plan.release.extend(owned);
            return;
        };
        if owned.len() > share {
            plan.release.extend(&owned[share..]);
            return;
        }
        let mut free = self.free(pool);
        // Those who claim at the same time begin at different places.
        if !free.is_empty() {
            let begin = place * free.len() / candidates.len();
            free.rotate_left(begin);
        }
        free.truncate(share - owned.len());
        plan.claim.append(&mut free);
    }

    /// Who should own the partitions of a pool: those that name it, or else those that own
    /// whatever there is.
    fn candidates(&self, pool: usize) -> Vec<&String> {
        let there: Vec<_> = self.nodes.difference(&self.leaving).collect();
        let names_it = |it: &&String| self.only.get(*it).is_some_and(|only| only.contains(&pool));
        let named: Vec<_> = there.iter().copied().filter(names_it).collect();
        if !named.is_empty() {
            return named;
        }
        let mut all = there;
        all.retain(|it| !self.only.contains_key(*it));
        all
    }

    /// The pools that no node should own.
    pub fn homeless(&self) -> BTreeSet<usize> {
        let is_homeless = |pool: &usize| self.candidates(*pool).is_empty();
        (0..self.pools.len()).filter(is_homeless).collect()
    }

    /// The same for a node that has only these: what it is said to own besides it must claim anew
    /// or give back, or nobody would have it. That may be because it was never told that its
    /// claim was stored.
    pub fn plan_with(&self, node: &str, has: impl Fn(u16) -> bool) -> Plan {
        let mut plan = self.plan(node);
        let owned = (0..self.pools.len()).flat_map(|pool| self.owned(pool, node));
        let claim_again = owned.filter(|it| !has(*it) && !plan.release.contains(it));
        let mut claim: Vec<_> = claim_again.collect();
        claim.append(&mut plan.claim);
        plan.claim = claim;
        plan
    }

    /// How many partitions of a pool a node should own: all have the same number or one more, and
    /// those that own most now have that one more.
    fn share(&self, pool: usize, node: &str) -> Option<usize> {
        let mut ranked = self.candidates(pool);
        if ranked.is_empty() {
            return None;
        }
        let (partitions, nodes) = (self.pools[pool].len(), ranked.len());
        let (least, more) = (partitions / nodes, partitions % nodes);
        ranked.sort_by_key(|it| usize::MAX - self.owned(pool, it).count());
        let rank = ranked.iter().position(|it| *it == node)?;
        Some(least + usize::from(rank < more))
    }

    fn owned<'a>(&'a self, pool: usize, node: &'a str) -> impl Iterator<Item = u16> + 'a {
        let its = self.owners.range(self.pools[pool].clone());
        let its = its.filter(move |(_, owner)| *owner == node);
        its.map(|(partition, _)| *partition)
    }

    fn free(&self, pool: usize) -> Vec<u16> {
        let is_free = |it: &u16| {
            let owner = self.owners.get(it);
            owner.is_none_or(|owner| !self.nodes.contains(owner))
        };
        self.pools[pool].clone().filter(is_free).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[&str]) -> View {
        View {
            pools: std::iter::once(0..64).collect(),
            only: BTreeMap::new(),
            nodes: nodes.iter().map(|it| (*it).to_owned()).collect(),
            leaving: BTreeSet::new(),
            owners: BTreeMap::new(),
        }
    }

    /// Everyone does what it plans, until nobody plans anything; how many partitions changed
    /// their owner.
    fn settle(view: &mut View) -> usize {
        let before = view.owners.clone();
        for round in 0.. {
            assert!(round < 10, "they go on for ever");
            let mut is_settled = true;
            for node in view.nodes.clone() {
                let plan = view.plan(&node);
                is_settled &= plan == Plan::default();
                for partition in plan.release {
                    view.owners.remove(&partition);
                }
                for partition in plan.claim {
                    view.owners.insert(partition, node.clone());
                }
            }
            if is_settled {
                break;
            }
        }
        let moved = |(partition, owner): &(&u16, &String)| before.get(partition) != Some(*owner);
        view.owners.iter().filter(moved).count()
    }

    fn counts(view: &View) -> Vec<usize> {
        let count = |node: &String| view.owners.values().filter(|it| *it == node).count();
        view.nodes.iter().map(count).collect()
    }

    #[test]
    fn nothing_moves_that_need_not() {
        let mut view = view(&["a"]);
        assert_eq!(settle(&mut view), 64);
        view.nodes.insert("b".to_owned());
        assert_eq!((settle(&mut view), counts(&view)), (32, vec![32, 32]));
        view.nodes.insert("c".to_owned());
        assert_eq!((settle(&mut view), counts(&view)), (21, vec![22, 21, 21]));
        // Whatever of it was a crash or not.
        view.nodes.remove("b");
        assert_eq!((settle(&mut view), counts(&view)), (21, vec![32, 32]));
        assert_eq!(settle(&mut view), 0);
    }

    #[test]
    fn who_leaves_has_no_share_and_keeps_what_it_has_not_given_back() {
        let mut view = view(&["a", "b"]);
        settle(&mut view);
        view.leaving.insert("a".to_owned());
        let its: Vec<_> = view.owned(0, "a").collect();
        assert_eq!(view.plan("a").release, its);
        assert_eq!(view.plan("b"), Plan::default());
        for given_back in &its[1..] {
            view.owners.remove(given_back);
        }
        assert_eq!(view.plan("b").claim.len(), 31);
        assert!(!view.plan("b").claim.contains(&its[0]));
    }

    #[test]
    fn more_nodes_than_partitions_are_fine() {
        let names: Vec<_> = (0..100).map(|it| format!("n{it:02}")).collect();
        let mut view = view(&names.iter().map(String::as_str).collect::<Vec<_>>());
        settle(&mut view);
        let counts = counts(&view);
        assert!(counts.iter().all(|it| *it <= 1));
        assert_eq!(counts.iter().sum::<usize>(), 64);
    }

    #[test]
    fn what_a_node_has_not_and_is_said_to_own_it_claims_or_gives_back() {
        let mut view = view(&["a", "b"]);
        settle(&mut view);
        let owned: Vec<_> = view.owned(0, "a").collect();
        let plan = view.plan_with("a", |it| it != owned[3]);
        assert_eq!((plan.claim, plan.release), (vec![owned[3]], vec![]));
        let one = view.owned(0, "b").next().unwrap();
        view.owners.insert(one, "a".to_owned());
        let last = view.owned(0, "a").last().unwrap();
        let plan = view.plan_with("a", |it| it != last);
        assert_eq!((plan.claim, plan.release), (vec![], vec![last]));
    }

    #[test]
    fn who_is_not_there_owns_nothing() {
        let mut view = view(&["a"]);
        view.owners.insert(3, "z".to_owned());
        view.owners.insert(4, "gone".to_owned());
        assert_eq!(view.plan("z").release, [3]);
        assert_eq!(view.plan("a").claim.len(), 64);
    }

    /// Five nodes and three pools: `a` and `b` own only the second, `c` only the third.
    fn pinned() -> View {
        let only = [("a", 1), ("b", 1), ("c", 2)];
        View {
            pools: vec![0..8, 8..12, 12..16],
            only: only
                .map(|(node, pool)| (node.to_owned(), BTreeSet::from([pool])))
                .into(),
            ..view(&["a", "b", "c", "d", "e"])
        }
    }

    #[test]
    fn who_names_a_pool_comes_before_who_owns_whatever_there_is() {
        let mut view = pinned();
        assert_eq!(settle(&mut view), 16);
        assert_eq!(counts(&view), [2, 2, 4, 4, 4]);
        assert_eq!(view.owned(2, "c").count(), 4);
        assert_eq!(view.owned(0, "d").count(), 4);
        view.nodes.remove("c");
        assert_eq!((settle(&mut view), counts(&view)), (4, vec![2, 2, 6, 6]));
        view.nodes.insert("c".to_owned());
        assert_eq!((settle(&mut view), counts(&view)), (4, vec![2, 2, 4, 4, 4]));
        view.nodes.remove("a");
        assert_eq!((settle(&mut view), counts(&view)), (2, vec![4, 4, 4, 4]));
        assert_eq!(view.homeless(), BTreeSet::new());
    }

    #[test]
    fn what_nobody_may_own_has_no_home() {
        let mut view = pinned();
        view.nodes = ["a", "d"].map(str::to_owned).into();
        settle(&mut view);
        view.nodes.remove("d");
        assert_eq!(settle(&mut view), 0);
        assert_eq!(view.homeless(), BTreeSet::from([0, 2]));
        // What it is said to own, and should not, it gives back.
        view.owners.insert(13, "a".to_owned());
        assert_eq!(view.plan("a").release, [13]);
    }
}
