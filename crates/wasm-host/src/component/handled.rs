//! What a component handles right now: where letters are not lost if the engine panics.

use tokio::time::Instant;

use wasm_core::{MessagePayload, WasmError};

use crate::post::letter::Letter;

/// What the engine's call for a letter ended with; of a call of the program, whether it did.
pub(crate) enum Outcome {
    Message(Result<Option<MessagePayload>, WasmError>),
    Call(Result<(), WasmError>),
}

/// A call for a letter that has ended.
pub(crate) struct Ended {
    /// Of the letter, among those that are handled.
    pub(crate) number: u64,
    pub(crate) began: Instant,
    pub(crate) outcome: Outcome,
}

/// The letters of the calls that run, each under a number of its own.
#[derive(Debug, Default)]
pub(crate) struct Handled {
    letters: Vec<(u64, Box<Letter>)>,
    next: u64,
}

impl Handled {
    /// Its number.
    pub(crate) fn add(&mut self, letter: Box<Letter>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.letters.push((number, letter));
        number
    }

    /// The call of this letter has ended.
    pub(crate) fn take(&mut self, number: u64) -> Option<Box<Letter>> {
        let index = self.letters.iter().position(|it| it.0 == number)?;
        Some(self.letters.swap_remove(index).1)
    }

    pub(crate) fn take_all(&mut self) -> impl Iterator<Item = Box<Letter>> + use<> {
        let letters = std::mem::take(&mut self.letters);
        letters.into_iter().map(|(_, letter)| letter)
    }

    pub(crate) fn len(&self) -> usize {
        self.letters.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// When the first of those who wait for an answer is to be told that the time is up.
    pub(crate) fn wanted_until(&self) -> Option<Instant> {
        let deadlines = self.letters.iter().filter_map(|it| it.1.wanted_until());
        deadlines.min()
    }

    /// Tells those whose time is up.
    pub(crate) fn time_out(&self) {
        let now = Instant::now();
        for (_, letter) in &self.letters {
            if !letter.is_wanted(now) {
                letter.time_out();
            }
        }
    }
}
