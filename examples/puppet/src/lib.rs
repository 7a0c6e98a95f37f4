//! Calls of its host what it is told to, and replies with what came of it: of each line of a
//! message one line, whose words are parted by spaces.
//!
//! A test compares what it replies in an engine with what it replies natively, with the host
//! in memory, over sequences of lines that nobody wrote.
//!
//! - `send ID SIZE`, `request ID SIZE`, `broadcast SIZE ID..`: messages of so many bytes
//! - `cancel REQUEST`
//! - `set KEY SIZE`, `get KEY`, `delete KEY`, `exists KEY`, `keys PREFIX`, `usage`; `-` is the
//!   empty key or prefix
//! - `own-id`, `components`, `info ID`

use std::fmt::Debug;
use std::time::Duration;

use wasm_guest::{
    Component, Error, Message, Payload, Result, broadcast, cancel, component_info, components,
    own_id, request, send, storage,
};

const PATIENCE: Duration = Duration::from_secs(1);

/// See the top of this file.
#[derive(Debug, Default)]
pub(crate) struct Puppet;

impl Component for Puppet {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let lines = message.payload.text()?.lines();
        let replies: Vec<String> = lines.map(perform).collect::<Result<_>>()?;
        Ok(Some(replies.join("\n").into()))
    }
}

fn perform(line: &str) -> Result<String> {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default();
    let told = match word() {
        "send" => shown(&send(word(), payload(word())?)),
        "request" => {
            let request = request(word(), payload(word())?, PATIENCE);
            shown(&request.map(|request| request.id().to_owned()))
        }
        "broadcast" => {
            let payload = payload(word())?;
            shown(&broadcast(words, payload))
        }
        "cancel" => shown(&cancel(word())),
        "set" => shown(&storage::set(key(word()), &payload(word())?)),
        "get" => {
            let value = storage::get::<Payload>(key(word()));
            shown(&value.map(|value| value.map(|value| value.as_bytes().len())))
        }
        "delete" => shown(&storage::delete(key(word()))),
        "exists" => shown(&storage::exists(key(word()))),
        "keys" => shown(&storage::keys(key(word()))),
        "usage" => shown(&storage::usage()),
        "own-id" => own_id().to_string(),
        "components" => {
            let ids: Vec<String> = components().iter().map(ToString::to_string).collect();
            ids.join(" ")
        }
        "info" => shown(&component_info(word()).map(|info| info.id.to_string())),
        other => return Err(Error::new(format!("nobody can {other}"))),
    };
    Ok(told)
}

fn payload(size: &str) -> Result<Payload> {
    Ok(vec![b'x'; size.parse()?].into())
}

fn key(word: &str) -> &str {
    if word == "-" { "" } else { word }
}

fn shown(outcome: &impl Debug) -> String {
    format!("{outcome:?}")
}

wasm_guest::export!(Puppet);
