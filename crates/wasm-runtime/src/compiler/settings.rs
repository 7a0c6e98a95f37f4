//! How a compiler in a process of its own is told what it may use.

use std::ffi::OsString;

use crate::config::CodeSettings;

/// What the engine tells a compiler on its command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_seconds: u64,
    pub(crate) max_artifact_bytes: u64,
    /// The engine's process.
    pub(crate) parent: u32,
    pub(crate) code: CodeSettings,
}

impl Settings {
    pub(crate) fn to_arguments(self) -> [String; 5] {
        [
            self.memory_bytes.to_string(),
            self.cpu_seconds.to_string(),
            self.max_artifact_bytes.to_string(),
            self.parent.to_string(),
            self.code.reservation_bytes.to_string(),
        ]
    }

    pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut numbers = arguments.into_iter().map(|argument| {
            let number = argument.to_str()?.parse::<u64>();
            number.ok()
        });
        let settings = Self {
            memory_bytes: numbers.next()??,
            cpu_seconds: numbers.next()??,
            max_artifact_bytes: numbers.next()??,
            parent: u32::try_from(numbers.next()??).ok()?,
            code: CodeSettings {
                reservation_bytes: numbers.next()??,
            },
        };
        numbers.next().is_none().then_some(settings)
    }
}
