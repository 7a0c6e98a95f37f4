//! Texts that a component or a file chose, made fit for a terminal and a log.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Enough to recognize a text by; the rest would only hide the message around it.
const SHOWN_CHARS: usize = 200;

/// Prints a text on one line: what is [invisible](is_invisible) is spelled out, control
/// characters and others that steer a terminal included, and what is too long ends in `…`.
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a> {
    text: &'a str,
    max_chars: usize,
    quoted: bool,
    /// Whether what nobody can see is spelled out, too, where it steers no terminal.
    reveals: bool,
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
            reveals: true,
        }
    }

    /// What somebody says, such as a component in its log, and what has texts of that kind
    /// in it: only what steers a terminal is spelled out, and what joins and parts characters
    /// stays as it is. Shows `max_chars` characters at the most.
    pub fn prose(max_chars: usize, text: &'a str) -> Self {
        Self {
            reveals: false,
            ..Self::up_to(max_chars, text)
        }
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shown, (c, steers)) in chars(self.text).enumerate() {
            if shown == self.max_chars {
                return f.write_char('…');
            }
            if steers || self.reveals && is_invisible(c) {
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

/// The characters of a text that do something to a terminal or hide something instead of
/// being shown: control characters, format characters such as U+202E, which reorder what is
/// shown, and tags.
///
/// Those that join or part what stands beside them are text: Persian is not written
/// without U+200C, and an emoji of a family not without U+200D. So are the tags that make
/// a black flag, U+1F3F4, that of a region such as England.
pub fn steering_chars(text: &str) -> impl Iterator<Item = char> {
    chars(text).filter_map(|(c, steers)| steers.then_some(c))
}

/// Each character of a text, and whether it steers a terminal.
fn chars(text: &str) -> impl Iterator<Item = (char, bool)> {
    let mut of_flag = 0;
    text.char_indices().map(move |(at, c)| {
        if of_flag > 0 {
            of_flag -= 1;
            return (c, false);
        }
        if c == BLACK_FLAG {
            of_flag = flag_chars(&text[at + c.len_utf8()..]);
        }
        (c, steers_terminal(c))
    })
}

fn steers_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{feff}' | '\u{2028}'..='\u{202e}' | '\u{2065}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// What the flags of regions begin with.
const BLACK_FLAG: char = '\u{1f3f4}';
const LAST_TAG: char = '\u{e007f}';

/// How many characters after a black flag belong to it: the code of a region in tags, such
/// as `gbeng`, and the tag that ends it, after the variation selector that some write. A
/// code is that of a country, two letters or three digits, and one to four letters or digits
/// for the region; whatever else is written in tags is hidden.
fn flag_chars(after: &str) -> usize {
    let selected = after.strip_prefix('\u{fe0f}');
    let (selectors, tags) = selected.map_or((0, after), |tags| (1, tags));
    let code: String = tags
        .chars()
        .take(MAX_REGION_CHARS)
        .map_while(ascii_of_tag)
        .collect();
    let country = match code.bytes().position(|byte| !byte.is_ascii_digit()) {
        Some(0)
            if code.as_bytes()[1..]
                .first()
                .is_some_and(u8::is_ascii_lowercase) =>
        {
            2
        }
        Some(0) => return 0,
        Some(digits) if digits < 3 => return 0,
        _ => 3,
    };
    let is_ended = tags.chars().nth(code.len()) == Some(LAST_TAG);
    let has_region = (1..=4).contains(&code.len().saturating_sub(country));
    match is_ended && has_region {
        true => selectors + code.len() + 1,
        false => 0,
    }
}

/// Of the code of a region with that of its country.
const MAX_REGION_CHARS: usize = 7;

/// The letter or digit that a tag stands for.
fn ascii_of_tag(tag: char) -> Option<char> {
    let ascii = char::from_u32(u32::from(tag).checked_sub(0xe0000)?)?;
    matches!(ascii, '0'..='9' | 'a'..='z').then_some(ascii)
}

/// Whether nobody can tell a text with this character from one without it or with an
/// ordinary space: it is not shown, as the soft hyphen or U+200B, or is a space of
/// another kind.
pub fn is_invisible(c: char) -> bool {
    steers_terminal(c)
        || c != ' ' && c.is_whitespace()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}'
            | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// Prints the name of a file on one line and whole, as [`Escaped`] does, with bytes that are
/// no UTF-8 as `\xff`: a file can be called anything.
#[derive(Debug, Clone, Copy)]
pub struct EscapedPath<'a>(pub &'a Path);

impl Display for EscapedPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_encoded_bytes().utf8_chunks() {
            Escaped::up_to(usize::MAX, chunk.valid()).fmt(f)?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// Paths that are printed.
pub trait PathText {
    /// The path as [`EscapedPath`] prints it, where [`Path::display`] would print anything
    /// as it is.
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

    /// See [`Escaped::prose`]. Shows 200 characters at the most.
    pub fn prose(text: &'a str) -> Self {
        Self(Escaped {
            quoted: true,
            ..Escaped::prose(SHOWN_CHARS, text)
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
        let shown = Escaped::new(&"x".repeat(1000)).to_string();
        assert_eq!(shown, format!("{}…", "x".repeat(200)));
    }

    #[test]
    fn what_steers_a_terminal_is_told_from_text() {
        let steering = |text: &str| steering_chars(text).collect::<String>();
        let alone = "\u{7f}\u{9b}\u{feff}\u{2028}\u{2066}\u{fffa}\u{e0041}\u{e007f}";
        assert_eq!(steering(alone), alone);
        for c in ('\u{202a}'..='\u{202e}').chain('\u{2066}'..='\u{2069}') {
            assert_eq!(steering(&c.to_string()), c.to_string());
        }
        let text = "é\u{ad}\u{61c}\u{180e}\u{200b}\u{200c}\u{200d}\u{200e}\u{200f}\u{2060}\u{fe0f}";
        assert_eq!(steering(text), "");
    }

    #[test]
    fn tags_are_text_in_the_flag_of_a_region_only() {
        let tags = |text: &str| -> String {
            let tag = |c| char::from_u32(0xe0000 + u32::from(c)).unwrap();
            text.chars().map(tag).collect()
        };
        let flag = |code: &str| format!("\u{1f3f4}{}\u{e007f}", tags(code));
        for code in ["gbeng", "gbsct", "usca", "us1", "840ca", "8401234", "cn11"] {
            assert_eq!(steering_chars(&flag(code)).count(), 0, "{code}");
        }
        let three = format!("{0}x{0}{0}", flag("gbwls"));
        assert_eq!(Escaped::prose(99, &three).to_string(), three);
        let selected = format!("\u{1f3f4}\u{fe0f}{}\u{e007f}", tags("gbeng"));
        assert_eq!(steering_chars(&selected).count(), 0);
        for code in [
            "",
            "g",
            "gb",
            "840",
            "84",
            "8a123",
            "g1x",
            "gbenglish",
            "gb eng",
            "GBENG",
            "84012345",
        ] {
            assert_eq!(
                steering_chars(&flag(code)).count(),
                code.len() + 1,
                "{code}"
            );
        }
        let not_ended = format!("\u{1f3f4}{}", tags("gbeng"));
        assert_eq!(steering_chars(&not_ended).count(), 5);
        let of_another = format!("\u{1f3f3}{}\u{e007f}", tags("gbeng"));
        assert_eq!(steering_chars(&of_another).count(), 6);
        let more = format!("{}{}", flag("gbeng"), tags("hidden"));
        assert_eq!(steering_chars(&more).collect::<String>(), tags("hidden"));
        let twice = format!("\u{1f3f4}\u{fe0f}\u{fe0f}{}\u{e007f}", tags("gbeng"));
        assert_eq!(steering_chars(&twice).count(), 6);
    }

    #[test]
    fn what_was_given_is_quoted_so_that_it_is_seen() {
        let given = "1\u{200b}M\u{ad}i\u{a0}B\u{fe0f}\u{3164} é";
        assert_eq!(
            Quoted::new(given).to_string(),
            r#""1\u{200b}M\u{ad}i\u{a0}B\u{fe0f}\u{3164} é""#
        );
        let flag = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}";
        assert_eq!(Quoted::new(flag).to_string().matches("\\u{e00").count(), 6);
        for said in [given, flag] {
            assert_eq!(Quoted::prose(said).to_string(), format!("\"{said}\""));
            assert_eq!(Escaped::prose(99, said).to_string(), said);
            let (quoted, path) = (Quoted::new(said).to_string(), Path::new(said));
            assert_eq!(format!("\"{}\"", Escaped::new(said)), quoted);
            assert_eq!(format!("\"{}\"", path.escaped()), quoted);
        }
        assert!(
            !['a', ' ', 'é', '\u{301}', '\u{600}', '\u{1f3f4}']
                .into_iter()
                .any(is_invisible)
        );
    }

    #[test]
    fn a_file_can_be_called_anything() {
        let path = Path::new("a\u{1b}[31m/b\nc.wasm");
        assert_eq!(EscapedPath(path).to_string(), "a\\u{1b}[31m/b\\u{a}c.wasm");
        let long = "x".repeat(1000);
        assert_eq!(EscapedPath(Path::new(&long)).to_string(), long);
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt as _;

            let path = Path::new(std::ffi::OsStr::from_bytes(b"a\xff\xfe/\xc3\xa9"));
            assert_eq!(path.escaped().to_string(), "a\\xff\\xfe/é");
        }
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
