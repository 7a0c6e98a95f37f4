use std::fmt::{self, Debug};
use std::sync::Arc;

/// The value of a variable that is shown to nobody but the component that it is for.
///
/// `Debug` tells how long it is, and no more.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// The most bytes that one has.
    pub const MAX_BYTES: u64 = 64 << 10;

    /// From the content of a file, without the end of its last line.
    ///
    /// # Errors
    /// What is wrong with it: no text in UTF-8, with a NUL character, or too long.
    pub fn from_file_content(content: Vec<u8>) -> Result<Self, &'static str> {
        let text = String::from_utf8(content).map_err(|_| "it is no text in UTF-8")?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Self::from_text(line.strip_suffix('\r').unwrap_or(line))
    }

    /// From this text.
    ///
    /// # Errors
    /// What is wrong with it: a NUL character, or it is too long.
    pub fn from_text(text: &str) -> Result<Self, &'static str> {
        if text.contains('\0') {
            return Err("it has a NUL character");
        }
        if text.len() as u64 > Self::MAX_BYTES {
            return Err("it is longer than 64KiB");
        }
        Ok(Self(text.into()))
    }

    /// For the component that it is for.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_a_line_or_more_without_the_last_end() {
        for (content, secret) in [
            ("abc", "abc"),
            ("abc\n", "abc"),
            ("abc\r\n", "abc"),
            ("a\nb\n\n", "a\nb\n"),
            ("", ""),
        ] {
            let read = Secret::from_file_content(content.into()).unwrap();
            assert_eq!(read.expose(), secret, "{content:?}");
        }
        let long = "x".repeat(Secret::MAX_BYTES as usize + 1);
        for content in ["a\0b".as_bytes(), b"\xff", long.as_bytes()] {
            assert!(Secret::from_file_content(content.to_vec()).is_err());
        }
    }

    #[test]
    fn it_is_not_shown() {
        let secret = Secret::from_text("hunter2").unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(7 bytes)");
    }
}
