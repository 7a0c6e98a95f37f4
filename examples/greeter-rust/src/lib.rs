//! Greets, and counts whom it greeted.

use wasm_guest::{Component, Config, FromConfig, Message, Payload, Result, log, storage};

struct Greeter {
    greeting: String,
}

impl FromConfig for Greeter {
    fn from_config(config: &Config) -> Result<Self> {
        let greeting = config.text()?.unwrap_or("hello").to_owned();
        Ok(Self { greeting })
    }
}

impl Component for Greeter {
    fn handle(&mut self, message: Message) -> Result<Option<Payload>> {
        let name = message.payload.text()?;
        let count = storage::get(name)?.unwrap_or(0u64) + 1;
        storage::set(name, &count)?;
        log!(info, "{name} was greeted {count} times");
        Ok(Some(format!("{} {name}", self.greeting).into()))
    }
}

wasm_guest::export!(Greeter);

#[cfg(test)]
mod tests {
    use wasm_guest::testing::Host;

    use super::*;

    #[test]
    fn it_greets_and_counts() {
        let host = Host::load("Component.toml").unwrap();
        let mut greeter = host.start::<Greeter>().unwrap();
        assert_eq!(greeter.handle("ann").unwrap(), Some("good day ann".into()));
        assert_eq!(greeter.handle("ann").unwrap(), Some("good day ann".into()));
        assert_eq!(host.stored("ann"), Some("2".into()));
        assert_eq!(host.logged()[1], "info: ann was greeted 2 times");
    }

    #[test]
    fn who_has_no_name_is_not_greeted() {
        let host = Host::load("Component.toml").unwrap();
        let mut greeter = host.start::<Greeter>().unwrap();
        let error = greeter.handle("").unwrap_err();
        assert!(error.to_string().starts_with("invalid key"), "{error}");
    }
}
