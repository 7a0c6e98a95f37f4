//! Tells everybody at once: a broadcast.
//!
//! `announce NEWS`

use wasm_guest::{Component, Error, Message, Payload, Result, broadcast};

const EVERYBODY: [&str; 3] = [
    "cafe-rust/waiter/ada",
    "cafe-rust/waiter/ben",
    "cafe-rust/till/main",
];

#[derive(Default)]
struct Boss;

impl Component for Boss {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let said = message.payload.text()?;
        let news = said.strip_prefix("announce ");
        let news = news.ok_or_else(|| Error::new("the boss knows `announce NEWS`"))?;
        broadcast(EVERYBODY, news)?;
        Ok(Some(format!("everybody knows: {news}").into()))
    }
}

wasm_guest::export!(Boss);
