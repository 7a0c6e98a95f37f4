//! Tries what it may and what it may not: its Component.toml lets it send to the till and
//! nothing else.
//!
//! - `tip NUMBER`: a message to the till
//! - `peek`: a request to the kitchen, which the host refuses
//! - `steal`: something from storage, which the host refuses, too

use std::time::Duration;

use wasm_guest::{Component, Error, Message, Payload, Result, request, send, storage};

#[derive(Default)]
struct Guest;

impl Guest {
    fn attempt(said: &str) -> Result<String> {
        if let Some(coins) = said.strip_prefix("tip ") {
            send("cafe-rust/till/main", coins)?;
            return Ok(format!("{coins} for you"));
        }
        if said == "peek" {
            request("cafe-rust/kitchen/main", "status", Duration::from_secs(1))?;
            return Ok("asked".to_owned());
        }
        let loot = storage::get("coins")?.unwrap_or(0u64);
        Ok(format!("{loot} coins"))
    }
}

impl Component for Guest {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let said = message.payload.text()?;
        if !said.starts_with("tip ") && said != "peek" && said != "steal" {
            return Err(Error::new("a guest knows `tip NUMBER`, `peek` and `steal`"));
        }
        let reply = Self::attempt(said).unwrap_or_else(|error| format!("refused: {error}"));
        Ok(Some(reply.into()))
    }
}

wasm_guest::export!(Guest);
