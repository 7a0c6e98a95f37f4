//! Knows what there is, and what it costs.

use wasm_guest::{Component, Config, Error, FromConfig, Message, Payload, Result};

struct Kitchen {
    /// Dishes and their prices, one a line.
    menu: String,
}

impl FromConfig for Kitchen {
    fn from_config(config: &Config) -> Result<Self> {
        let menu = config.text()?.unwrap_or_default().to_owned();
        Ok(Self { menu })
    }
}

impl Component for Kitchen {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let dish = message.payload.text()?;
        let mut lines = self.menu.lines().filter_map(|line| line.split_once(' '));
        match lines.find(|(name, _)| *name == dish) {
            Some((_, price)) => Ok(Some(price.into())),
            None => Err(Error::new(format!("there is no {dish}"))),
        }
    }
}

wasm_guest::export!(Kitchen);

#[cfg(test)]
mod tests {
    use wasm_guest::testing::Host;

    use super::*;

    #[test]
    fn it_knows_what_a_dish_costs() {
        let host = Host::load("Component.toml").unwrap();
        let mut kitchen = host.start::<Kitchen>().unwrap();
        assert_eq!(kitchen.handle("soup").unwrap(), Some("7".into()));
        let error = kitchen.handle("fish").unwrap_err();
        assert_eq!(error.to_string(), "there is no fish");
    }
}
