use std::fmt::{self, Display};
use std::str::FromStr;

use thiserror::Error;

use crate::text::Quoted;

/// How much a log line matters, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// For following single steps.
    Trace,
    /// For finding a fault.
    Debug,
    /// What an operator may want to know.
    Info,
    /// What an operator should look at.
    Warn,
    /// Something failed.
    Error,
}

impl LogLevel {
    /// Every level, most verbose first.
    pub const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is not a [`LogLevel`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} is not a log level: write trace, debug, info, warn or error", Quoted::new(.0))]
pub struct InvalidLogLevel(String);

impl FromStr for LogLevel {
    type Err = InvalidLogLevel;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|level| level.as_str() == text)
            .ok_or_else(|| InvalidLogLevel(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::snapshot;

    #[test]
    fn reads_what_it_prints_and_nothing_else() {
        for level in LogLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert_eq!(
            "Info".parse::<LogLevel>(),
            Err(InvalidLogLevel("Info".into()))
        );
        let text = "In\nfo";
        snapshot(
            "invalid-log-level",
            [("InvalidLogLevel", InvalidLogLevel(text.into()))],
        );
    }
}
