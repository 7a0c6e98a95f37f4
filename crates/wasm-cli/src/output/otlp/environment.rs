//! What variables of the environment may say. OpenTelemetry passes over what it does not
//! understand, and tells nobody who reads standard error.

use std::env;
use std::str::FromStr;

use opentelemetry_sdk::metrics::Temporality;

use wasm_core::text::Quoted;

use super::signal::{SENT, Signal, UNWANTED};
use crate::output::report::Report;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const SAMPLERS: [&str; 4] = [
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
];
/// These have an argument.
const RATIOS: [&str; 2] = ["traceidratio", "parentbased_traceidratio"];

/// What a variable may say.
#[derive(Debug, Clone, Copy)]
enum Allowed {
    Sampler,
    Ratio,
    Millis,
    Count,
    Temporality,
    Exporter,
    Attributes,
    /// May be secret, and is not shown.
    Headers,
}

const VARIABLES: [(&str, Allowed); 13] = [
    (SAMPLER, Allowed::Sampler),
    ("OTEL_TRACES_SAMPLER_ARG", Allowed::Ratio),
    ("OTEL_RESOURCE_ATTRIBUTES", Allowed::Attributes),
    ("OTEL_EXPORTER_OTLP_HEADERS", Allowed::Headers),
    ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", Allowed::Headers),
    ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", Allowed::Headers),
    ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", Allowed::Headers),
    ("OTEL_BSP_SCHEDULE_DELAY", Allowed::Millis),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Allowed::Count),
    ("OTEL_BLRP_SCHEDULE_DELAY", Allowed::Millis),
    ("OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", Allowed::Count),
    ("OTEL_METRIC_EXPORT_INTERVAL", Allowed::Millis),
    (
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
        Allowed::Temporality,
    ),
];

/// Warns of each variable that says what is not understood.
pub(super) fn check() {
    let exporters = Signal::ALL.map(|signal| (signal.variable(), Allowed::Exporter));
    for (name, allowed) in VARIABLES.into_iter().chain(exporters) {
        let said = env::var_os(name).unwrap_or_default();
        // What is no text is nothing that is understood.
        let said = said.to_str().unwrap_or("\u{fffd}");
        if let Some(report) = complaint(name, allowed, said) {
            report.print();
        }
    }
}

/// An empty variable is one that is not there.
fn complaint(name: &str, allowed: Allowed, said: &str) -> Option<Report> {
    let wrong = match allowed {
        Allowed::Attributes | Allowed::Headers => {
            said.split_terminator(',').find(|it| !is_pair(it))?
        }
        _ if said.is_empty() || allowed.has(said) => return None,
        _ => said,
    };
    let told = match allowed {
        Allowed::Headers => format!("what {name} says is not understood, and left out"),
        _ => format!(
            "{} in {name} is not understood, and left out",
            Quoted::new(wrong)
        ),
    };
    Some(Report::warning(told).with_help(allowed.help()))
}

fn is_pair(text: &str) -> bool {
    let pair = text.split_once('=');
    pair.is_some_and(|(name, _)| !name.trim().is_empty())
}

impl Allowed {
    fn has(self, said: &str) -> bool {
        match self {
            Self::Sampler => SAMPLERS.contains(&said) || RATIOS.contains(&said),
            Self::Ratio => f64::from_str(said).is_ok_and(|it| (0.0..=1.0).contains(&it)),
            Self::Millis | Self::Count => u64::from_str(said).is_ok(),
            Self::Temporality => Temporality::from_str(said).is_ok(),
            Self::Exporter => [UNWANTED, SENT].contains(&said),
            Self::Attributes | Self::Headers => said.split_terminator(',').all(is_pair),
        }
    }

    fn help(self) -> String {
        match self {
            Self::Sampler => format!("it may be {}, {}", SAMPLERS.join(", "), RATIOS.join(" or ")),
            Self::Ratio => format!(
                "it may be a number from 0 to 1, such as 0.01, for {SAMPLER}={}",
                RATIOS.join(" or ")
            ),
            Self::Millis => "it may be a number of milliseconds, such as 5000".to_owned(),
            Self::Count => "it may be a number, such as 512".to_owned(),
            Self::Temporality => "it may be cumulative, delta or lowmemory".to_owned(),
            Self::Exporter => format!("it may be {SENT} or {UNWANTED}"),
            Self::Attributes => "write NAME=VALUE, parted by commas".to_owned(),
            Self::Headers => {
                "write NAME=VALUE, parted by commas, with %20 for a space and so on".to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;

    fn told(allowed: Allowed, said: &str) -> Option<String> {
        let report = complaint("OTEL_X", allowed, said)?;
        Some(strip_str(&report.to_string()).to_string())
    }

    #[test]
    fn what_is_understood_is_not_told_of() {
        for (allowed, said) in [
            (Allowed::Sampler, "parentbased_traceidratio"),
            (Allowed::Ratio, "0.01"),
            (Allowed::Millis, "5000"),
            (Allowed::Temporality, "DELTA"),
            (Allowed::Exporter, "none"),
            (Allowed::Attributes, "a=b, c=,"),
            (Allowed::Headers, "authorization=Bearer%20TOKEN"),
        ] {
            assert_eq!(told(allowed, said), None);
            assert_eq!(told(allowed, ""), None);
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_may_be_said() {
        for (allowed, said, wrong, help) in [
            (
                Allowed::Sampler,
                "garbage\u{1b}",
                r"garbage\u{1b}",
                "always_off",
            ),
            (Allowed::Ratio, "1.5", "1.5", "from 0 to 1"),
            (Allowed::Ratio, "NaN", "NaN", "from 0 to 1"),
            (Allowed::Millis, "5s", "5s", "milliseconds"),
            (Allowed::Count, "-1", "-1", "number"),
            (Allowed::Temporality, "sum", "sum", "delta"),
            (Allowed::Exporter, "console", "console", "otlp or none"),
            (Allowed::Attributes, "a=b,c", "c", "NAME=VALUE"),
        ] {
            let told = told(allowed, said).unwrap();
            let begins =
                format!("warning: \"{wrong}\" in OTEL_X is not understood, and left out\n");
            assert!(told.starts_with(&begins) && told.contains(help), "{told}");
        }
        let told = told(Allowed::Headers, "key=1,secret").unwrap();
        assert!(
            told.contains("OTEL_X") && !told.contains("secret"),
            "{told}"
        );
    }
}
