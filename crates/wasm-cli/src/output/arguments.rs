//! What is told of the command line: help, or what is wrong with it.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use clap::Error;
use clap::builder::StyledStr;
use clap::error::{ContextValue, ErrorKind};

use wasm_core::text::{Escaped, PathText as _};

use crate::output::complain_last;
use crate::output::outcome::{BAD_INPUT, Stop};
use crate::output::report::SHOWN_MESSAGE_CHARS;

/// Prints what clap says of these arguments, and how the program ends.
pub(crate) fn tell(error: Error, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    if !error.use_stderr() {
        // Help, which somebody asked for.
        let printed = error.print().and_then(|()| io::stdout().flush());
        return match printed {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => Stop::from(error).into_exit_code(),
        };
    }
    complain_last(text(error, arguments));
    ExitCode::from(BAD_INPUT)
}

/// With the codes for colours, which are clap's alone: what of the arguments is in it is
/// escaped.
pub(crate) fn text(mut error: Error, arguments: impl Iterator<Item = OsString>) -> String {
    let context: Vec<_> = error
        .context()
        .map(|(kind, value)| (kind, value.clone()))
        .collect();
    let given: Vec<_> = context
        .iter()
        .filter_map(|(_, value)| match value {
            ContextValue::String(given) => Some((given.as_str(), escaped(given))),
            _ => None,
        })
        .filter(|(given, escaped)| given != escaped)
        .collect();
    for (kind, value) in &context {
        let shown = match value {
            ContextValue::String(given) => ContextValue::String(escaped(given)),
            ContextValue::Strings(all) => {
                ContextValue::Strings(all.iter().map(|given| escaped(given)).collect())
            }
            // Hints repeat an argument amid colours.
            ContextValue::StyledStrs(hints) => {
                let escaped = |hint: &StyledStr| {
                    let replace = |hint: String, (given, escaped): &(&str, String)| {
                        hint.replace(given, escaped)
                    };
                    let hint = given.iter().fold(hint.ansi().to_string(), replace);
                    StyledStr::from(hint)
                };
                ContextValue::StyledStrs(hints.iter().map(escaped).collect())
            }
            _ => continue,
        };
        error.insert(*kind, shown);
    }
    let text = error.render().ansi().to_string();
    match (error.kind(), error.kind().as_str()) {
        (ErrorKind::InvalidUtf8, Some(unnamed)) => text.replacen(unnamed, &not_utf8(arguments), 1),
        _ => text,
    }
}

fn escaped(given: &str) -> String {
    Escaped::up_to(SHOWN_MESSAGE_CHARS, given).to_string()
}

/// Clap does not say which; those that name files may be anything.
fn not_utf8(arguments: impl Iterator<Item = OsString>) -> String {
    let named = arguments
        .filter(|argument| argument.to_str().is_none())
        .map(|argument| format!("'{}'", Path::new(&argument).escaped()))
        .collect::<Vec<_>>()
        .join(", ");
    format!("not UTF-8, as only the names of files may be: {named}")
}
