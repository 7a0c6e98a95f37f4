//! Which messages a partition has taken up lately. A server that starts again knows the ids only
//! of what is still in its stream, and would store anew what was handled meanwhile if its sender,
//! who was not told, tries again.

use std::collections::BTreeMap;

/// Parts of one sender's numbers that are remembered; the lowest are forgotten first. A number of
/// which nothing is taken up, because the message was refused or waits for a recipient that is
/// slower than others, begins another part: there are as many as may wait for a recipient.
const PARTS: usize = 1_024;

/// The numbers of messages that were taken up, by sender: numbers of one sender count what it has
/// sent to the partition, from 1 on. A message without a number has 0, and is never remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    lately: BTreeMap<String, Numbers>,
    earlier: BTreeMap<String, Numbers>,
}

impl Taken {
    /// A message of this sender is taken up.
    pub fn insert(&mut self, sender: &str, number: u64) {
        if number == 0 {
            return;
        }
        if let Some(numbers) = self.lately.get_mut(sender) {
            return numbers.insert(number);
        }
        let mut numbers = Numbers::default();
        numbers.insert(number);
        self.lately.insert(sender.to_owned(), numbers);
    }

    /// Whether a message of this sender was taken up, as far as that is remembered.
    pub fn contains(&self, sender: &str, number: u64) -> bool {
        let both = [&self.lately, &self.earlier].into_iter();
        let mut both = both.filter_map(|it| it.get(sender));
        both.any(|numbers| numbers.contains(number))
    }

    /// Forgets what was taken up before this was called the last time: called once in a period,
    /// everything is remembered for one at least, and for two at most.
    pub fn forget_earlier(&mut self) {
        self.earlier = std::mem::take(&mut self.lately);
    }

    /// A line for each sender: `SENDER FIRST-LAST FIRST-LAST …`.
    pub(super) fn write(&self, text: &mut String) {
        let mut all = self.earlier.clone();
        for (sender, numbers) in &self.lately {
            let its = all.entry(sender.clone()).or_default();
            numbers
                .0
                .iter()
                .for_each(|(first, last)| its.join(*first, *last));
        }
        for (sender, numbers) in all {
            text.push('\n');
            text.push_str(&sender);
            for (first, last) in numbers.0 {
                text.push_str(&format!(" {first}-{last}"));
            }
        }
    }

    /// What was written, all of it as lately taken up.
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut lately = BTreeMap::<String, Numbers>::new();
        for line in lines {
            let mut words = line.split_ascii_whitespace();
            let numbers = lately.entry(words.next()?.to_owned()).or_default();
            for part in words {
                let (first, last) = part.split_once('-')?;
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                if first > last {
                    return None;
                }
                numbers.join(first, last);
            }
        }
        let earlier = BTreeMap::new();
        Some(Self { lately, earlier })
    }
}

/// Parts of numbers, as the first and the last of each: none touches another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Numbers(BTreeMap<u64, u64>);

impl Numbers {
    fn contains(&self, number: u64) -> bool {
        let before = self.0.range(..=number).next_back();
        before.is_some_and(|(_, last)| *last >= number)
    }

    fn insert(&mut self, number: u64) {
        self.join(number, number);
    }

    fn join(&mut self, mut first: u64, mut last: u64) {
        // From the end on, those that touch it become a part of it.
        while let Some((&its_first, &its_last)) =
            self.0.range(..=last.saturating_add(1)).next_back()
            && its_last.saturating_add(1) >= first
        {
            self.0.remove(&its_first);
            (first, last) = (first.min(its_first), last.max(its_last));
        }
        self.0.insert(first, last);
        if self.0.len() > PARTS {
            self.0.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_any_order_are_as_few_parts_as_can_be() {
        let mut numbers = Numbers::default();
        for number in [5, 3, 9, 4, 4, 0, u64::MAX, u64::MAX - 1, 8] {
            numbers.insert(number);
            assert!(numbers.contains(number));
        }
        let parts = [(0, 0), (3, 5), (8, 9), (u64::MAX - 1, u64::MAX)];
        assert_eq!(numbers.0.into_iter().collect::<Vec<_>>(), parts);
        let mut wide = Numbers::default();
        wide.join(2, 3);
        wide.join(6, 7);
        wide.join(1, 9);
        wide.join(4, 5);
        assert_eq!(wide.0.into_iter().collect::<Vec<_>>(), [(1, 9)]);
    }

    #[test]
    fn the_lowest_of_too_many_parts_are_forgotten() {
        let mut numbers = Numbers::default();
        for number in 0..=PARTS as u64 {
            numbers.insert(2 * number);
        }
        assert!(!numbers.contains(0) && numbers.contains(2));
        assert_eq!(numbers.0.len(), PARTS);
    }

    #[test]
    fn it_is_remembered_for_one_period_at_least() {
        let mut taken = Taken::default();
        taken.insert("a", 7);
        taken.forget_earlier();
        taken.insert("a", 8);
        taken.insert("a", 0);
        let known = [
            ("a", 7, true),
            ("a", 8, true),
            ("b", 7, false),
            ("a", 0, false),
        ];
        for (sender, number, is_known) in known {
            assert_eq!(taken.contains(sender, number), is_known);
        }
        taken.forget_earlier();
        assert!(!taken.contains("a", 7) && taken.contains("a", 8));
        taken.forget_earlier();
        assert_eq!(taken, Taken::default());
    }
}
