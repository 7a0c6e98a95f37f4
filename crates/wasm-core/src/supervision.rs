use std::fmt::{self, Display};
use std::time::Duration;

/// What a host does about a component that fails, and how much may wait for it.
///
/// The default restarts nothing and lets 1024 messages wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Supervision {
    /// Whether a failed component is restarted.
    pub restart: RestartPolicy,
    /// Restarts within [`within`](Self::within) after which the host gives up.
    pub max_restarts: u32,
    /// The sliding window in which restarts are counted.
    pub within: Duration,
    /// The wait before the first restart; doubles with each further one, up to
    /// [`MAX_BACKOFF`](Self::MAX_BACKOFF).
    pub backoff: Duration,
    /// How many messages may wait for the component at the most.
    pub mailbox: u32,
}

impl Supervision {
    /// 5 s: where doubling the wait between restarts ends.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(5);
    /// What a manifest may ask for: a longer queue hides an overload instead of
    /// bridging it.
    pub const MAX_MAILBOX: u32 = 1_000_000;
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::Never,
            max_restarts: 3,
            within: Duration::from_secs(5),
            backoff: Duration::from_millis(50),
            mailbox: 1024,
        }
    }
}

/// When a component is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RestartPolicy {
    /// A failed component stays failed.
    #[default]
    Never,
    /// It gets a fresh instance, until it fails too often.
    OnFailure,
}

impl RestartPolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Never, Self::OnFailure];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
        }
    }
}

impl Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_restarts_nothing() {
        let supervision = Supervision::default();
        assert_eq!(supervision.restart, RestartPolicy::Never);
        assert_eq!(supervision.mailbox, 1024);
    }

    #[test]
    fn policies_print_as_written_in_a_manifest() {
        assert_eq!(
            RestartPolicy::ALL.map(|policy| policy.to_string()),
            ["never", "on-failure"]
        );
    }
}
