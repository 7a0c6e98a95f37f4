//! Which lines of the log are shown, as `RUST_LOG` says.

use std::str::FromStr;

use tracing::level_filters::LevelFilter;

use wasm_runtime::COMPONENT_TARGET;

/// Levels by the beginnings of targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogFilter {
    /// The longest first.
    targets: Vec<(String, LevelFilter)>,
    others: LevelFilter,
}

impl Default for LogFilter {
    /// All that components say, and warnings; none of a library about each request that a
    /// component sends amiss, as often as it likes: it names nobody, and the component is told.
    fn default() -> Self {
        Self {
            targets: vec![
                ("wasmtime_wasi_http".to_owned(), LevelFilter::OFF),
                (COMPONENT_TARGET.to_owned(), LevelFilter::TRACE),
            ],
            others: LevelFilter::WARN,
        }
    }
}

impl LogFilter {
    /// From directives as `RUST_LOG` has them, `TARGET=LEVEL` or `LEVEL`, parted by commas; and
    /// those that are none of them.
    pub(crate) fn read(text: &str) -> (Self, Vec<String>) {
        let mut filter = Self::default();
        let mut unknown = Vec::new();
        for directive in text.split(',').map(str::trim).filter(|it| !it.is_empty()) {
            let level = |text: &str| LevelFilter::from_str(text).ok();
            let read = match directive.split_once('=') {
                Some((target, text)) => level(text).map(|level| (Some(target), level)),
                None => match level(directive) {
                    Some(level) => Some((None, level)),
                    // A target alone is shown whole.
                    None if is_target(directive) => Some((Some(directive), LevelFilter::TRACE)),
                    None => None,
                },
            };
            match read {
                Some((Some(target), level)) if is_target(target) => {
                    filter.targets.retain(|(known, _)| known != target);
                    filter.targets.push((target.to_owned(), level));
                }
                Some((None, level)) => filter.others = level,
                _ => unknown.push(directive.to_owned()),
            }
        }
        filter
            .targets
            .sort_by_key(|(target, _)| std::cmp::Reverse(target.len()));
        (filter, unknown)
    }

    pub(crate) fn shows(&self, target: &str, level: tracing::Level) -> bool {
        let mut targets = self.targets.iter();
        let most = targets.find(|(known, _)| target.starts_with(known.as_str()));
        level <= most.map_or(self.others, |(_, level)| *level)
    }
}

fn is_target(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_:-".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_longest_target_counts() {
        let (filter, unknown) = LogFilter::read("error,wasm_host=debug,wasm_host::post=off,redb");
        assert_eq!(unknown, [""; 0]);
        for (target, level, shown) in [
            ("other", Level::ERROR, true),
            ("other", Level::WARN, false),
            ("wasm_host::component", Level::DEBUG, true),
            ("wasm_host::component", Level::TRACE, false),
            ("wasm_host::post::router", Level::ERROR, false),
            ("redb", Level::TRACE, true),
            (COMPONENT_TARGET, Level::TRACE, true),
        ] {
            assert_eq!(filter.shows(target, level), shown, "{target} {level}");
        }
    }

    #[test]
    fn without_directives_components_and_warnings_are_shown() {
        let (filter, _) = LogFilter::read("");
        assert_eq!(filter, LogFilter::default());
        assert!(filter.shows(COMPONENT_TARGET, Level::DEBUG));
        assert!(filter.shows("wasm_host", Level::WARN));
        assert!(!filter.shows("wasm_host", Level::INFO));
    }

    #[test]
    fn requests_that_go_amiss_are_no_news_unless_they_are_asked_for() {
        const OF_REQUESTS: &str = "wasmtime_wasi_http::p2::error";
        for (text, shown) in [
            ("", false),
            ("debug", false),
            ("wasmtime_wasi_http=warn", true),
        ] {
            let (filter, _) = LogFilter::read(text);
            assert_eq!(filter.shows(OF_REQUESTS, Level::WARN), shown, "{text}");
        }
    }

    #[test]
    fn what_is_no_directive_is_told() {
        let (filter, unknown) = LogFilter::read("info[span{a=1}]=debug, warn ,a=loud,=info");
        assert_eq!(unknown, ["info[span{a=1}]=debug", "a=loud", "=info"]);
        assert_eq!(filter, LogFilter::default());
    }
}
