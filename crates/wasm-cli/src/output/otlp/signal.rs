//! What is sent to a collector.

use std::env;
use std::fmt::{self, Display};

/// Each has a place of its own, and is wanted unless the environment says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
    Metrics,
}

/// What a [variable](Signal::variable) says of what is not to be sent.
pub(super) const UNWANTED: &str = "none";
/// And of what is, as when it says nothing.
pub(super) const SENT: &str = "otlp";

impl Signal {
    pub(super) const ALL: [Self; 3] = [Self::Traces, Self::Logs, Self::Metrics];

    pub(super) fn is_wanted(self) -> bool {
        !env::var(self.variable()).is_ok_and(|said| said == UNWANTED)
    }

    /// Which says whether it is wanted.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Self::Traces => "OTEL_TRACES_EXPORTER",
            Self::Logs => "OTEL_LOGS_EXPORTER",
            Self::Metrics => "OTEL_METRICS_EXPORTER",
        }
    }

    /// Where a collector takes it, below its URL.
    pub(super) fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// What is counted of it.
    pub(super) fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Logs => "log records",
            Self::Metrics => "readings of metrics",
        }
    }
}

impl Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        })
    }
}
