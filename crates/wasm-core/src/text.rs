//! Texts that a component or a file chose, made fit for a message on one line.

use std::fmt::{self, Display, Write};

/// Enough to recognize a text by; the rest would only hide the message around it.
const SHOWN_CHARS: usize = 200;

/// Prints without control characters, shortened with `…` after 200 characters.
pub(crate) struct Escaped<'a>(pub(crate) &'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, c) in self.0.chars().enumerate() {
            if shown == SHOWN_CHARS {
                return f.write_char('…');
            }
            // Format characters such as U+202E reorder what a terminal shows.
            if c.is_control() || is_format(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The same in double quotes.
pub(crate) struct Quoted<'a>(pub(crate) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", Escaped(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_spelled_out_and_length_is_bounded() {
        assert_eq!(
            Quoted("a\n\u{1b}é\u{202e}").to_string(),
            "\"a\\u{a}\\u{1b}é\\u{202e}\""
        );
        let shown = Escaped(&"x".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}…", "x".repeat(200)));
    }
}
