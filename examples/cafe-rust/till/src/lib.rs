//! Keeps the coins, in storage.
//!
//! - `NUMBER` puts in so many
//! - `total`: how many there are
//!
//! Anything else is an error, which does it no harm. What the boss says is logged.

use wasm_guest::{Component, Error, Message, Payload, Result, log, storage};

#[derive(Default)]
struct Till;

impl Component for Till {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let said = message.payload.text()?;
        let coins = storage::get("coins")?.unwrap_or(0u64);
        if message.sender.namespace == "cafe-rust" && message.sender.name == "boss" {
            log!(info, "{said}, with {coins} coins");
            return Ok(None);
        }
        if said == "total" {
            return Ok(Some(format!("{coins} coins").into()));
        }
        match said.parse::<u64>() {
            Ok(more @ 1..=9999) => {
                storage::set("coins", &(coins + more))?;
                Ok(Some("thank you".into()))
            }
            _ => Err(Error::new(format!("not coins: {said}"))),
        }
    }
}

wasm_guest::export!(Till);
