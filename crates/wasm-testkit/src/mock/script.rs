use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::thread;

use super::Call;
use super::expectation::{Behaviour, Expectation, Expected};
use crate::lock::lock;

/// Fails the test, when it is dropped, if its [`MockEngine`](super::MockEngine) was not
/// called as expected, and tells what was expected and what came. In a test that has
/// already failed it only tells, and only what no panic has told.
#[derive(Debug)]
#[must_use = "the test is failed by this, at the latest when it is dropped"]
pub struct Script {
    plan: Arc<Mutex<Plan>>,
}

impl Script {
    pub(super) fn new(plan: Arc<Mutex<Plan>>) -> Self {
        Self { plan }
    }

    /// Does now what dropping does.
    ///
    /// # Panics
    /// If a call was not expected or one that was did not come.
    #[track_caller]
    pub fn verify(self) {
        // Here, so that the panic names the caller's line.
        let complaint = lock(&self.plan).end();
        if let Some(complaint) = complaint {
            panic!("{complaint}");
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let mut plan = lock(&self.plan);
        let told = plan.told;
        let complaint = plan.end();
        drop(plan);
        match complaint {
            Some(complaint) if !thread::panicking() => panic!("{complaint}"),
            Some(complaint) if !told => eprintln!("{complaint}"),
            _ => {}
        }
    }
}

/// What is expected, and what has come of it.
#[derive(Debug)]
pub(super) struct Plan {
    in_order: bool,
    steps: Vec<Step>,
    /// In order, the first that may still come.
    next: usize,
    complaints: Vec<String>,
    /// Whether a panic has told of a complaint.
    told: bool,
    /// Whether nothing is expected any more, and nothing a surprise.
    ended: bool,
}

#[derive(Debug)]
struct Step {
    expectation: Expectation,
    came: usize,
}

impl Step {
    fn expected(&self) -> &Expected {
        &self.expectation.expected
    }

    fn is_open(&self) -> bool {
        self.came < self.expected().times.most
    }

    fn is_satisfied(&self) -> bool {
        self.came >= self.expected().times.least
    }

    fn is_forbidden(&self) -> bool {
        self.expected().times.most == 0
    }

    /// How often it came, and should; and where the test says so.
    fn write(&self, text: &mut String) {
        // Writing into a string cannot fail.
        let expected = self.expected();
        let _ = write!(text, "{expected}: {}", expected.times);
        if !self.is_forbidden() {
            let _ = write!(text, ", came {}", self.came);
        }
        let _ = write!(text, "\n      expected at {}", expected.place);
    }
}

impl Plan {
    pub(super) fn new(expectations: impl IntoIterator<Item = Expectation>, in_order: bool) -> Self {
        let steps = expectations.into_iter();
        let steps = steps.map(|expectation| Step {
            expectation,
            came: 0,
        });
        Self {
            in_order,
            steps: steps.collect(),
            next: 0,
            complaints: Vec::new(),
            told: false,
            ended: false,
        }
    }

    /// What becomes of a call, which counts for an expectation; nothing if the test is
    /// over. Otherwise the complaint, which is kept.
    pub(super) fn meet(&mut self, call: &Call) -> Result<Option<Behaviour>, String> {
        if self.ended {
            return Ok(None);
        }
        if let Some(place) = self.find(call) {
            if self.in_order {
                self.next = place;
            }
            let step = &mut self.steps[place];
            step.came += 1;
            return Ok(Some(step.expectation.behaviour.clone()));
        }
        let complaint = self.surprise(call);
        self.complaints.push(complaint.clone());
        self.told |= !thread::panicking();
        Err(format!(
            "the mock engine was not called as expected{complaint}"
        ))
    }

    /// The expectation that the call counts for.
    fn find(&self, call: &Call) -> Option<usize> {
        let fits = |step: &&Step| step.expected().is_met_by(call);
        if self
            .steps
            .iter()
            .filter(|step| step.is_forbidden())
            .any(|step| fits(&step))
        {
            return None;
        }
        for (place, step) in self.steps.iter().enumerate().skip(self.next) {
            if step.is_open() && fits(&step) {
                return Some(place);
            }
            if self.in_order && !step.is_satisfied() {
                return None;
            }
        }
        None
    }

    /// What came, and what would have fitted instead.
    fn surprise(&self, call: &Call) -> String {
        let mut text = format!("\n  came {call}\n      called {}", call.from());
        let forbidden = |step: &&Step| step.is_forbidden() && step.expected().is_met_by(call);
        let step = self.steps.iter().find(forbidden);
        if let Some(step) = step {
            text += "\n  instead of ";
            step.write(&mut text);
            return text;
        }
        let mut open = false;
        for step in self.steps.iter().skip(self.next) {
            if !step.is_open() {
                continue;
            }
            open = true;
            text += "\n  instead of ";
            step.write(&mut text);
            if step.expected().method() == call.method() {
                let unmet: Vec<_> = step.expected().unmet_by(call).collect();
                if !unmet.is_empty() {
                    let _ = write!(text, "\n      does not fit: {}", unmet.join(", "));
                }
            }
            if self.in_order && !step.is_satisfied() {
                break;
            }
        }
        if !open {
            text += "\n  instead of nothing";
        }
        text
    }

    /// What went wrong, if anything did. From now on nothing is expected.
    fn end(&mut self) -> Option<String> {
        if self.ended {
            return None;
        }
        self.ended = true;
        let mut text = self.complaints.concat();
        for step in self.steps.iter().filter(|step| !step.is_satisfied()) {
            text += "\n  too few of ";
            step.write(&mut text);
        }
        if text.is_empty() {
            return None;
        }
        Some(format!("the mock engine was not called as expected{text}"))
    }
}
