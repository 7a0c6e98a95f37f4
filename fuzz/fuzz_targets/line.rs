//! Any line that is typed to `airssys-wasm up`.

#![no_main]
#![allow(dead_code, reason = "the program uses the rest of these files")]

#[path = "../../crates/wasm-cli/src/line.rs"]
mod line;
#[path = "../../crates/wasm-cli/src/report.rs"]
mod report;

/// What is said goes nowhere: a report is looked at here, not printed.
mod output {
    pub(crate) fn note(_: String) {}
    pub(crate) fn complain_last(_: String) {}
    pub(crate) async fn complain(_: String) {}
}

use libfuzzer_sys::fuzz_target;

use crate::line::Line;

fuzz_target!(|data: &[u8]| {
    match Line::parse(data) {
        // What is sent is what was typed.
        Ok(Line::Ask(_, text) | Line::Send(_, text)) => assert!(data.ends_with(&text)),
        Ok(_) => {}
        Err(report) => {
            let shown = report.to_string();
            // Colours are the program's own; whatever else controls a terminal was typed.
            let plain: String = shown.split("\x1b[").map(after_colour).collect();
            assert!(
                !plain.contains(|c: char| c.is_control() && c != '\n'),
                "{shown:?}"
            );
        }
    }
});

/// What comes after the digits of a colour and their `m`.
fn after_colour(text: &str) -> &str {
    let rest = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
    if rest.len() == text.len() {
        text
    } else {
        rest.strip_prefix('m').unwrap_or("\x1b")
    }
}
