//! Texts that a component or a file chose, made fit for a terminal and a log.

use std::fmt::{self, Display, Write};

/// Enough to recognize a text by; the rest would only hide the message around it.
const SHOWN_CHARS: usize = 200;

/// Prints a text on one line: control and invisible formatting characters are
/// spelled out, and what is too long ends in `…`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_chars: usize,
}

impl<'a> Escaped<'a> {
    /// Shows 200 characters at the most.
    pub fn new(text: &'a str) -> Self {
        Self::up_to(SHOWN_CHARS, text)
    }

    /// Shows `max_chars` characters at the most.
    pub fn up_to(max_chars: usize, text: &'a str) -> Self {
        Self { text, max_chars }
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, c) in self.text.chars().enumerate() {
            if shown == self.max_chars {
                return f.write_char('…');
            }
            // Some format characters, such as U+202E, reorder what a terminal shows.
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

/// [`Escaped`] in double quotes.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(Escaped<'a>);

impl<'a> Quoted<'a> {
    /// Shows 200 characters at the most.
    pub fn new(text: &'a str) -> Self {
        Self(Escaped::new(text))
    }
}

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_spelled_out_and_length_is_bounded() {
        assert_eq!(
            Quoted::new("a\n\u{1b}é\u{202e}").to_string(),
            "\"a\\u{a}\\u{1b}é\\u{202e}\""
        );
        assert_eq!(Escaped::up_to(3, "abcd").to_string(), "abc…");
        assert_eq!(Escaped::up_to(3, "abc").to_string(), "abc");
        let shown = Escaped::new(&"x".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}…", "x".repeat(200)));
    }
}
