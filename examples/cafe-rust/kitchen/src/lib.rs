//! Cooks what it is asked for, and counts the dishes twice: in memory and in storage. Two
//! dishes end it.
//!
//! - `DISH`: `fresh DISH`
//! - `fondue` sets fire to the kitchen: a trap
//! - `stew` has to simmer, for ever: all its fuel is used up
//! - `status`: dishes since the stove was lit, and ever

use wasm_guest::{Component, Message, Payload, Result, storage};

#[derive(Default)]
struct Kitchen {
    /// Starts over with each instance.
    since_lit: u64,
}

impl Component for Kitchen {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let ever = storage::get("dishes")?.unwrap_or(0u64);
        let dish = match message.payload.text()? {
            "status" => {
                let since_lit = self.since_lit;
                let told = format!("dishes since the stove was lit: {since_lit}, ever: {ever}");
                return Ok(Some(told.into()));
            }
            "fondue" => panic!("the kitchen is on fire"),
            "stew" => loop {
                std::hint::spin_loop();
            },
            dish => dish,
        };
        storage::set("dishes", &(ever + 1))?;
        self.since_lit += 1;
        Ok(Some(format!("fresh {dish}").into()))
    }
}

wasm_guest::export!(Kitchen);
