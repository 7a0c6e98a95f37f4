//! Texts that a component or a file chose, made fit for a terminal and a log.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Enough to recognize a text by; the rest would only hide the message around it.
const SHOWN_CHARS: usize = 200;

/// Prints a text on one line: control and invisible formatting characters are
/// spelled out, and what is too long ends in `…`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_chars: usize,
    quoted: bool,
}

impl<'a> Escaped<'a> {
    /// Shows 200 characters at the most.
    pub fn new(text: &'a str) -> Self {
        Self::up_to(SHOWN_CHARS, text)
    }

    /// Shows `max_chars` characters at the most.
    pub fn up_to(max_chars: usize, text: &'a str) -> Self {
        Self {
            text,
            max_chars,
            quoted: false,
        }
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, c) in self.text.chars().enumerate() {
            if shown == self.max_chars {
                return f.write_char('…');
            }
            if steers_terminal(c) {
                write!(f, "{}", c.escape_unicode())?;
            } else if self.quoted && matches!(c, '"' | '\\') {
                write!(f, "\\{c}")?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

/// Whether a character does something to a terminal instead of being shown: control
/// characters, and format characters such as U+202E, which reorder what is shown.
///
/// Those that join or part what stands beside them are text: Persian is not written
/// without U+200C, and an emoji of a family not without U+200D.
pub fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{2028}'..='\u{202e}' | '\u{2065}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Prints the name of a file on one line and whole, with control characters spelled out:
/// a file can be called anything.
#[derive(Debug, Clone, Copy)]
pub struct EscapedPath<'a>(pub &'a Path);

impl Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped::up_to(usize::MAX, &self.0.to_string_lossy()).fmt(f)
    }
}

/// Paths that are printed.
pub trait PathText {
    /// The path as [`EscapedPath`] prints it, where [`Path::display`] would print control
    /// characters as they are.
    fn escaped(&self) -> EscapedPath<'_>;
}

impl PathText for Path {
    fn escaped(&self) -> EscapedPath<'_> {
        EscapedPath(self)
    }
}

/// The byte order mark that some editors and shells put before UTF-8 text.
pub const MARK: &[u8] = "\u{feff}".as_bytes();

/// Takes the byte order mark from the beginning of a text. Bytes that are no UTF-8 stay
/// as they are.
pub fn without_mark(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.starts_with(MARK) && std::str::from_utf8(&bytes).is_ok() {
        bytes.drain(..MARK.len());
    }
    bytes
}

/// The first `max_chars` characters of what `display` prints, without making the
/// rest: a type can be printed at a length that is no measure of its size.
pub fn shortened(max_chars: usize, display: impl Display) -> String {
    let mut text = Shortened {
        text: String::new(),
        left: max_chars,
    };
    // The only error is the one that ends the printing.
    if write!(text, "{display}").is_err() {
        text.text.push('…');
    }
    text.text
}

struct Shortened {
    text: String,
    left: usize,
}

impl Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            self.text.push(c);
        }
        Ok(())
    }
}

/// [`Escaped`] in double quotes; those within, and backslashes, have a backslash before
/// them.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(Escaped<'a>);

impl<'a> Quoted<'a> {
    /// Shows 200 characters at the most.
    pub fn new(text: &'a str) -> Self {
        Self(Escaped {
            quoted: true,
            ..Escaped::new(text)
        })
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
        assert_eq!(Quoted::new("a\"b\\").to_string(), r#""a\"b\\""#);
        assert_eq!(Escaped::up_to(3, "abcd").to_string(), "abc…");
        assert_eq!(Escaped::up_to(3, "abc").to_string(), "abc");
        for c in [
            '\u{7f}',
            '\u{9b}',
            '\u{ad}',
            '\u{61c}',
            '\u{2066}',
            '\u{fffa}',
            '\u{e0041}',
        ] {
            assert!(steers_terminal(c), "{c:?}");
        }
        for c in [
            'é', '\u{200b}', '\u{200c}', '\u{200d}', '\u{200e}', '\u{200f}', '\u{2060}',
        ] {
            assert!(!steers_terminal(c), "{c:?}");
        }
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert!(steers_terminal(c), "{c:?}");
        }
        let shown = Escaped::new(&"x".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}…", "x".repeat(200)));
    }

    #[test]
    fn a_file_can_be_called_anything() {
        let path = Path::new("a\u{1b}[31m/b\nc.wasm");
        assert_eq!(EscapedPath(path).to_string(), "a\\u{1b}[31m/b\\u{a}c.wasm");
        let long = "x".repeat(1000);
        assert_eq!(EscapedPath(Path::new(&long)).to_string(), long);
    }

    #[test]
    fn a_text_begins_after_its_mark() {
        for (bytes, text) in [
            (&b"\xef\xbb\xbfa"[..], &b"a"[..]),
            (b"\xef\xbb\xbf", b""),
            (b"a\xef\xbb\xbf", b"a\xef\xbb\xbf"),
            (b"\xef\xbb\xbf\xff", b"\xef\xbb\xbf\xff"),
            (b"", b""),
        ] {
            assert_eq!(without_mark(bytes.to_vec()), text);
        }
    }

    #[test]
    fn what_would_be_printed_without_end_is_cut() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("é")?;
                }
            }
        }
        assert_eq!(shortened(3, Endless), "ééé…");
        assert_eq!(shortened(3, "abc"), "abc");
    }
}
