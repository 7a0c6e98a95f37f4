use std::env;
use std::error::Error;
use std::fmt::Debug;

use clap::ValueEnum;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::subscriber::set_global_default;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

use wasm_core::text::{Escaped, Quoted};
use wasm_core::{Clock as _, SystemClock};

use crate::output;
use crate::output::log_filter::LogFilter;
use crate::output::otlp::Telemetry;
use crate::output::report::Report;

/// Of one line. A component's are cut earlier, but spelled out each character of theirs
/// may take ten.
const SHOWN_CHARS: usize = 32 << 10;

/// Which lines of the log are shown, as other programs in Rust have it.
const FILTER_VARIABLE: &str = "RUST_LOG";

/// How standard error is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: an object on each line.
    Json,
}

/// From now on, what components log or print, and warnings of the engine, appear on
/// standard error, one line each; or what the variable `RUST_LOG` says.
/// `telemetry` is sent the same, and spans, if there is to be any.
pub(crate) fn show_on_stderr(format: LogFormat, telemetry: Option<&Telemetry>) {
    if format == LogFormat::Json {
        output::speak_json();
    }
    let directives = env::var(FILTER_VARIABLE).unwrap_or_default();
    let (filter, unknown) = LogFilter::read(&directives);
    let is_shown = move |metadata: &Metadata<'_>| {
        metadata.is_event() && filter.shows(metadata.target(), *metadata.level())
    };
    let printed = GuestLog(format).with_filter(filter_fn(is_shown.clone()));
    let watched = tracing_subscriber::registry().with(printed);
    // It fails only where another was set before, and there is none.
    let _ = match telemetry {
        Some(telemetry) => {
            // Spans come first: they say of which trace a line is.
            let watched = watched.with(telemetry.traced());
            set_global_default(watched.with(telemetry.logged(is_shown)))
        }
        None => set_global_default(watched),
    };
    for directive in unknown {
        let directive = Quoted::new(&directive);
        Report::warning(format!(
            "{directive} in {FILTER_VARIABLE} is not understood, and left out"
        ))
        .with_help("write LEVEL or TARGET=LEVEL, parted by commas, as in warn,wasm_host=debug")
        .print();
    }
    if let Some(telemetry) = telemetry {
        telemetry.check_environment();
    }
}

struct GuestLog(LogFormat);

impl<S: Subscriber> Layer<S> for GuestLog {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        match self.0 {
            LogFormat::Text => {
                let mut line = Line::default();
                event.record(&mut line);
                output::note_shaped(line.text(event.metadata()));
            }
            LogFormat::Json => {
                let mut object = Object::new(event.metadata());
                event.record(&mut object);
                output::note_shaped(object.text());
            }
        }
    }
}

/// An event with all of its fields.
struct Object(serde_json::Map<String, Value>);

impl Object {
    fn new(metadata: &Metadata<'_>) -> Self {
        let level = metadata.level().as_str().to_ascii_lowercase();
        let mut fields = serde_json::Map::new();
        fields.insert("at".to_owned(), SystemClock.now().as_millis().into());
        fields.insert("level".to_owned(), level.into());
        fields.insert("target".to_owned(), metadata.target().into());
        Self(fields)
    }

    fn text(self) -> String {
        format!("{}\n", Value::Object(self.0))
    }

    fn add(&mut self, field: &Field, value: Value) {
        // That of a component's line is said by a field.
        self.0.insert(field.name().to_owned(), value);
    }
}

impl Visit for Object {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let shown = Escaped::prose(SHOWN_CHARS, &format!("{value:?}")).to_string();
        self.add(field, shown.into());
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }
}

/// The fields of an event that are shown.
#[derive(Debug, Default)]
struct Line {
    component: String,
    /// `stdout` or `stderr`, or the level of a log line.
    kind: String,
    message: String,
    /// Of what else there is, the values of these, which need no name.
    causes: String,
    /// The others.
    details: String,
}

impl Line {
    fn text(&self, metadata: &Metadata<'_>) -> String {
        let level = metadata.level().as_str().to_ascii_lowercase();
        let Self {
            component,
            kind,
            causes,
            details,
            ..
        } = self;
        // A component's lines come escaped, which once more changes nothing; other texts
        // may be anything.
        let message = format!("{}{causes}{details}", self.message);
        let message = Escaped::prose(SHOWN_CHARS, &message);
        match (component.as_str(), kind.as_str()) {
            ("", _) => format!("{level}: {message}\n"),
            (component, "") => format!("[{component}] {level}: {message}\n"),
            (component, kind) => format!("[{component}] {kind}: {message}\n"),
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let shown = format!("{value:?}");
        match field.name() {
            "component" => self.component = shown,
            "stream" | "level" => self.kind = shown,
            "message" => self.message = shown,
            "path" | "error" => self.causes += &format!(": {shown}"),
            name => self.details += &format!(" ({name}: {shown})"),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use wasm_runtime::COMPONENT_TARGET;

    use super::*;

    /// Keeps the lines instead of printing them.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl<S: Subscriber> Layer<S> for &'static Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut line = Line::default();
            event.record(&mut line);
            let mut lines = self.0.lock().unwrap();
            lines.push(line.text(event.metadata()));
        }
    }

    fn keeping(kept: &'static Kept, act: impl FnOnce()) {
        let filter = LogFilter::default();
        let shown = filter_fn(move |metadata| filter.shows(metadata.target(), *metadata.level()));
        let watched = tracing_subscriber::registry().with(kept.with_filter(shown));
        tracing::subscriber::with_default(watched, act);
    }

    #[test]
    fn a_line_is_shown_up_to_some_length() {
        let kept: &'static Kept = Box::leak(Box::default());
        keeping(kept, || tracing::warn!("{}", "x".repeat(100_000)));
        let lines = kept.0.lock().unwrap();
        assert_eq!(*lines, [format!("warn: {}…\n", "x".repeat(32 << 10))]);
    }

    #[test]
    fn a_line_says_who_and_how() {
        let kept: &'static Kept = Box::leak(Box::default());
        keeping(kept, || {
            let component = "demo/a/main";
            tracing::debug!(target: COMPONENT_TARGET, %component, level = "debug", "one");
            tracing::info!(target: COMPONENT_TARGET, %component, stream = "stdout", "two");
            tracing::warn!(target: COMPONENT_TARGET, %component, "three");
            tracing::warn!("four");
            tracing::info!("five");
            let error = std::io::Error::other("no space\u{1b}");
            let path = std::path::Path::new("m/d.redb");
            tracing::warn!(path = %path.display(), %error, attempts = 2, "six failed");
            tracing::warn!(error = &error as &dyn Error, "seven failed");
        });
        let lines = kept.0.lock().unwrap();
        assert_eq!(
            *lines,
            [
                "[demo/a/main] debug: one\n",
                "[demo/a/main] stdout: two\n",
                "[demo/a/main] warn: three\n",
                "warn: four\n",
                "warn: six failed: m/d.redb: no space\\u{1b} (attempts: 2)\n",
                "warn: seven failed: no space\\u{1b}\n",
            ]
        );
    }
}
