use std::fmt::{self, Display};
use std::time::Duration;

/// When a component has an instance, what a host does about one that fails, and how much
/// may wait for it.
///
/// The default gives a component an instance at once and for as long as it is loaded,
/// restarts nothing and lets 1024 messages wait.
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
    /// When the component gets its first instance.
    pub start: StartPolicy,
    /// How long the component may be without a message and without an open request before
    /// its instance is shut down, to be made anew for the next message; `None` keeps it.
    pub idle: Option<Duration>,
    /// How often the component is asked how it is while it has an instance. One that says
    /// [`UNHEALTHY_ANSWERS`](Self::UNHEALTHY_ANSWERS) times in a row that it is unhealthy
    /// is restarted. With `None` it is asked only when somebody wants to know.
    pub health: Option<Duration>,
    /// What becomes of the old version when this one takes its place.
    pub swap: SwapPolicy,
    /// What becomes of a message that a node was handling when it died, where the host is one
    /// of several.
    pub after_crash: AfterCrash,
}

impl Supervision {
    /// 5 s: where doubling the wait between restarts ends.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(5);
    /// What a manifest may ask for: a longer queue hides an overload instead of
    /// bridging it.
    pub const MAX_MAILBOX: u32 = 1_000_000;
    /// 24 h: the longest that a manifest may ask for in [`idle`](Self::idle) and
    /// [`health`](Self::health).
    pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);
    /// How often in a row a component may say that it is unhealthy, at the interval of
    /// [`health`](Self::health), before it is restarted: more than a hiccup.
    pub const UNHEALTHY_ANSWERS: u32 = 3;
}

impl Default for Supervision {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::Never,
            max_restarts: 3,
            within: Duration::from_secs(5),
            backoff: Duration::from_millis(50),
            mailbox: 1024,
            start: StartPolicy::AtOnce,
            idle: None,
            health: None,
            swap: SwapPolicy::Beside,
            after_crash: AfterCrash::DeadLetter,
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

/// When a component gets its first instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StartPolicy {
    /// While it is loaded.
    #[default]
    AtOnce,
    /// When there is a message for it.
    OnMessage,
}

impl StartPolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::AtOnce, Self::OnMessage];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::OnMessage => "on-message",
        }
    }
}

impl Display for StartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What becomes of the old version of a component when a new one takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SwapPolicy {
    /// It goes on until the new one is initialized, for which there must be room.
    #[default]
    Beside,
    /// Where there is no room for both, it is shut down first, and messages wait until the new
    /// one is there. If that does not start, the old version is started anew.
    Pause,
}

impl SwapPolicy {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::Beside, Self::Pause];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::Pause => "pause",
        }
    }
}

impl Display for SwapPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What becomes of a message that was being handled when its process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AfterCrash {
    /// It is a dead letter: it may have been handled, and is not handled twice.
    #[default]
    DeadLetter,
    /// It is delivered again: the component bears with messages that come twice.
    Redeliver,
}

impl AfterCrash {
    /// Every policy.
    pub const ALL: [Self; 2] = [Self::DeadLetter, Self::Redeliver];

    /// As written in a manifest.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadLetter => "dead-letter",
            Self::Redeliver => "redeliver",
        }
    }
}

impl Display for AfterCrash {
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
        assert_eq!(supervision.start, StartPolicy::AtOnce);
        assert_eq!((supervision.idle, supervision.health), (None, None));
    }

    #[test]
    fn policies_print_as_written_in_a_manifest() {
        assert_eq!(
            RestartPolicy::ALL.map(|policy| policy.to_string()),
            ["never", "on-failure"]
        );
        assert_eq!(
            StartPolicy::ALL.map(|policy| policy.to_string()),
            ["at-once", "on-message"]
        );
        assert_eq!(
            SwapPolicy::ALL.map(|policy| policy.to_string()),
            ["beside", "pause"]
        );
        assert_eq!(
            AfterCrash::ALL.map(|policy| policy.to_string()),
            ["dead-letter", "redeliver"]
        );
    }
}
