//! Printing a sequence as the test that runs it.

use std::fmt::{self, Debug, Display, Write};

use wasm_core::{ComponentConfig, ComponentMessage, MessagePayload, Timestamp};

use super::sequence::{Call, Load, Operation, Sequence, TIMEOUT};

/// The same as [`Display`], which is the form to read.
impl Debug for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// As a test, to be pasted next to a harness `Mine`.
impl Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut steps = String::new();
        for operation in self.operations() {
            writeln!(steps, "        {operation}")?;
        }
        f.write_str("#[test]\nfn behaves_like_the_model() {\n")?;
        let mut names = vec!["Sequence"];
        let helpers = [
            ("Call", "Call::"),
            ("Trouble", "Trouble::"),
            ("config", " config("),
            ("config_within", " config_within("),
            ("everything", "(everything("),
            ("message", " message("),
        ];
        let used = helpers
            .into_iter()
            .filter(|(_, use_of)| steps.contains(use_of));
        names.extend(used.map(|(name, _)| name));
        names.sort_unstable();
        match &names[..] {
            [only] => writeln!(f, "    use wasm_testkit::properties::{only};")?,
            all => writeln!(
                f,
                "    use wasm_testkit::properties::{{{}}};",
                all.join(", ")
            )?,
        }
        if steps.contains(" wasm_fixtures::") {
            f.write_str("    use wasm_testkit::wasm_fixtures;\n")?;
        }
        write!(f, "\n    Sequence::new()\n{steps}")?;
        f.write_str("        .check(&Mine);\n}\n")
    }
}

impl Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(load) => {
                let Load {
                    slot,
                    fixture,
                    id,
                    config,
                    prepared,
                } = &**load;
                let constant = fixture.name.to_uppercase().replace('-', "_");
                let config = Code(config);
                let load = if *prepared { "load_prepared" } else { "load" };
                write!(
                    f,
                    ".{load}({slot}, wasm_fixtures::{constant}, \"{id}\", {config})"
                )
            }
            Self::Unload(slot) => write!(f, ".unload({slot})"),
            Self::Usage(slot) => write!(f, ".usage({slot})"),
            Self::DropMessage(slot, message) => {
                write!(f, ".drop_message({slot}, {})", Code(message))
            }
            Self::Batch(calls) => write!(f, ".batch({})", Code(calls)),
            Self::Held(calls, dropped) => write!(f, ".held({}, {dropped:?})", Code(calls)),
            Self::Troubled(trouble, call) => {
                write!(f, ".troubled(Trouble::{trouble:?}, Call::{})", Code(call))
            }
            Self::Deliver => f.write_str(".deliver()"),
            Self::SetClock(now) => write!(f, ".set_clock({})", Code(now)),
            Self::Call(call) => {
                let code = Code(call).to_string();
                // The methods are named as the cases, in lower case.
                let (first, rest) = code.split_at(1);
                write!(f, ".{}{rest}", first.to_lowercase())
            }
        }
    }
}

/// An expression of Rust.
struct Code<'a, T>(&'a T);

impl Display for Code<'_, Vec<Call>> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (place, call) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { ", " };
            write!(f, "{comma}Call::{}", Code(call))?;
        }
        f.write_str("]")
    }
}

impl Display for Code<'_, Call> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Call::Message(slot, message) => write!(f, "Message({slot}, {})", Code(message)),
            Call::Callback(slot, message) => write!(f, "Callback({slot}, {})", Code(message)),
            Call::Restart(slot) => write!(f, "Restart({slot})"),
            Call::Health(slot) => write!(f, "Health({slot})"),
            Call::Metadata(slot) => write!(f, "Metadata({slot})"),
        }
    }
}

impl Display for Code<'_, ComponentMessage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = self.0;
        let (sender, payload) = (message.sender.as_str(), Code(&message.payload));
        write!(f, "message({sender:?}, {payload})")?;
        if let Some(content_type) = &message.message_type {
            write!(f, ".with_message_type({content_type:?})")?;
        }
        if let Some(correlation) = &message.correlation_id {
            write!(f, ".with_correlation_id({:?})", correlation.as_str())?;
        }
        if let Some(reply_to) = &message.reply_to {
            write!(
                f,
                ".with_reply_to({:?}.parse().unwrap())",
                reply_to.as_str()
            )?;
        }
        if message.timestamp != Timestamp::default() {
            write!(f, ".with_timestamp({})", Code(&message.timestamp))?;
        }
        Ok(())
    }
}

impl Display for Code<'_, Timestamp> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Timestamp {
            seconds,
            nanoseconds,
        } = self.0;
        write!(
            f,
            "wasm_core::Timestamp {{ seconds: {seconds}, nanoseconds: {nanoseconds} }}"
        )
    }
}

impl Display for Code<'_, MessagePayload> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.as_bytes();
        match (bytes, str::from_utf8(bytes)) {
            ([first, .., last], _)
                if bytes.len() > 64 && bytes.iter().all(|byte| byte == first) =>
            {
                write!(f, "vec![{last}; {}]", bytes.len())
            }
            (_, Ok(text)) => write!(f, "{text:?}"),
            (_, Err(_)) => write!(f, "vec!{bytes:?}"),
        }
    }
}

impl Display for Code<'_, ComponentConfig> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.0;
        let limits = &config.limits;
        let (memory_bytes, fuel) = (limits.memory_bytes(), limits.fuel());
        match limits.timeout() {
            TIMEOUT => write!(f, "config({memory_bytes}, {fuel:?})")?,
            other => {
                let millis = other.as_millis();
                write!(f, "config_within({millis}, {memory_bytes}, {fuel:?})")?;
            }
        }
        for (name, value) in &config.env {
            write!(f, ".with_env({name:?}, {value:?})")?;
        }
        if let Some(data) = &config.config_data {
            write!(f, ".with_config_data({})", Code(data))?;
        }
        if let Some(quota) = config.permissions.storage {
            write!(f, ".with_permissions(everything({quota}))")?;
        }
        Ok(())
    }
}
