//! Engines that count wrongly what a call may send: each has budgets of its own, and the right
//! engine send what it accepts, a word in a call.

use wasm_core::{ComponentHandle, ComponentMessage, LifecycleError, MessagePayload, WasmError};
use wasm_fixtures::{Behaviour, OnShutdown, SPENDER};

use crate::List;
use crate::wrong::{Kept, Right, Wrong};

const MESSAGES: u64 = 1_024;
const BYTES: u64 = 8 << 20;

/// What a component may still send; bytes for each function, of which a right engine takes
/// from all at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left {
    messages: u64,
    bytes: [u64; 3],
}

impl Default for Left {
    fn default() -> Self {
        Self {
            messages: MESSAGES,
            bytes: [BYTES; 3],
        }
    }
}

impl Left {
    /// Without what a word costs, if that is left.
    fn without(self, cost: Cost) -> Option<Self> {
        let mut left = self;
        left.messages = self.messages.checked_sub(cost.messages)?;
        for bytes in &mut left.bytes {
            *bytes = bytes.checked_sub(cost.bytes)?;
        }
        Some(left)
    }
}

/// What a word of the fixture costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    function: usize,
    messages: u64,
    bytes: u64,
}

impl Cost {
    fn of(word: &str) -> Self {
        let (bytes, messages) = word[1..].split_once('*').unwrap_or((&word[1..], "1"));
        Self {
            function: "srb".find(&word[..1]).unwrap(),
            messages: messages.parse().unwrap(),
            bytes: bytes.parse().unwrap(),
        }
    }
}

/// How a wrong engine counts.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// Whether this is left, which is taken then.
    take: fn(&mut Left, Cost) -> bool,
    /// The letter of what costs nothing.
    free: Option<char>,
    /// Whether each message has the full budgets.
    refills: bool,
}

/// How a right engine counts.
const RIGHT: Rules = Rules {
    take: |left, cost| match left.without(cost) {
        Some(less) => {
            *left = less;
            true
        }
        None => false,
    },
    free: None,
    refills: true,
};

/// Counts so what the fixture sends about messages, and remembers what is left.
fn counts(wrong: Wrong, rules: Rules) -> Wrong<Kept<Left>> {
    wrong
        .keeping(Kept::default())
        .on_message(move |right, handle, message| async move {
            if !right.is(&handle, SPENDER.wasm) {
                return right.call_handle_message(&handle, message).await;
            }
            let words = String::from_utf8(message.payload.into_bytes().to_vec()).unwrap();
            let mut left = match rules.refills {
                true => Left::default(),
                false => right.kept.get(&handle),
            };
            let mut letters = String::new();
            for word in words.split(' ') {
                let before = left;
                let letter = match (rules.take)(&mut left, Cost::of(word)) {
                    true => spend(&right, &handle, word).await?,
                    false => 'q',
                };
                if Some(letter) == rules.free {
                    left = before;
                }
                letters.push(letter);
            }
            right.kept.set(&handle, left);
            Ok(Some(letters.into()))
        })
}

/// One that counts as it should: what the others break is not how they count, but what.
pub(crate) fn right(wrong: Wrong) -> Wrong<Kept<Left>> {
    counts(wrong, RIGHT)
}

/// Has the right engine spend a word in a call of its own.
async fn spend<S>(
    right: &Right<S>,
    handle: &ComponentHandle,
    word: &str,
) -> Result<char, WasmError> {
    let id = handle.id().clone();
    let message = ComponentMessage::new(id.clone(), id, word.to_owned());
    let reply = right.call_handle_message(handle, message).await?;
    let letter = reply.as_ref().map(MessagePayload::as_bytes);
    Ok(char::from(letter.unwrap()[0]))
}

/// What the fixture spends in its `shutdown`.
fn last_words() -> &'static str {
    match SPENDER.behaviour {
        Behaviour::Component(lifecycle) => match lifecycle.shutdown {
            OnShutdown::Spends(words) => words,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

pub(crate) fn rows(list: &mut List) {
    counted(list);
    refused(list);
    given_back(list);
}

fn counted(list: &mut List) {
    let together = &["spending::all_that_a_call_sends_is_counted_together"];
    list.breaks("Bytes of payload that one call may send");
    list.wrong("counts no payload", together, |wrong| {
        let take = |left: &mut Left, cost| (RIGHT.take)(left, Cost { bytes: 0, ..cost });
        counts(wrong, Rules { take, ..RIGHT })
    });
    list.wrong(
        "counts the payload of each function for itself",
        together,
        |wrong| {
            let take = |left: &mut Left, cost: Cost| {
                let mut others = left.bytes;
                left.bytes = [left.bytes[cost.function]; 3];
                let is_left = (RIGHT.take)(left, cost);
                others[cost.function] = left.bytes[cost.function];
                left.bytes = others;
                is_left
            };
            counts(wrong, Rules { take, ..RIGHT })
        },
    );
}

fn refused(list: &mut List) {
    list.breaks("nothing is taken from either");
    list.wrong(
        "sends nothing any more once it has refused something",
        &[
            "spending::bytes_that_are_too_many_take_no_bytes",
            "spending::bytes_that_are_too_many_take_no_messages",
            "spending::messages_that_are_too_many_take_no_messages",
            "spending::messages_that_are_too_many_take_no_bytes",
        ],
        |wrong| {
            let take = |left: &mut Left, cost| {
                let is_left = (RIGHT.take)(left, cost);
                if !is_left {
                    left.messages = 0;
                }
                is_left
            };
            counts(wrong, Rules { take, ..RIGHT })
        },
    );
    list.wrong(
        "takes the messages of what has too many bytes",
        &["spending::bytes_that_are_too_many_take_no_messages"],
        |wrong| {
            let take = |left: &mut Left, cost: Cost| {
                let bytes_are_left = left.bytes[0] >= cost.bytes;
                let is_left = (RIGHT.take)(left, cost);
                if !bytes_are_left {
                    left.messages = left.messages.saturating_sub(cost.messages);
                }
                is_left
            };
            counts(wrong, Rules { take, ..RIGHT })
        },
    );
    list.wrong(
        "takes the bytes of what has too many recipients",
        &["spending::messages_that_are_too_many_take_no_bytes"],
        |wrong| {
            let take = |left: &mut Left, cost: Cost| {
                let messages_are_left = left.messages >= cost.messages;
                let is_left = (RIGHT.take)(left, cost);
                if !messages_are_left {
                    left.bytes = left.bytes.map(|bytes| bytes.saturating_sub(cost.bytes));
                }
                is_left
            };
            counts(wrong, Rules { take, ..RIGHT })
        },
    );
    list.breaks("takes it from the call's budget, checks the target and the permission");
    for (name, case, letter) in [
        (
            "takes nothing for what it denies",
            &["spending::what_is_denied_is_taken_from_the_budget"],
            'd',
        ),
        (
            "takes nothing for what the router refuses",
            &["spending::what_the_router_refuses_is_taken_from_the_budget"],
            'i',
        ),
    ] {
        let free = Some(letter);
        list.wrong(name, case, move |wrong| {
            counts(wrong, Rules { free, ..RIGHT })
        });
    }
}

fn given_back(list: &mut List) {
    list.breaks("Gives the call that begins its full budgets");
    list.wrong(
        "takes what all messages send from one budget",
        &["spending::every_message_may_send_as_much"],
        |wrong| {
            let refills = false;
            counts(wrong, Rules { refills, ..RIGHT })
        },
    );
    list.wrong(
        "lets `shutdown` send what the last message has left",
        &["spending::a_shutdown_may_send_as_much"],
        |wrong| {
            counts(wrong, RIGHT).on_unload(|right, handle| async move {
                let mut left = right.kept.get(&handle);
                let is_left = |word| (RIGHT.take)(&mut left, Cost::of(word));
                let has_enough = last_words().split(' ').all(is_left);
                let is_spender = right.is(&handle, SPENDER.wasm);
                right.unload_component(&handle).await?;
                if !is_spender || has_enough {
                    return Ok(());
                }
                Err(WasmError::ShutdownFailed {
                    component: handle.id().clone(),
                    error: LifecycleError::ShutdownFailed("queue-full".to_owned()),
                })
            })
        },
    );
}
