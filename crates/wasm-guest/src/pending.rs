//! What is to be done with the answers of open requests.

use std::any::Any;
use std::cell::RefCell;

use crate::error::Result;
use crate::message::{Answer, CorrelationId};

type Then<C> = Box<dyn FnOnce(&mut C, Answer) -> Result<()>>;

/// What a call did about requests, in its order.
enum Change {
    /// A [`Then`] of the component that runs.
    Then(CorrelationId, Box<dyn Any>),
    Cancelled(CorrelationId),
}

thread_local! {
    /// Those of the running call. The type of its component is not known where they are made.
    static CHANGES: RefCell<Vec<Change>> = const { RefCell::new(Vec::new()) };
}

/// Has `then` called with the answer of a request that the running call made.
pub(crate) fn await_answer<C: 'static>(
    request: CorrelationId,
    then: impl FnOnce(&mut C, Answer) -> Result<()> + 'static,
) {
    let then: Then<C> = Box::new(then);
    change(Change::Then(request, Box::new(then)));
}

/// The request's answer will not come.
pub(crate) fn forget(request: &str) {
    change(Change::Cancelled(request.to_owned()));
}

/// Forgets what was done about requests outside of an instance.
#[cfg(not(target_family = "wasm"))]
pub(crate) fn discard() {
    CHANGES.take();
}

fn change(change: Change) {
    CHANGES.with_borrow_mut(|changes| changes.push(change));
}

/// The open requests of one instance that know what to do with their answer. A host lets it
/// have a few hundred, among which a list finds one with the least code.
pub(crate) struct Pending<C>(Vec<(CorrelationId, Then<C>)>);

impl<C: 'static> Pending<C> {
    /// That of an instance that starts. What is left of a call that panicked is forgotten.
    pub(crate) fn new() -> Self {
        CHANGES.take();
        Self(Vec::new())
    }

    /// Takes over what a call did that ended.
    ///
    /// # Panics
    /// Where a request was given something that is for another type of component.
    pub(crate) fn update(&mut self) {
        for change in CHANGES.take() {
            match change {
                Change::Then(request, then) => {
                    let Ok(then) = then.downcast::<Then<C>>() else {
                        panic!("`then` was given a function that does not take the component");
                    };
                    self.0.push((request, *then));
                }
                Change::Cancelled(request) => drop(self.take(&request)),
            }
        }
    }

    pub(crate) fn take(&mut self, request: &str) -> Option<Then<C>> {
        let place = self.0.iter().position(|(open, _)| open == request)?;
        Some(self.0.swap_remove(place).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Answer, Message};

    fn answer() -> Answer {
        Answer::of(Message::new("a/b/c".parse().unwrap(), "4"))
    }

    #[test]
    fn each_answer_is_handled_once_by_what_was_given_for_it() {
        let mut pending = Pending::<u8>::new();
        await_answer("r1".to_owned(), |state: &mut u8, _| {
            *state += 1;
            Ok(())
        });
        await_answer("r2".to_owned(), |_: &mut u8, _| Ok(()));
        forget("r2");
        pending.update();
        let mut state = 0;
        let then = pending.take("r1").unwrap();
        then(&mut state, answer()).unwrap();
        assert_eq!(state, 1);
        assert!(pending.take("r1").is_none() && pending.take("r2").is_none());
    }

    #[test]
    #[should_panic(expected = "does not take the component")]
    fn a_function_for_another_type_is_noticed() {
        let mut pending = Pending::<u8>::new();
        await_answer("r1".to_owned(), |_: &mut u16, _| Ok(()));
        pending.update();
    }
}
