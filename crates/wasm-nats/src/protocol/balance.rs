//! Which partitions a node claims and which it gives back. Every node decides for itself from
//! what it sees; when all see the same, as many partitions move as must.

use std::collections::{BTreeMap, BTreeSet};

/// What a node sees: the nodes that are alive, and who of them owns which partition. One
/// without an owner that is alive is free.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// How many partitions there are.
    pub partitions: u16,
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
        let Some(share) = self.share(node) else {
            // It must not own any.
            plan.release = self.owned(node).collect();
            return plan;
        };
        let owned: Vec<_> = self.owned(node).collect();
        if owned.len() > share {
            plan.release = owned[share..].to_vec();
            return plan;
        }
        let mut free = self.free();
        // Those who claim at the same time begin at different places.
        if !free.is_empty() {
            let place = self.nodes.iter().position(|it| it == node).unwrap_or(0);
            let begin = place * free.len() / self.nodes.len();
            free.rotate_left(begin);
        }
        free.truncate(share - owned.len());
        plan.claim = free;
        plan
    }

    /// The same for a node that has only these: what it is said to own besides it must claim anew
    /// or give back, or nobody would have it. That may be because it was never told that its
    /// claim was stored.
    pub fn plan_with(&self, node: &str, has: impl Fn(u16) -> bool) -> Plan {
        let mut plan = self.plan(node);
        let claim_again = self
            .owned(node)
            .filter(|it| !has(*it) && !plan.release.contains(it));
        let mut claim: Vec<_> = claim_again.collect();
        claim.append(&mut plan.claim);
        plan.claim = claim;
        plan
    }

    /// How many partitions a node should own: all have the same number or one more, and those
    /// that own most now have that one more.
    fn share(&self, node: &str) -> Option<usize> {
        let mut ranked: Vec<_> = self.nodes.difference(&self.leaving).collect();
        if !ranked.iter().any(|it| *it == node) {
            return None;
        }
        let (partitions, nodes) = (usize::from(self.partitions), ranked.len());
        let (least, more) = (partitions / nodes, partitions % nodes);
        ranked.sort_by_key(|it| usize::MAX - self.owned(it).count());
        let rank = ranked.iter().position(|it| *it == node)?;
        Some(least + usize::from(rank < more))
    }

    fn owned<'a>(&'a self, node: &'a str) -> impl Iterator<Item = u16> + 'a {
        let its = self.owners.iter().filter(move |(_, owner)| *owner == node);
        its.map(|(partition, _)| *partition)
    }

    fn free(&self) -> Vec<u16> {
        let is_free = |it: &u16| {
            let owner = self.owners.get(it);
            owner.is_none_or(|owner| !self.nodes.contains(owner))
        };
        (0..self.partitions).filter(is_free).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[&str]) -> View {
        View {
            partitions: 64,
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
        let nodes = view.nodes.iter();
        nodes.map(|node| view.owned(node).count()).collect()
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
        let its: Vec<_> = view.owned("a").collect();
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
        let owned: Vec<_> = view.owned("a").collect();
        let plan = view.plan_with("a", |it| it != owned[3]);
        assert_eq!((plan.claim, plan.release), (vec![owned[3]], vec![]));
        let one = view.owned("b").next().unwrap();
        view.owners.insert(one, "a".to_owned());
        let last = view.owned("a").last().unwrap();
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
}
