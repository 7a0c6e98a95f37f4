//! All that is measured, as long as somebody may want to know it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Key;

use crate::metrics::text::Text;
use crate::metrics::value::Value;

/// The label that says which component it is about.
const COMPONENT: &str = "component";

/// For how long after it was last measured a component that is gone is shown: longer than anybody
/// waits from one scrape to the next, so that all who scrape see how it ended.
const SHOWN: Duration = Duration::from_secs(10 * 60);

/// How many components may have something that nobody measures at the moment: those that sleep
/// and those that are gone.
const KEPT: usize = 10_000;

/// How many more there may be until it is looked for those that are too many, which takes a look
/// at all.
const TRIMMED: usize = KEPT / 10;

/// Components that are shown while others wait to be measured.
const AT_A_TIME: usize = 64;

/// What is measured of components, and of anything else.
#[derive(Default)]
pub(crate) struct Series(Mutex<Subjects>);

#[derive(Default)]
struct Subjects {
    components: HashMap<Box<str>, Subject>,
    /// What is about no component stays for good.
    others: HashMap<Key, Value>,
    /// When there are so many components, it is looked whether they are too many.
    trim_at: usize,
}

struct Subject {
    values: HashMap<Key, Value>,
    /// When it was last seen that something of it is measured.
    measured: Instant,
}

impl Series {
    /// What is measured under this name and these labels, which is made if it is not there.
    pub(crate) fn value(&self, key: &Key, make: fn(&str) -> Value, now: Instant) -> Value {
        let mut label = key.labels().filter(|label| label.key() == COMPONENT);
        let mut subjects = self.lock();
        let values = match label.next() {
            Some(component) => subjects.measured(component.value(), now),
            None => &mut subjects.others,
        };
        if let Some(value) = values.get(key) {
            return value.clone();
        }
        let value = make(key.name());
        values.insert(key.clone(), value.clone());
        value
    }

    /// Writes all of it, in an order that stays. Then it forgets what nobody misses: components
    /// that are not there and have been shown for long enough, and those that are too many.
    pub(crate) fn write(&self, text: &mut Text, is_there: impl Fn(&str) -> bool, now: Instant) {
        // Not asked under the lock: whoever answers may wait for it, to measure something.
        let ask = |id: Box<str>| (is_there(&id), id);
        let components: Vec<_> = self.components().into_iter().map(ask).collect();
        write_values(text, &self.lock().others);
        for some in components.chunks(AT_A_TIME) {
            let mut subjects = self.lock();
            for (is_there, id) in some {
                subjects.write(text, id, *is_there, now);
            }
        }
        self.lock().trim(now);
    }

    fn components(&self) -> Vec<Box<str>> {
        let mut components: Vec<_> = self.lock().components.keys().cloned().collect();
        components.sort_unstable();
        components
    }

    fn lock(&self) -> MutexGuard<'_, Subjects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subjects {
    /// The values of a component of which something is measured now.
    fn measured(&mut self, id: &str, now: Instant) -> &mut HashMap<Key, Value> {
        if !self.components.contains_key(id) {
            if self.components.len() >= self.trim_at {
                self.trim(now);
            }
            let subject = Subject {
                values: HashMap::new(),
                measured: now,
            };
            self.components.insert(id.into(), subject);
        }
        let subject = self.components.get_mut(id);
        let subject = subject.expect("it was put there, if it was not there");
        subject.measured = now;
        &mut subject.values
    }

    /// Writes what there is of a component, and forgets it if it is gone. What is not held does
    /// not change in between, so that nothing is forgotten that was not written.
    fn write(&mut self, text: &mut Text, id: &str, is_there: bool, now: Instant) {
        let Some(subject) = self.components.get_mut(id) else {
            return;
        };
        let is_held = subject.is_held();
        write_values(text, &subject.values);
        if is_held {
            subject.measured = now;
        } else if !is_there && now > subject.measured + SHOWN {
            self.components.remove(id);
        }
    }

    /// Forgets those that are too many, beginning with those of which nothing was measured for
    /// the longest time.
    fn trim(&mut self, now: Instant) {
        let mut idle = Vec::new();
        for subject in self.components.values_mut() {
            match subject.is_held() {
                true => subject.measured = now,
                false => idle.push(subject.measured),
            }
        }
        if let Some(surplus) = idle.len().checked_sub(KEPT + 1) {
            let (_, latest, _) = idle.select_nth_unstable(surplus);
            self.components
                .retain(|_, subject| subject.measured > *latest || subject.is_held());
        }
        self.trim_at = self.components.len() + TRIMMED;
    }
}

impl Subject {
    /// Whether somebody can measure something of it without asking for it.
    fn is_held(&mut self) -> bool {
        self.values.values_mut().any(Value::is_held)
    }
}

fn write_values(text: &mut Text, values: &HashMap<Key, Value>) {
    let mut values: Vec<_> = values.iter().collect();
    values.sort_unstable_by_key(|(key, _)| *key);
    for (key, value) in values {
        text.add(key, value);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;

    use metrics::{Counter, Label};

    use super::*;

    const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn key(component: &str) -> Key {
        Key::from_parts("calls", vec![Label::new(COMPONENT, component.to_owned())])
    }

    fn counter(series: &Series, key: &Key, now: Instant) -> Counter {
        match series.value(key, Value::counter, now) {
            Value::Counter(count) => Counter::from_arc(count),
            _ => panic!("it is something else"),
        }
    }

    /// What is shown of each component, and of none.
    fn shown(series: &Series, is_there: bool, now: Instant) -> HashMap<String, u64> {
        let mut text = Text::default();
        series.write(&mut text, |_| is_there, now);
        let text = text.finish(&HashMap::new());
        let lines = text.lines().filter(|line| line.starts_with("calls"));
        lines
            .map(|line| {
                let (of, count) = line.rsplit_once(' ').unwrap();
                let of = of.split('"').nth(1).unwrap_or_default();
                (of.to_owned(), count.parse().unwrap())
            })
            .collect()
    }

    #[test]
    fn what_is_gone_is_shown_once_more_and_what_is_held_counts_on() {
        let (series, now) = (Series::default(), Instant::now());
        counter(&series, &Key::from_name("calls"), now).increment(7);
        counter(&series, &key("gone"), now).increment(1);
        let held = counter(&series, &key("held"), now);
        let all =
            |count| [("", 7), ("gone", 1), ("held", count)].map(|(of, it)| (of.to_owned(), it));
        assert_eq!(shown(&series, false, now), HashMap::from(all(0)));
        held.increment(2);
        assert_eq!(shown(&series, false, now + A_DAY), HashMap::from(all(2)));
        held.increment(2);
        let [others, _, held_now] = all(4);
        let left = [others, held_now];
        assert_eq!(shown(&series, false, now + A_DAY), HashMap::from(left));
        // Whoever asks for it has the same one, and it is gone a while after both.
        counter(&series, &key("held"), now + A_DAY).increment(1);
        drop(held);
        assert_eq!(shown(&series, false, now + A_DAY + SHOWN)["held"], 5);
        let later = now + A_DAY + SHOWN + Duration::from_millis(1);
        assert_eq!(shown(&series, false, later)["held"], 5);
        assert!(!shown(&series, false, later).contains_key("held"));
    }

    #[test]
    fn a_counter_of_a_component_that_sleeps_goes_on() {
        let (series, now) = (Series::default(), Instant::now());
        for days in 0..5 {
            let now = now + days * A_DAY;
            counter(&series, &key("a"), now).increment(1);
            assert_eq!(
                shown(&series, true, now + A_DAY / 2)["a"],
                u64::from(days) + 1
            );
        }
    }

    #[test]
    fn of_a_million_that_are_woken_once_the_latest_are_known() {
        let (series, begin) = (Series::default(), Instant::now());
        let held = counter(&series, &key("held"), begin);
        counter(&series, &Key::from_name("calls"), begin).increment(1);
        let woken = 50_000;
        for number in 0..woken {
            let now = begin + Duration::from_millis(number);
            counter(&series, &key(&number.to_string()), now).increment(1);
            assert!(series.lock().components.len() <= KEPT + TRIMMED + 1);
        }
        held.increment(1);
        let now = begin + Duration::from_millis(woken);
        // All of them are shown before some are forgotten.
        let components = series.lock().components.len();
        assert_eq!(shown(&series, true, now).len(), components + 1);
        let shown = shown(&series, true, now);
        assert_eq!(shown.len(), KEPT + 2);
        let latest = (woken - KEPT as u64..woken).map(|number| number.to_string());
        assert!(
            latest
                .chain(["held".to_owned(), String::new()])
                .all(|of| shown[&of] == 1)
        );
    }

    #[test]
    fn nothing_is_lost_that_is_counted_while_it_is_shown_and_forgotten() {
        const EACH: u64 = 4_000;
        let (series, is_over) = (&Series::default(), &AtomicBool::new(false));
        // What was measured is gone at once.
        let later = Instant::now() + A_DAY;
        let _held = counter(series, &key("whole"), later);
        let mut last = HashMap::new();
        thread::scope(|scope| {
            let count = |thread: u64| {
                move || {
                    let whole = counter(series, &key("whole"), Instant::now());
                    for number in 0..EACH {
                        let part = key(&format!("{thread}/{number}"));
                        counter(series, &part, Instant::now()).increment(3);
                        whole.increment(1);
                    }
                }
            };
            let counting = [0, 1].map(|thread| scope.spawn(count(thread)));
            scope.spawn(|| {
                // One that has panicked has counted too little.
                counting.into_iter().for_each(|it| drop(it.join()));
                is_over.store(true, Ordering::Release);
            });
            let mut whole = 0;
            loop {
                let was_over = is_over.load(Ordering::Acquire);
                last.extend(shown(series, false, later));
                let now = last.get("whole").copied().unwrap_or_default();
                assert!(now >= whole, "{now} after {whole}");
                whole = now;
                if was_over {
                    break;
                }
            }
        });
        assert_eq!(last.remove("whole"), Some(2 * EACH));
        assert_eq!(last.len() as u64, 2 * EACH);
        assert!(last.values().all(|count| *count == 3));
    }
}
