//! Which HTTP requests a component answers.

use std::fmt::{self, Display};
use std::str::FromStr;

use thiserror::Error;

use crate::text::Quoted;

/// Which HTTP requests are for a component, as `[http]` of its manifest says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpRoute {
    /// The paths that it answers.
    pub path: HttpPath,
    /// The content type of replies of a component that is sent requests as messages, which do
    /// not say what they are. A component that exports `wasi:http/incoming-handler` says it
    /// itself.
    pub reply_type: Option<String>,
}

impl HttpRoute {
    /// The content type of replies for which none is set.
    pub const DEFAULT_REPLY_TYPE: &str = "application/octet-stream";

    /// For the requests to these paths.
    pub fn new(path: HttpPath) -> Self {
        Self {
            path,
            reply_type: None,
        }
    }

    /// Sets [`reply_type`](Self::reply_type).
    #[must_use]
    pub fn with_reply_type(mut self, reply_type: impl Into<String>) -> Self {
        self.reply_type = Some(reply_type.into());
        self
    }
}

/// Paths of HTTP requests: one, such as `/shop`, or with `/*` at the end all that begin with
/// it. `/shop/*` is `/shop`, `/shop/` and whatever is below, and `/*` is every path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HttpPath {
    /// Without the `/*`.
    base: String,
    has_below: bool,
}

impl HttpPath {
    /// The most bytes that one is written with.
    pub const MAX_BYTES: usize = 256;

    /// Whether the path of a request, as it was sent, is one of these.
    pub fn matches(&self, path: &str) -> bool {
        match path.strip_prefix(self.base.as_str()) {
            Some("") => true,
            Some(rest) => self.has_below && rest.starts_with('/'),
            None => false,
        }
    }

    /// Of two that match a path, the larger one is the narrower.
    pub fn narrowness(&self) -> (usize, bool) {
        (self.base.len(), !self.has_below)
    }
}

impl FromStr for HttpPath {
    type Err = InvalidHttpPath;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidHttpPath(text.to_owned());
        let (base, has_below) = match text.strip_suffix("/*") {
            Some(base) => (base, true),
            None => (text, false),
        };
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        let is_segment = |segment: &str| segment.bytes().all(is_plain);
        let is_step = |segment: &str| matches!(segment, "" | "." | "..");
        let is_path = match base.strip_prefix('/') {
            Some("") => !has_below,
            Some(rest) => rest.split('/').all(|it| is_segment(it) && !is_step(it)),
            None => base.is_empty() && has_below,
        };
        if !is_path || text.len() > Self::MAX_BYTES {
            return Err(invalid());
        }
        Ok(Self {
            base: base.to_owned(),
            has_below,
        })
    }
}

impl Display for HttpPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.has_below { "/*" } else { "" };
        write!(f, "{}{below}", self.base)
    }
}

/// A text that is no [`HttpPath`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{} is no path of requests: write `/` and segments of [A-Za-z0-9._~-], with `/*` at the end \
     for all that is below, as in \"/shop/*\"; at most 256 bytes",
    Quoted::new(.0)
)]
pub struct InvalidHttpPath(String);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::snapshot;

    fn path(text: &str) -> HttpPath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_matches_itself_and_with_a_star_what_is_below() {
        for (pattern, sent, matches) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/*", "/", true),
            ("/*", "/a/b", true),
            ("/shop", "/shop", true),
            ("/shop", "/shop/", false),
            ("/shop/*", "/shop", true),
            ("/shop/*", "/shop/", true),
            ("/shop/*", "/shop/a/b", true),
            ("/shop/*", "/shops", false),
            ("/shop/*", "/SHOP/a", false),
            ("/shop/*", "/", false),
        ] {
            assert_eq!(path(pattern).matches(sent), matches, "{pattern} {sent}");
            assert_eq!(path(pattern).to_string(), pattern);
        }
    }

    #[test]
    fn a_path_is_so_long() {
        let longest = format!("/{}", "p".repeat(HttpPath::MAX_BYTES - 1));
        assert_eq!(path(&longest).to_string(), longest);
        let longer = format!("{longest}p");
        assert_eq!(
            longer.parse::<HttpPath>(),
            Err(InvalidHttpPath(longer.clone()))
        );
    }

    #[test]
    fn the_longer_path_is_the_narrower() {
        assert!(path("/shop/*").narrowness() > path("/*").narrowness());
        assert!(path("/shop/cart/*").narrowness() > path("/shop/*").narrowness());
        assert!(path("/shop").narrowness() > path("/shop/*").narrowness());
    }

    #[test]
    fn a_path_has_plain_segments() {
        let long = format!("/{}", "a".repeat(HttpPath::MAX_BYTES));
        for bad in [
            "", "*", "shop", "shop/*", "//", "//*", "/a//b", "/a/", "/a*", "/*/a", "/./a", "/../*",
            "/a%20b", "/a b", "/a?b", "/a#b", "/ä", &long,
        ] {
            assert_eq!(
                bad.parse::<HttpPath>(),
                Err(InvalidHttpPath(bad.to_owned()))
            );
        }
        let error = "shop/*".parse::<HttpPath>().unwrap_err();
        snapshot("invalid-http-path", [("InvalidHttpPath", error)]);
    }
}
