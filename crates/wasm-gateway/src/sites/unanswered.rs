//! What went wrong with requests to components, in the log: those who sent them are told little
//! of it, and anybody may send more.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{Method, Request, Uri};
use tokio::sync::Notify;
use tokio::time::sleep;

use wasm_core::ComponentId;

/// In this time there is one line about each component, and one about the rest of it.
const TURN: Duration = Duration::from_secs(1);

/// About how many components there is one.
const COMPONENTS: usize = 100;

/// Of the path of a request, in such a line: it is as long as a client likes.
const PATH_BYTES: usize = 200;

/// Which request it was. What follows the path may be a secret.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
}

/// What goes wrong in a turn, which begins with the first that does.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    turn: Mutex<Turn>,
    begun: Notify,
}

#[derive(Debug, Default)]
struct Turn {
    /// How many were left out of each component of which one was told.
    left_out: BTreeMap<ComponentId, u64>,
    /// How many there were of other components.
    of_others: u64,
}

impl Asked {
    pub(crate) fn new<B>(request: &Request<B>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
        }
    }

    fn text(&self) -> String {
        let path = self.uri.path();
        let end = path.floor_char_boundary(PATH_BYTES);
        format!("{} {}", self.method, &path[..end])
    }
}

impl Unanswered {
    /// `what` went wrong with it, such as `has not answered`.
    pub(crate) fn tell(&self, of: &ComponentId, what: &str, asked: &Asked, why: &str) {
        if self.has_turn(of) {
            tracing::warn!("{of} {what} {}: {why}", asked.text());
        }
    }

    /// Whether one is told now.
    fn has_turn(&self, of: &ComponentId) -> bool {
        let mut turn = self.turn();
        if let Some(left_out) = turn.left_out.get_mut(of) {
            *left_out += 1;
            return false;
        }
        if turn.left_out.len() == COMPONENTS {
            turn.of_others += 1;
            return false;
        }
        if turn.left_out.is_empty() {
            self.begun.notify_one();
        }
        turn.left_out.insert(of.clone(), 0);
        true
    }

    /// Tells at the end of each turn how many were left out.
    pub(crate) async fn tell_what_was_left_out(self: Arc<Self>) {
        loop {
            self.begun.notified().await;
            sleep(TURN).await;
            for line in self.end_turn() {
                tracing::warn!("{line}");
            }
        }
    }

    fn end_turn(&self) -> Vec<String> {
        let Turn {
            left_out,
            of_others,
        } = mem::take(&mut *self.turn());
        let of_each = left_out.iter().map(|(of, count)| (of.as_str(), *count));
        let of_others = [("other components", of_others)];
        let left_out = of_each.chain(of_others).filter(|(_, count)| *count > 0);
        left_out
            .map(|(of, count)| {
                format!("{count} more requests to {of} have gone wrong within a second")
            })
            .collect()
    }

    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(name: &str) -> ComponentId {
        ComponentId::new("demo", name, "main").unwrap()
    }

    fn left_out(count: u64, of: &str) -> String {
        format!("{count} more requests to {of} have gone wrong within a second")
    }

    #[test]
    fn each_component_has_a_turn_and_it_is_told_how_many_were_left_out() {
        let unanswered = Unanswered::default();
        let (noisy, quiet) = (demo("noisy"), demo("quiet"));
        let turns = [&noisy, &noisy, &noisy, &quiet].map(|of| unanswered.has_turn(of));
        assert_eq!(turns, [true, false, false, true]);
        assert_eq!(unanswered.end_turn(), [left_out(2, "demo/noisy/main")]);
        assert!(unanswered.has_turn(&noisy));
        assert_eq!(unanswered.end_turn(), [""; 0]);
    }

    #[test]
    fn a_crowd_of_components_has_no_more_turns_than_there_are() {
        let unanswered = Unanswered::default();
        let crowd = (0..COMPONENTS + 3).map(|number| demo(&format!("a{number}")));
        let told = crowd.filter(|of| unanswered.has_turn(of)).count();
        assert_eq!(told, COMPONENTS);
        assert_eq!(unanswered.end_turn(), [left_out(3, "other components")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_ends_after_its_time_and_another_begins_with_the_next() {
        let unanswered = Arc::new(Unanswered::default());
        let telling = tokio::spawn(Arc::clone(&unanswered).tell_what_was_left_out());
        for _ in 0..2 {
            assert!(unanswered.has_turn(&demo("a")));
            sleep(TURN - Duration::from_millis(1)).await;
            assert!(!unanswered.has_turn(&demo("a")));
            sleep(Duration::from_millis(2)).await;
            assert!(unanswered.turn().left_out.is_empty());
        }
        telling.abort();
    }
}
