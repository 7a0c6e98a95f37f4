//! What wit-bindgen makes of the contract, and how its types become those of this crate.

// What is generated for the boundary of a component cannot do without.
#![allow(unsafe_code, missing_docs, unreachable_pub, unused_qualifications)]

use std::time::Duration;

use crate::id::ComponentId;
use crate::log::LogLevel;
use crate::message::Message;

use airssys::core::types;

wit_bindgen::generate!({
    path: "wit",
    world: "runtime-host",
    pub_export_macro: true,
    export_macro_name: "export_contract",
});

impl From<types::ComponentId> for ComponentId {
    fn from(id: types::ComponentId) -> Self {
        Self {
            namespace: id.namespace,
            name: id.name,
            instance: id.instance,
        }
    }
}

impl From<ComponentId> for types::ComponentId {
    fn from(id: ComponentId) -> Self {
        Self {
            namespace: id.namespace,
            name: id.name,
            instance: id.instance,
        }
    }
}

impl From<types::Timestamp> for Duration {
    fn from(at: types::Timestamp) -> Self {
        Self::new(at.seconds, at.nanoseconds)
    }
}

impl From<types::ComponentMessage> for Message {
    fn from(message: types::ComponentMessage) -> Self {
        let metadata = message.metadata;
        Self {
            sender: message.sender.into(),
            payload: message.payload.into(),
            correlation_id: metadata.correlation_id,
            reply_to: metadata.reply_to.map(Into::into),
            timestamp: metadata.timestamp.into(),
            content_type: metadata.content_type,
        }
    }
}

impl From<LogLevel> for types::LogLevel {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Trace => Self::Trace,
            LogLevel::Debug => Self::Debug,
            LogLevel::Info => Self::Info,
            LogLevel::Warn => Self::Warn,
            LogLevel::Error => Self::Error,
        }
    }
}
