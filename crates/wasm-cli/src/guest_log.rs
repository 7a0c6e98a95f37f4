use std::error::Error;
use std::fmt::Debug;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use wasm_core::text::Escaped;
use wasm_runtime::COMPONENT_TARGET;

use crate::output;

/// Of one line. A component's are cut earlier, but spelled out each character of theirs
/// may take ten.
const SHOWN_CHARS: usize = 32 << 10;

/// From now on, what components log or print, and warnings of the engine, appear on
/// standard error, one line each.
pub(crate) fn show_on_stderr() {
    // It fails only where another was set before, and there is none.
    let _ = tracing::subscriber::set_global_default(GuestLog);
}

#[derive(Debug)]
struct GuestLog;

impl Subscriber for GuestLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let from_component = metadata.target() == COMPONENT_TARGET;
        metadata.is_event() && (from_component || *metadata.level() <= Level::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let line = line.text(event.metadata());
        output::note(line);
    }

    // Spans are never enabled.
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
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
        let message = Escaped::up_to(SHOWN_CHARS, &message);
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

    use super::*;

    /// Keeps the lines instead of printing them.
    #[derive(Default)]
    struct Kept(Mutex<Vec<String>>);

    impl Subscriber for &'static Kept {
        fn enabled(&self, metadata: &Metadata<'_>) -> bool {
            GuestLog.enabled(metadata)
        }

        fn event(&self, event: &Event<'_>) {
            let mut line = Line::default();
            event.record(&mut line);
            let mut lines = self.0.lock().unwrap();
            lines.push(line.text(event.metadata()));
        }

        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }

        fn record(&self, _: &Id, _: &Record<'_>) {}

        fn record_follows_from(&self, _: &Id, _: &Id) {}

        fn enter(&self, _: &Id) {}

        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_line_is_shown_up_to_some_length() {
        let kept: &'static Kept = Box::leak(Box::default());
        tracing::subscriber::with_default(kept, || tracing::warn!("{}", "x".repeat(100_000)));
        let lines = kept.0.lock().unwrap();
        assert_eq!(*lines, [format!("warn: {}…\n", "x".repeat(32 << 10))]);
    }

    #[test]
    fn a_line_says_who_and_how() {
        let kept: &'static Kept = Box::leak(Box::default());
        tracing::subscriber::with_default(kept, || {
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
