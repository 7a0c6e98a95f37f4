//! Takes orders: asks the kitchen what a dish costs, and adds it up.

use std::time::Duration;

use wasm_guest::{
    Answer, Component, Config, Error, FromConfig, Message, Payload, Result, log, request, storage,
};

struct Waiter {
    kitchen: String,
}

impl FromConfig for Waiter {
    fn from_config(config: &Config) -> Result<Self> {
        let kitchen = config.variable("KITCHEN");
        let kitchen = kitchen.ok_or_else(|| Error::new("`KITCHEN` of [env] is missing"))?;
        Ok(Self {
            kitchen: kitchen.to_owned(),
        })
    }
}

impl Waiter {
    fn priced(&mut self, answer: Answer) -> Result<()> {
        let price: u64 = answer.outcome?.text()?.parse()?;
        let total = storage::get("total")?.unwrap_or(0u64) + price;
        storage::set("total", &total)?;
        log!(info, "that is {price}, {total} in all");
        Ok(())
    }
}

impl Component for Waiter {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        match message.payload.text()? {
            "total" => {
                let total = storage::get("total")?.unwrap_or(0u64);
                Ok(Some(total.to_string().into()))
            }
            dish => {
                request(&self.kitchen, dish, Duration::from_secs(1))?.then(Self::priced);
                Ok(Some("coming".into()))
            }
        }
    }
}

wasm_guest::export!(Waiter);

#[cfg(test)]
mod tests {
    use wasm_guest::testing::Host;

    use super::*;

    #[test]
    fn it_adds_up_what_the_kitchen_says() {
        let host = Host::load("Component.toml").unwrap();
        let mut waiter = host.start::<Waiter>().unwrap();
        for price in ["7", "4"] {
            assert_eq!(waiter.handle("dish").unwrap(), Some("coming".into()));
            waiter.answer(&host.requests()[0], price).unwrap();
        }
        assert_eq!(waiter.handle("total").unwrap(), Some("11".into()));
    }

    #[test]
    fn who_is_not_answered_says_so() {
        let host = Host::load("Component.toml").unwrap();
        let mut waiter = host.start::<Waiter>().unwrap();
        waiter.handle("dish").unwrap();
        let error = waiter.advance(Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.to_string(), "the request was not answered in time");
    }
}
