//! Where a collector is.

use std::fmt::{self, Display};
use std::str::FromStr;

use hyper::Uri;

use wasm_core::text::Quoted;

use super::signal::Signal;

/// The URL of a collector, without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Collector(String);

impl Collector {
    /// Where it takes them.
    pub(super) fn place_of(&self, signal: Signal) -> String {
        format!("{}{}", self.0, signal.path())
    }
}

impl FromStr for Collector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = |why: &str| {
            let shown = Quoted::new(text);
            format!(
                "{shown} {why}: write http:// or https:// with a host and a port, such as http://127.0.0.1:4318"
            )
        };
        let uri: Uri = text.parse().map_err(|_| invalid("is no URL"))?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(invalid("does not say http or https"));
        }
        let authority = uri.authority().ok_or_else(|| invalid("names no host"))?;
        if authority.as_str().contains('@') {
            return Err(invalid(
                "has a password (OTEL_EXPORTER_OTLP_HEADERS is for those)",
            ));
        }
        let host = authority.host();
        let port = authority.as_str().strip_prefix(host).unwrap_or_default();
        if host.is_empty() || (!port.is_empty() && authority.port_u16().is_none()) {
            return Err(invalid("has no host or no port that there is"));
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(invalid("has more than a path"));
        }
        let base = text.trim_end_matches('/');
        let mut signals = Signal::ALL.into_iter();
        let above = signals.find_map(|signal| base.strip_suffix(signal.path()));
        let base = above.unwrap_or(base);
        Ok(Self(base.trim_end_matches('/').to_owned()))
    }
}

impl Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_is_taken_below_the_url() {
        for (text, base) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318"),
            ("http://[::1]:4318/", "http://[::1]:4318"),
            ("https://a.example/otlp/", "https://a.example/otlp"),
            ("http://a:1/v1/traces", "http://a:1"),
            ("http://a:1/v1/metrics/", "http://a:1"),
        ] {
            let collector: Collector = text.parse().unwrap();
            assert_eq!(collector.to_string(), base);
            let places = Signal::ALL.map(|signal| collector.place_of(signal));
            let expected = ["traces", "logs", "metrics"].map(|it| format!("{base}/v1/{it}"));
            assert_eq!(places, expected);
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_told() {
        for (text, why) in [
            ("", "is no URL"),
            ("127.0.0.1:4318", "does not say http or https"),
            ("grpc://127.0.0.1:4317", "does not say http or https"),
            ("http://", "is no URL"),
            ("http://u:p@a:4318", "has a password"),
            ("http://a:4318/?k=v", "has more than a path"),
            ("http://a:4318/#x", "has more than a path"),
            ("http://a:99999", "has no host or no port"),
            ("http://a:/", "has no host or no port"),
            ("http://:4318", "has no host or no port"),
        ] {
            let error = text.parse::<Collector>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
