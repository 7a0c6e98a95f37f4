//! What went wrong with requests to components, in the log: those who sent them are told little
//! of it, and anybody may send more.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{Method, Request, Uri};

/// How often a line is written.
const TELL: Duration = Duration::from_secs(1);

/// Of the path of a request, in such a line: it is as long as a client likes.
const PATH_BYTES: usize = 200;

/// Which request it was. What follows the path may be a secret.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    method: Method,
    uri: Uri,
}

/// Whose turn it is to be told.
#[derive(Debug, Default)]
pub(crate) struct Unanswered(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    last: Option<Instant>,
    left_out: u64,
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
    /// `what` went wrong with it, such as `demo/web/main has not answered`.
    pub(crate) fn tell(&self, asked: &Asked, what: &str, why: &str) {
        if let Some(others) = self.turn(Instant::now()) {
            tracing::warn!("{what} {}: {why}{others}", asked.text());
        }
    }

    /// What is to be said of others, if one is told now.
    fn turn(&self, now: Instant) -> Option<String> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.last.is_some_and(|last| now < last + TELL) {
            turns.left_out += 1;
            return None;
        }
        turns.last = Some(now);
        Some(match mem::take(&mut turns.left_out) {
            0 => String::new(),
            more => format!(" (and {more} before it that were not told)"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_second_is_told_and_how_many_were_not() {
        let unanswered = Unanswered::default();
        let now = Instant::now();
        let turn = |millis| unanswered.turn(now + Duration::from_millis(millis));
        assert_eq!(turn(0).as_deref(), Some(""));
        assert_eq!(turn(1), None);
        assert_eq!(turn(999), None);
        let others = " (and 2 before it that were not told)";
        assert_eq!(turn(1_000).as_deref(), Some(others));
        assert_eq!(turn(2_000).as_deref(), Some(""));
    }
}
